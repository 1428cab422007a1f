"""Learn a matrix that carries node scores of a source model into a target model.

Differentiable Faithfulness Alignment (arXiv 2604.24302, Section 3): the projected
scores `s @ W` of a task become a soft mask over the target's nodes, and `W` is trained
so that the masked target still predicts what the whole target does.
"""

import logging
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor, nn

from circuit_transfer.batches import PairBatch
from circuit_transfer.controls import control_sources
from circuit_transfer.faithfulness import answer_divergence
from circuit_transfer.interventions import (
    answer_logits,
    mixing,
    pushing,
    run_captured,
)
from circuit_transfer.job import progress

log = logging.getLogger(__name__)

INITIAL_DEVIATION = 0.02


@dataclass(frozen=True)
class FitSettings:
    """How a matrix is trained; the keys of `alignment` in the configuration.

    Attributes:
        intervention: what the soft mask does to the target, see `masked_logits`.
        epochs: passes over the training pairs of all tasks.
        learning_rate: Adam's; decays linearly to a tenth.
        sparsity: weight of the mean mask in the loss (lambda in the paper).
    """

    intervention: str
    epochs: int
    learning_rate: float
    sparsity: float


@dataclass(frozen=True)
class Prepared:
    """One batch of a task with what every training step needs of it.

    The clean and corrupted runs are the same in every step of every fit, so they are
    made once.
    """

    task: str
    batch: PairBatch
    full: Tensor
    clean: Sequence[Tensor]
    corrupted: Sequence[Tensor]


@dataclass(frozen=True)
class Fit:
    """A trained matrix and how the training went.

    Attributes:
        alignment: float32 `(n_source, n_target)`.
        loss: `(steps,)`, divergence plus sparsity term.
        kl: `(steps,)`, the divergence alone, in nats.
    """

    alignment: Tensor
    loss: Tensor
    kl: Tensor

    def tensors(self) -> dict[str, np.ndarray]:
        """Return the three as named arrays, for `artifacts.write_alignment`."""
        return {name: tensor.numpy() for name, tensor in vars(self).items()}


def prepare(
    model: nn.Module, batches: Mapping[str, Sequence[PairBatch]]
) -> list[Prepared]:
    """Run every task's batches clean and corrupted, once for all fits."""
    prepared = []
    for task, parts in batches.items():
        for batch in progress(parts, len(parts), f"batches of {task}"):
            full, clean = run_captured(model, batch.clean)
            _, corrupted = run_captured(model, batch.corrupted)
            prepared.append(Prepared(task, batch, full, clean, corrupted))
    return prepared


def initial_alignment(n_source: int, n_target: int, seed: int) -> Tensor:
    """Return the matrix that training starts from, N(0, .02), `(n_source, n_target)`.

    Untrained, it is the paper's random-alignment control.
    """
    generator = torch.Generator().manual_seed(seed)
    return INITIAL_DEVIATION * torch.randn(n_source, n_target, generator=generator)


def fit(
    model: nn.Module,
    prepared: Sequence[Prepared],
    sources: Mapping[str, np.ndarray],
    settings: FitSettings,
    *,
    n_target: int,
    seed: int,
) -> Fit:
    """Train a matrix on the prepared batches of its training tasks.

    One optimiser step per batch; the seed decides the start and the order of batches.

    Args:
        model: the target, with frozen parameters.
        prepared: the batches; those of tasks without an entry in `sources` are unused.
        sources: score vector `(n_source,)` of every training task.
        settings: how to train.
        n_target: number of nodes of the target.
        seed: of the initial matrix and the order of batches.
    """
    batches = [each for each in prepared if each.task in sources]
    n_source = next(iter(sources.values())).shape[0]
    device = batches[0].full.device
    alignment = initial_alignment(n_source, n_target, seed).to(device).requires_grad_()
    vectors = {t: torch.from_numpy(each).to(device) for t, each in sources.items()}
    optimiser = torch.optim.Adam([alignment], lr=settings.learning_rate)
    steps = settings.epochs * len(batches)
    schedule = torch.optim.lr_scheduler.LinearLR(optimiser, 1.0, 0.1, steps)
    curve = []
    order = _order(len(batches), settings.epochs, seed)
    for index in progress(order, steps, f"fit with seed {seed}, steps"):
        each = batches[index]
        mask = torch.sigmoid(vectors[each.task] @ alignment)
        loss, divergence = alignment_loss(model, each, mask, settings)
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
        schedule.step()
        curve.append((loss.detach(), divergence.detach()))
    loss, kl = (torch.stack(column).cpu() for column in zip(*curve, strict=True))
    return Fit(alignment.detach().cpu(), loss, kl)


