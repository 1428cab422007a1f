"""What is measured of a student: its answers, its circuit, and how near the teacher's.

Measured before and after the training, on pairs that it was not trained on.
"""

from collections.abc import Mapping, Sequence
from math import isfinite

import numpy as np
import polars as pl
import torch
from torch import Tensor, nn

from circuit_transfer.circuits.runs import run_circuits
from circuit_transfer.circuits.similarity import pearson
from circuit_transfer.distillation.activations import (
    check_positions,
    enough_samples,
    run_heads,
)
from circuit_transfer.distillation.cka import cka
from circuit_transfer.distillation.loss import task_losses
from circuit_transfer.distillation.settings import DEBIASED
from circuit_transfer.distillation.variants import Pair
from circuit_transfer.interventions import answer_logits
from circuit_transfer.jobs.progress import progress
from circuit_transfer.jobs.resume import NO_RESUME, Resume
from circuit_transfer.models.edges import Graph
from circuit_transfer.models.nodes import is_mlp
from circuit_transfer.prompts.batches import PairBatch

ANSWERS = ("accuracy", "right_above_wrong", "task_loss")


@torch.inference_mode()
def answer_measures(model: nn.Module, batches: Sequence[PairBatch]) -> dict[str, float]:
    """Return what a model answers on pairs, at least one: see `answer_rows`."""
    every = progress(batches, len(batches), "batch")
    return answer_means(
        [answer_rows(batch, answer_logits(model, batch.clean)) for batch in every]
    )


def answer_rows(batch: PairBatch, logits: Tensor) -> Tensor:
    """Return the measures of every example, `(3, batch)` in the order of `ANSWERS`.

    Whether a right answer is the most likely token of all (`accuracy`), whether it is
    above the wrong one (`right_above_wrong`), and the `task_loss`.

    Args:
        batch: the pairs.
        logits: at the answer position, `(batch, vocabulary)`.
    """
    above = batch.logit_diff(logits) > 0
    rows = (batch.correct(logits), above, task_losses(batch, logits))
    return torch.stack([each.double() for each in rows])


def answer_means(rows: Sequence[Tensor]) -> dict[str, float]:
    """Return the means over all examples of batches, by `ANSWERS`."""
    return dict(
        zip(ANSWERS, torch.cat(list(rows), dim=1).mean(1).tolist(), strict=True)
    )


class Probe:
    """Measures students on held-out pairs, while they are trained and afterwards."""

    def __init__(
        self,
        teacher: nn.Module,
        batches: Sequence[tuple[PairBatch, PairBatch]],
        matched: Sequence[Pair],
        positions: str,
    ) -> None:
        """Run the teacher.

        Args:
            teacher: a causal language model.
            batches: of the same prompts for both, see `transfer.shared_prompts`.
            matched: names of heads of the student and of the teacher.
            positions: see `activations.head_features`.

        Raises:
            ValueError: see `activations.check_positions`.
        """
        check_positions(batches, positions)
        self._own, others = zip(*batches, strict=True)
        self._heads, teachers = zip(*matched, strict=True)
        self._positions = positions
        runs = run_heads(teacher, others, teachers, positions)
        self._targets = torch.cat([features for _, features in runs], dim=1)
        self._is_comparable = enough_samples(batches, positions, DEBIASED)

    def __call__(self, student: nn.Module) -> dict[str, float | None]:
        """Return `ANSWERS`, and the mean debiased `cka` of the matched heads.

        That is None where the pairs are too few.
        """
        rows, found = [], []
        runs = run_heads(student, self._own, self._heads, self._positions)
        for batch, (logits, features) in zip(self._own, runs, strict=True):
            rows.append(answer_rows(batch, logits))
            found.append(features)
        similarity = None
        if self._is_comparable:
            own = torch.cat(found, dim=1)
            similarities = cka(own, self._targets.to(own), estimator=DEBIASED)
            mean = similarities.mean().item()
            similarity = mean if isfinite(mean) else None
        return answer_means(rows) | {"cka": similarity}


