"""Train maps of node scores, side by side."""

from collections.abc import Sequence
from functools import partial

from torch import nn

from circuit_transfer.circuits.masked_runs import masked_logits
from circuit_transfer.circuits.prepared import Preparations
from circuit_transfer.jobs.resume import NO_RESUME, Resume
from circuit_transfer.prompts.batches import rows_per_pass
from circuit_transfer.transfer.objectives import FitSettings
from circuit_transfer.transfer.trained_maps import Fit, Start, TrainedMap
from circuit_transfer.transfer.training import Target, train_maps


def fit(
    model: nn.Module,
    prepared: Preparations,
    starts: Sequence[Start],
    settings: FitSettings,
    *,
    n_target: int,
    seed: int,
    resume: Resume = NO_RESUME,
) -> list[Fit]:
    """Train maps on the prepared batches of their training tasks, see `train_maps`.

    The seed decides the start and the order of batches. Without a prior a matrix starts
    at random, near zero. With one it starts there, is held near it by a penalty, and
    has a bias that is held near zero.

    Args:
        model: the target, with frozen parameters.
        prepared: the batches; those of tasks without sources are unused.
        starts: of every map, all on the same training tasks.
        settings: how to train.
        n_target: number of nodes of the target.
        seed: of the initial matrices and the order of batches.
        resume: saves the training's progress; several fits under one need different
            seeds.
    """
    tasks = starts[0].sources
    every = zip(prepared.tasks, prepared.rests, strict=True)
    rests = [rest for task, rest in every if task in tasks]
    together = max(1, min(rows_per_pass(model, each) // len(each) for each in rests))
    run = partial(masked_logits, model, intervention=settings.intervention)
    target = Target(prepared, n_target, run, lambda _: together)
    maps = [TrainedMap(each, settings, n_target, seed, model.device) for each in starts]
    name = f"fit with seed {seed}"
    return train_maps(
        target, maps, tasks, settings, seed=seed, name=name, resume=resume
    )
