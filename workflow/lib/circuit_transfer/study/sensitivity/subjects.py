"""What is studied: a source model, a target model, and their tasks."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import polars as pl
from torch import nn

from circuit_transfer.transfer.training_sets import Families


@dataclass(frozen=True)
class Subject:
    """A model of a study.

    Attributes:
        name: in the study.
        model: with frozen parameters.
        nodes: the names of its nodes, in their order.
        pairs: by task, in the study's order, all usable pairs tokenized for it.
        lineage: of the model, if it was made from another one, see `models.lineage`.
    """

    name: str
    model: nn.Module
    nodes: Sequence[str]
    pairs: Mapping[str, pl.DataFrame]
    lineage: Mapping[str, Any] | None = None


@dataclass(frozen=True)
class Study:
    """One pair of models and one method, with siblings and families of the tasks."""

    source: Subject
    target: Subject
    method: str
    siblings: Sequence[Sequence[str]]
    families: Families

    @property
    def tasks(self) -> list[str]:
        """The names of the tasks."""
        return list(self.target.pairs)
