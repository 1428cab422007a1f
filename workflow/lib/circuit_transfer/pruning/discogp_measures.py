"""What DiscoGP reports of circuits, whatever method has found them.

Of the circuit and of what it leaves out: whether the right answer is above the wrong
ones, and the divergence from the full model; and how many weights and edges it has.
"""

from collections.abc import Mapping, Sequence

import numpy as np
import polars as pl
import torch
from torch import Tensor, nn

from circuit_transfer.circuits.edge_runs import ZERO_NODES
from circuit_transfer.circuits.metrics import answer_divergence
from circuit_transfer.jobs.progress import progress
from circuit_transfer.jobs.resume import NO_RESUME, Resume, State
from circuit_transfer.models.edges import Graph
from circuit_transfer.prompts.batches import PairBatch
from circuit_transfer.pruning.joint_circuits import JointCircuits, input_edges
from circuit_transfer.pruning.weight_masks import (
    complement,
    density,
    maskable_weights,
    masked_weights,
)

SIDES = ("", "complement_")
MEASURES = ("right_above_wrong", "accuracy", "kl")
COLUMNS = {
    **{side + name: pl.Float64 for side in SIDES for name in MEASURES},
    **{"weight_density": pl.Float64, "edge_density": pl.Float64, "pairs": pl.Int64},
}


@torch.no_grad()
def measure_discogp(
    model: nn.Module,
    batches: Sequence[PairBatch],
    graph: Graph,
    labels: pl.DataFrame,
    masks: np.ndarray,
    *,
    ablation: str,
    weights: Sequence[Mapping[str, Tensor] | None] | None = None,
    resume: Resume = NO_RESUME,
) -> pl.DataFrame:
    """Measure circuits of edges, and of weights if they have such, and complements.

    The complement of a circuit has all other edges and all other weights. Where both
    keep the token embeddings, by `edge_runs.ZERO_NODES`, the edges that carry these
    count as kept in every circuit.

    Args:
        model: a causal language model, whose parameters stay as they are.
        batches: the pairs to measure on, without cached positions.
        graph: the edges of the model.
        labels: one row per circuit.
        masks: the circuits, bool `(circuits, n_edges)`.
        ablation: what an edge outside carries, see `edge_runs.edge_ablation_of`.
        weights: the masks of weights of every circuit by name, bool; None for one with
            all weights.
        resume: saves what has been measured, circuit by circuit.

    Returns:
        The labels and `COLUMNS`, one row per circuit; without pairs none. Of the
        circuit, and with `complement_` of its complement: the share of pairs with the
        right answer above the wrong ones (`right_above_wrong`, half where equal: chance
        is .5) and above all tokens (`accuracy`), and the mean `kl` from the full model
        over the vocabulary in nats. Then the shares `weight_density` and `edge_density`
        of all that can have a mask, and the number of `pairs`.

    Raises:
        ValueError: the masks are not of this graph.
    """
    kept = input_edges(graph) & (ablation == ZERO_NODES)
    masks = _checked(masks, len(labels), graph) | kept
    every = list(weights or [None] * len(masks))
    rows = []
    if batches:
        how = {"other_weights": any(own is not None for own in every)}
        circuits = JointCircuits(model, batches, graph, ablation, **how)
        rows = _rows(circuits, [*zip(masks, every, strict=True)], kept, resume)
    measures = pl.DataFrame(rows, schema=COLUMNS)
    return pl.concat([labels.head(len(rows)), measures], how="horizontal")


def _checked(masks: np.ndarray, circuits: int, graph: Graph) -> np.ndarray:
    """Return masks as bool, if they are of so many circuits of a graph."""
    if np.shape(masks) != (circuits, graph.n_edges):
        raise ValueError(
            f"masks {np.shape(masks)} of {circuits} circuits for a graph of "
            f"{graph.n_edges} edges: expected ({circuits}, {graph.n_edges})"
        )
    return np.asarray(masks, bool)


def _rows(
    circuits: JointCircuits,
    every: Sequence[tuple[np.ndarray, Mapping[str, Tensor] | None]],
    kept: np.ndarray,
    resume: Resume,
) -> list[dict[str, float]]:
    """Return the measures of circuits, which have masks of edges and of weights."""
    rows: list[dict[str, float]] = []
    state = resume.restore("measures", lambda: State({}, {"rows": rows}))
    rows += state.notes["rows"] if state else []
    done = len(rows)
    for mask, own in progress(every[done:], len(every), "circuit", done=done):
        rows.append(_measures(circuits, mask, kept, own))
        resume.save()
    return rows


def _measures(
    circuits: JointCircuits,
    mask: np.ndarray,
    kept: np.ndarray,
    weights: Mapping[str, Tensor] | None,
) -> dict[str, float]:
    """Return the measures of a circuit; `kept` edges are in its complement too."""
    row = {"weight_density": 1.0, "edge_density": float(mask.mean())}
    sides = {"": (mask, weights), "complement_": (~mask | kept, None)}
    if weights is not None:
        row["weight_density"] = density(weights)
        sides["complement_"] = (~mask | kept, complement(weights))
        if mask.all():
            # Of weights alone: what they leave out has all edges.
            sides["complement_"] = (mask, complement(weights))
    for side, (edges, own) in progress(sides.items(), len(sides), "side"):
        row |= {side + name: each for name, each in _side(circuits, edges, own).items()}
    return row | {"pairs": sum(map(len, circuits.batches))}


def _side(
    circuits: JointCircuits, mask: np.ndarray, weights: Mapping[str, Tensor] | None
) -> dict[str, float]:
    model, found = circuits.model, []
    edges = torch.from_numpy(mask).float().to(model.device)
    other = weights and masked_weights(maskable_weights(model), weights)
    for joint in progress(circuits, len(circuits), "batch"):
        logits = joint.logits(edges, other)
        difference = joint.batch.logit_diff(logits)
        values = (
            # Half where they are equal, as without any weight.
            (difference.sign() + 1) / 2,
            joint.batch.correct(logits),
            answer_divergence(joint.prepared.full, logits),
        )
        found.append(torch.stack([each.double() for each in values]))
    means = torch.cat(found, dim=1).mean(1).tolist()
    return dict(zip(MEASURES, means, strict=True))
