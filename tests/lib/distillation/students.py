"""Teachers, students, and what one is taught, small enough for a training in a test."""

import copy

import torch
from reference_planted import Case

from circuit_transfer.distillation.settings import DistillationSettings
from circuit_transfer.distillation.training import Lesson, distil
from circuit_transfer.distillation.updates import head_masks
from circuit_transfer.prompts.batches import PairBatch, pair_batches

MATCHED = (("a0.h1", "a1.h3"), ("a1.h2", "a0.h0"))
FAST = {"steps": 3, "batch_size": 8, "queue": 128, "probe_every": 2}
# The heads of the planted circuit of an induction head.
CIRCUIT = ("a0.h0", "a1.h0")


def settings(**own):
    return DistillationSettings(**(FAST | own))


def lesson(student, teacher, pairs, matched=MATCHED, **own):
    """Return a lesson on a frame of pairs, the last batches of each length held out."""
    how = settings(**own)
    batches = [(each, each) for each in pair_batches(pairs, how.batch_size)]
    student, teacher = (each.requires_grad_(False) for each in (student, teacher))
    return Lesson(student, teacher, batches, batches[-2:], matched, how)


def taught(student, teacher, pairs, variant="matched-cka", seed=0, resume=None, **own):
    """Train a copy of a student; return it and how that went."""
    copied = copy.deepcopy(student)
    how = {} if resume is None else {"resume": resume}
    given = lesson(copied, teacher, pairs, **own)
    return copied, distil(given, variant=variant, seed=seed, **how)


def planted(pairs, batch_size=64):
    """Return a model with a planted induction head, and batches that it answers.

    Half of the pairs are the other way round: of the clean prompts the answer is always
    at the same position, which a student would learn instead of induction.
    """
    # A constant so small that weights of usual size matter; all is in float64.
    entry = {"construction": "induction", "constant": 4.0}
    case = Case(entry, pairs)
    both = case.batch
    sides = (both.clean, both.corrupted), (both.answers, both.wrong_answers)
    swapped = torch.arange(pairs)[:, None] % 2 == 0
    parts = [
        each.split(batch_size)
        for one, other in sides
        for each in (one.where(~swapped, other), other.where(~swapped, one))
    ]
    return case.model, [PairBatch(*each) for each in zip(*parts, strict=True)]


@torch.no_grad()
def emptied(model, heads, scale=0.1, seed=0):
    """Return a copy of a model whose heads are drawn at random, and small.

    Not zero: where all of a head is zero, no gradient leads away from there.
    """
    empty = copy.deepcopy(model)
    draw = torch.Generator().manual_seed(seed)
    weights = dict(empty.named_parameters())
    for name, mask in head_masks(empty, heads).items():
        drawn = torch.randn(int(mask.sum()), generator=draw, dtype=weights[name].dtype)
        weights[name][mask] = scale * drawn
    return empty


def weights_of(model):
    return {name: each.detach().clone() for name, each in model.named_parameters()}