def circuit_measures(
    model: nn.Module,
    batches: Sequence[PairBatch],
    heads: Sequence[str],
    nodes: Sequence[str],
    *,
    resume: Resume = NO_RESUME,
) -> dict[str, float | None]:
    """Return how well the critical heads alone answer, all other heads mean-ablated.

    Args:
        model: a causal language model.
        batches: the pairs, over which the means are taken too.
        heads: names of the critical heads; MLPs are part of the circuit.
        nodes: names of all nodes, in their order.
        resume: see `circuits.runs.run_circuits`.

    Returns:
        `accuracy` of the whole model over the vocabulary, `circuit_accuracy`, and
        `faithfulness`, the circuit's share of the model's accuracy (None if that is 0;
        Wadhwa et al. 2025, arXiv 2509.25002, Section 4).
    """
    kept = [is_mlp(node) or node in heads for node in nodes]
    masks = torch.tensor([kept, [True] * len(nodes)]).float()
    found = run_circuits(model, batches, masks, ablation="mean", resume=resume)
    circuit, full = found.accuracy.double().mean(1).tolist()
    return {
        "accuracy": full,
        "circuit_accuracy": circuit,
        "faithfulness": circuit / full if full else None,
    }


def steps_to(probes: pl.DataFrame, accuracy: float) -> int | None:
    """Return after how many steps a student first had an accuracy on held-out pairs.

    Args:
        probes: see `training.Distilled`.
        accuracy: to reach.

    Returns:
        None if it never had.
    """
    reached = probes.filter(pl.col("accuracy") >= accuracy)["step"]
    return None if reached.is_empty() else reached.min()


def node_correlation(
    student: Mapping[str, float], teacher: Mapping[str, float], pairs: Sequence[Pair]
) -> float:
    """Return the correlation of the scores of matched heads of two models.

    Args:
        student: scores by the name of the node.
        teacher: likewise.
        pairs: the matched heads.

    Returns:
        Pearson's; NaN for fewer than two pairs, or where all scores are equal.
    """
    own = np.array([student[head] for head, _ in pairs], float)
    other = np.array([teacher[head] for _, head in pairs], float)
    return pearson(own, other)


def edge_correlation(
    student: np.ndarray,
    teacher: np.ndarray,
    graphs: tuple[Graph, Graph],
    pairs: Sequence[Pair],
) -> float:
    """Return the correlation of the scores of corresponding edges of two models.

    Args:
        student: scores of its edges, `(n_edges,)`.
        teacher: likewise.
        graphs: of the student and of the teacher, by `query-head`.
        pairs: the matched heads.

    Returns:
        Pearson's over the edges of `matched_edges`; NaN where it is not known.
    """
    own, other = matched_edges(*graphs, pairs)
    return pearson(student[own].astype(float), teacher[other].astype(float))


def matched_edges(
    student: Graph, teacher: Graph, pairs: Sequence[Pair]
) -> tuple[np.ndarray, np.ndarray]:
    """Return the numbers of the edges that correspond by the matched heads.

    Edges between matched heads, and those from the input and to the logits, as far as
    both models have them: which of two heads comes first may differ.

    Args:
        student: its edges, by `query-head`.
        teacher: likewise.
        pairs: the matched heads.

    Returns:
        Those in the student and those in the teacher, int64 `(edges,)` each.
    """
    names = dict(pairs) | {"input": "input", "logits": "logits"}
    found = []
    for writer, own_writer in names.items():
        for reader, own_reader in names.items():
            for kind in ("",) if reader == "logits" else ("<q>", "<k>", "<v>"):
                numbers = (
                    student.number(f"{writer}->{reader}{kind}"),
                    teacher.number(f"{own_writer}->{own_reader}{kind}"),
                )
                if None not in numbers:
                    found.append(numbers)
    own, other = np.array(found, np.int64).reshape(-1, 2).T
    return own, other
