"""Planted models and pairs of prompts that they answer."""

import torch

from circuit_transfer.embedded.planted.basis import Basis
from circuit_transfer.embedded.planted.constructions import plant
from circuit_transfer.embedded.planted.settings import GENERATORS
from circuit_transfer.generators import generate_prompts
from circuit_transfer.generators.planted import EARLY, LATE, LETTERS
from circuit_transfer.prompts.batches import PairBatch

TOKENS = {word: index for index, word in enumerate((*LETTERS, EARLY, LATE))}


def planted_case(entry, count=64, split="train", kind=None):
    """Return a planted model in float32 and a batch of pairs.

    Of `subspaces`, where all clean prompts have the same answer, half of the pairs are
    the other way round.
    """
    planted = plant(entry, TOKENS)
    prompts = generate_prompts(
        GENERATORS[entry["construction"]],
        None,
        split,
        count,
        seed=0,
        counterfactual=kind,
    )

    def ids(texts):
        return torch.tensor([[TOKENS[each] for each in x.split()] for x in texts])

    clean, corrupted = ids(prompts["clean"]), ids(prompts["corrupted"])
    answers, wrong = (
        ids(prompts[name].list.first()) for name in ("answers", "wrong_answers")
    )
    if kind is None:
        swapped = torch.arange(count)[:, None] % 2 == 0
        clean, corrupted = _exchanged(swapped, clean, corrupted)
        answers, wrong = _exchanged(swapped, answers, wrong)
    model = planted.model.float().eval().requires_grad_(False)
    return planted, model, PairBatch(clean, corrupted, answers, wrong)


def split_batch(batch, size):
    """Return a batch as several of a size."""
    names = ("clean", "corrupted", "answers", "wrong_answers")
    parts = zip(*(getattr(batch, name).split(size) for name in names), strict=True)
    return [PairBatch(*each) for each in parts]


@torch.no_grad()
def unrotate_(model, seed):
    """Turn a planted Llama so that its directions are axes; it computes the same."""
    generator = torch.Generator().manual_seed(seed)
    basis = Basis(model.config.hidden_size, generator)
    turn = torch.cat([basis._directions[:, :1], basis.constant[:, None]], dim=1)
    turn = torch.cat([turn, basis.subspace(len(turn) - 2)], dim=1).float()
    for name, weight in model.named_parameters():
        if name.endswith(("o_proj.weight", "down_proj.weight")):
            weight.copy_(_without_dust(turn.T @ weight))
        elif weight.ndim == 2:
            weight.copy_(_without_dust(weight @ turn))


def _without_dust(weight):
    """Return a weight in which what rounding has left of zeros is zero."""
    return weight.where(weight.abs() > 1e-5 * weight.abs().max(), 0.0)


def _exchanged(where, one, other):
    return one.where(~where, other), other.where(~where, one)
