"""The rules of altered backward passes, in plain torch, for the plain forward passes.

Every function gives the value that it gives without a rule; within `following` its
gradient is that of the rule.
"""

from contextlib import contextmanager

import torch

_rules = None


@contextmanager
def following(rules):
    """Follow the rules of `gim` or `relp` within the context."""
    global _rules
    _rules = rules
    try:
        yield
    finally:
        _rules = None


def constant(divisor):
    """Return what a norm divides or multiplies by."""
    return divisor if _rules is None else divisor.detach()


def activated(function, x):
    """Return an activation: by RelP, `x` times what it is multiplied by."""
    if _rules != "relp":
        return function(x)
    slope = torch.where(x.abs() < 1e-6, torch.ones_like(x), function(x) / x).detach()
    return x * slope + (function(x) - x * slope).detach()


def shared(factor):
    """Return a factor of a gated product."""
    return factor if _rules is None else _part(factor, 1 / 2)


def quartered(x):
    """Return the queries or keys that make scores."""
    return _part(x, 1 / 4) if _rules == "gim" else x


def halved(x):
    """Return the values that a pattern sums."""
    return _part(x, 1 / 2) if _rules == "gim" else x


def pattern(scores):
    """Return the softmax; by GIM with the gradient at temperature 2, undivided by it.

    The softmax of halved scores has a derivative with the factor of one half in it.
    """
    sharp = scores.softmax(-1)
    if _rules != "gim":
        return sharp
    soft = (scores / 2).softmax(-1)
    return sharp.detach() + 2 * (soft - soft.detach())


def _part(x, share):
    return share * x + ((1 - share) * x).detach()
