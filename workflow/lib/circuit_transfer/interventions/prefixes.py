"""Try whether a model may reuse a cached prefix.

In a causal model the first positions do not depend on the later ones, unless their
embeddings depend on the length of the prompt: longrope and dynamic NTK choose the
angles of all positions by the number of tokens, so that a prefix that is run alone gets
other ones. No name decides: a small model with the same positions is run both ways.
"""

import logging
from weakref import WeakKeyDictionary

import torch
from torch import nn

from circuit_transfer.interventions.hooks import captured
from circuit_transfer.interventions.runs import run_captured, run_prefix
from circuit_transfer.models.miniature import TOKENS, miniature

log = logging.getLogger(__name__)

# Norms and softmax round to float32 also in a model in float64.
TOLERANCE = 1e-5


class PrefixTrials:
    """The trials of one model; each pair of lengths is tried once.

    The small model is float64 and its weights are random, so neither the model's dtype
    nor a small effect of positions on its answers hides other angles.
    """

    def __init__(self, model: nn.Module):
        """Build the small model of a model."""
        # Without inference mode, whose tensors could not be changed in a later trial.
        with torch.inference_mode(False):
            self._small = miniature(model.config)
        self._family = model.config.model_type
        self._found: dict[tuple[int, int], bool] = {}

    def reusable(self, positions: int, length: int) -> bool:
        """Return whether a prefix may be reused, see `reusable_prefix`."""
        if (positions, length) not in self._found:
            found = _equal_in_parts(self._small, positions, length)
            if not found and all(self._found.values()):
                log.info(
                    "the %s runs whole prompts: of %d tokens, the first %d have other "
                    "activations when they run alone, so they are not cached "
                    "(reported once; shorter prompts may be different)",
                    *(self._family, positions, length),
                )
            self._found[positions, length] = found
        return self._found[positions, length]


# Repeats no trial of a model in a job; a trial depends on the configuration alone.
_TRIALS: WeakKeyDictionary[nn.Module, PrefixTrials] = WeakKeyDictionary()


def reusable_prefix(model: nn.Module, positions: int, length: int) -> int:
    """Return how many of the first positions of a prompt may be cached: all or none.

    Args:
        model: a causal language model.
        positions: length of the whole prompt.
        length: of the prefix that is to be cached.

    Returns:
        `length`, or 0 if the prefix alone has other activations than in the prompt.
    """
    if not length:
        return 0
    if model not in _TRIALS:
        _TRIALS[model] = PrefixTrials(model)
    return length if _TRIALS[model].reusable(positions, length) else 0


@torch.inference_mode(False)
@torch.no_grad()
def _equal_in_parts(model: nn.Module, positions: int, length: int) -> bool:
    """Return whether a prompt has equal activations if its prefix is run before."""
    generator = torch.Generator().manual_seed(0)
    ids = torch.randint(TOKENS, (1, positions), generator=generator)
    _, whole = run_captured(model, ids)
    with captured(model) as first:
        prefix = run_prefix(model, ids[:, :length])
    _, rest = run_captured(model, ids[:, length:], prefix)
    return all(
        (torch.cat(parts, dim=1) - site).abs().max() <= TOLERANCE * site.abs().max()
        for site, *parts in zip(whole, first, rest, strict=True)
    )
