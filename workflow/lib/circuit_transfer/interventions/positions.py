"""Rotary embeddings whose angles depend on the length of the sequence.

Dynamic NTK and longrope choose the angles of all positions by the number of tokens that
a pass runs. See `prefixes` for what this means for cached prefixes.
"""

import inspect

from torch import nn

from circuit_transfer.interventions.hooks import replacing

LONGEST = "max_seq_len_cached"


def forget_lengths(model: nn.Module) -> None:
    """Reset the rotary embeddings of a model to their state after loading.

    In transformers, dynamic NTK keeps the angles of the longest sequence that it has
    run, also for shorter ones, so that a result depends on the prompts before it.
    """
    for module in rotary_modules(model):
        # One state, or one for each kind of layer (Gemma 3).
        for name in [each for each in vars(module) if each.endswith(LONGEST)]:
            kind = name.removesuffix(LONGEST)
            if getattr(module, name) > module.original_max_seq_len:
                original = getattr(module, f"{kind}original_inv_freq")
                setattr(module, f"{kind}inv_freq", original)
                setattr(module, name, module.original_max_seq_len)


def fixed_angles(model: nn.Module):
    """Compute the angles of a model as for the shortest sequences, within the context.

    Without the choice by length, which reads values and so fails on the meta device.
    """
    # The choice is a decorator of the forward function.
    return replacing(
        {
            module: inspect.unwrap(type(module).forward).__get__(module)
            for module in rotary_modules(model)
        }
    )


def rotary_modules(model: nn.Module) -> list[nn.Module]:
    """List the rotary embeddings of a model; none if it has absolute positions."""
    return [each for each in model.base_model.children() if hasattr(each, LONGEST)]
