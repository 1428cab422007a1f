"""The fits of a job: batches prepared once, and every seed with its costs."""

import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import polars as pl
from torch import nn

from circuit_transfer.artifacts.alignments import tensor_name
from circuit_transfer.circuits.passes import measured
from circuit_transfer.circuits.prepared import Preparations, prepare
from circuit_transfer.jobs.resume import Resume
from circuit_transfer.prompts.batches import pair_batches
from circuit_transfer.transfer.alignment import fit_maps, is_trained
from circuit_transfer.transfer.maps import fits
from circuit_transfer.transfer.objectives import FitSettings

log = logging.getLogger(__name__)


def prepare_pairs(
    model: nn.Module,
    model_name: str,
    pairs: Mapping[str, pl.DataFrame],
    *,
    batch_size: int,
    intervention: str,
) -> tuple[Preparations, dict[str, Any]]:
    """Run the pairs of every task once for all fits, return also what that cost.

    Args:
        model: the target.
        model_name: its name.
        pairs: by task.
        batch_size: how many pairs at once.
        intervention: see `objectives.prepare`.
    """
    with measured("prepare", model_name, model) as cost:
        batches = {t: pair_batches(pairs[t], batch_size, model.device) for t in pairs}
        prepared = prepare(model, batches, intervention=intervention)
    return prepared, cost


@dataclass(frozen=True)
class Fits:
    """What the fits of all seeds share.

    Attributes:
        model: the target.
        model_name: its name.
        prepared: of `prepare_pairs`.
        sources: transformed scores `(n_source,)` by training task.
        settings: of every fit.
        maps: which ones are fitted.
        controls: which ones are trained in addition to every map.
        shape: `(n_source, n_target)`.
        priors: `(n_source, n_target)` by map.
    """

    model: nn.Module
    model_name: str
    prepared: Preparations
    sources: Mapping[str, np.ndarray]
    settings: FitSettings
    maps: Sequence[str]
    controls: Sequence[str]
    shape: tuple[int, int]
    priors: Mapping[str, np.ndarray]

    def parts(self) -> list[str]:
        """Name what is trained."""
        return trained_parts(self.maps, self.controls, self.sources, self.priors)

    def of_seed(
        self, seed: int, resume: Resume
    ) -> tuple[dict[str, np.ndarray], dict[str, Any]]:
        """Return the tensors of every map and control by name, and what all cost."""
        log.info("seed %d: %s", seed, ", ".join(self.parts()))
        asked = fits(self.maps, self.controls)
        with measured(f"seed-{seed}", self.model_name, self.model, resume) as cost:
            fitted = fit_maps(
                self.model,
                self.prepared,
                self.sources,
                self.settings,
                asked,
                shape=self.shape,
                seed=seed,
                priors=self.priors,
                resume=resume,
            )
        return named_tensors(asked, fitted, self.maps), cost


def trained_parts(
    maps: Sequence[str], controls: Sequence[str], sources: Mapping, priors: Mapping
) -> list[str]:
    """Name what is trained: maps, and `{map}/{control}`; arguments as in `Fits`."""
    return [
        name if control == "none" else f"{name}/{control}"
        for name, control in fits(maps, controls)
        if is_trained(name, sources, priors)
    ]


def named_tensors(
    asked: Sequence[tuple[str, str]],
    fitted: Sequence[Mapping[str, np.ndarray]],
    maps: Sequence[str],
) -> dict[str, np.ndarray]:
    """Return the tensors of maps and controls by their names in the file of a seed.

    Args:
        asked: the map and the control of every fit.
        fitted: the tensors of each.
        maps: the names of all maps.
    """
    return {
        tensor_name(kind, *each, maps): tensor
        for each, found in zip(asked, fitted, strict=True)
        for kind, tensor in found.items()
    }