def fit_with_controls(
    model: nn.Module,
    prepared: Sequence[Prepared],
    sources: Mapping[str, np.ndarray],
    settings: FitSettings,
    *,
    controls: Sequence[str],
    shape: tuple[int, int],
    seed: int,
) -> dict[str, np.ndarray]:
    """Train a matrix on the real source scores, and one per trained control.

    Arguments as in `fit`, with the controls of `controls.control_sources` and the shape
    `(n_source, n_target)`. Returns the tensors of `artifacts.Alignment`; without any
    training task the matrix is NaN.
    """
    if not sources:
        log.warning("no training task has usable pairs: the alignment is unknown")
        trained = [f"alignment/{name}" for name in controls]
        return {
            name: np.full(shape, np.nan, np.float32)
            for name in ("alignment", "initial", *trained)
        }
    tensors = {"initial": initial_alignment(*shape, seed).numpy()}
    seen = {"": sources} | {
        f"/{name}": control_sources(name, sources, seed=seed) for name in controls
    }
    for suffix, vectors in seen.items():
        log.info("alignment%s with seed %d", suffix, seed)
        result = fit(model, prepared, vectors, settings, n_target=shape[1], seed=seed)
        tensors |= {f"{key}{suffix}": each for key, each in result.tensors().items()}
    return tensors


def alignment_loss(
    model: nn.Module, prepared: Prepared, mask: Tensor, settings: FitSettings
) -> tuple[Tensor, Tensor]:
    """Return the loss of a soft mask `(n_nodes,)` on a batch, and its divergence term.

    KL(clean || intervened) at the answer position, mean over the batch, plus
    `sparsity` times the mean mask (the paper's equation for the alignment objective).
    """
    logits = masked_logits(model, prepared, mask, settings.intervention)
    divergence = answer_divergence(prepared.full, logits).mean()
    return divergence + settings.sparsity * mask.mean(), divergence


def masked_logits(
    model: nn.Module, prepared: Prepared, mask: Tensor, intervention: str
) -> Tensor:
    """Return the answer logits `(batch, vocabulary)` of the target under a soft mask.

    `circuit` mixes live outputs with the corrupted ones on the clean prompts: with a
    binary mask that is what evaluation does. `interpolation` mixes cached clean with
    cached corrupted outputs, the paper's equation. `release` pushes live outputs on
    the corrupted prompts towards the clean ones, as the public code does.

    Raises:
        ValueError: the intervention is unknown.
    """
    batch, clean, corrupted = prepared.batch, prepared.clean, prepared.corrupted
    if intervention == "circuit":
        ids, context = batch.clean, mixing(model, mask, corrupted)
    elif intervention == "interpolation":
        ids, context = batch.clean, mixing(model, mask, corrupted, inside=clean)
    elif intervention == "release":
        ids, context = batch.corrupted, pushing(model, mask, towards=clean)
    else:
        raise ValueError(
            f"intervention {intervention!r} is not one of circuit, interpolation, "
            "release"
        )
    with context:
        return answer_logits(model, ids)


def _order(n_batches: int, epochs: int, seed: int) -> Iterator[int]:
    generator = torch.Generator().manual_seed(seed)
    for _ in range(epochs):
        yield from torch.randperm(n_batches, generator=generator).tolist()
