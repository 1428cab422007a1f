"""Alter the gradients of a plain Hugging Face model, and none of its values.

Two sets of rules for the backward pass, both with norms that divide by a constant:

- GIM (gradient interaction modifications, arXiv 2505.17630), against gradients that
  vanish where softmax is saturated;
- RelP (relevance patching, arXiv 2508.21258), by which an activation has the slope of
  the line from the origin to its value.

Every norm is subject to the rule, those over queries and keys too. The rules are laid
over what the modules compute, so that values are as before; only attention under GIM is
computed by a function of its own, since no module holds its softmax.
"""

from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager

import torch
from torch import Tensor, nn

from circuit_transfer.interventions.projections import repeated_weight
from circuit_transfer.models.architectures import norm_of
from circuit_transfer.models.nonlinearities import all_norms, mlp_modules
from circuit_transfer.models.shape import head_width
from circuit_transfer.models.weights import on_device

# The name by which transformers know the attention of GIM.
ATTENTION = "circuit_transfer_gim"
TEMPERATURE = 2.0  # of the softmax in the backward pass of GIM
# Nearer to 0, an activation has the slope 1 under RelP.
SMALLEST = 1e-6

Rule = Callable[[Tensor], Tensor]


@contextmanager
def gim_gradients(model: nn.Module) -> Iterator[None]:
    """Take gradients by the rules of GIM within the context.

    Norms divide by a constant. The gradient of a softmax is that at twice the
    temperature, without the factor of one half. Each factor of a product has its share
    of the gradient: half for the factors of a gated MLP and for the pattern and the
    values, and half of the pattern's for queries and keys, a quarter.

    Args:
        model: a causal language model, in evaluation mode.
    """
    with ExitStack() as stack:
        stack.enter_context(_constant_norms(model))
        stack.enter_context(_shared_products(model))
        stack.enter_context(_softened_attention(model))
        yield


@contextmanager
def relp_gradients(model: nn.Module) -> Iterator[None]:
    """Take gradients by the rules of RelP within the context.

    Norms divide by a constant, activations multiply their input by a constant, and each
    factor of a gated MLP has half of the gradient. Attention has its own gradient.

    Args:
        model: a causal language model, in evaluation mode.
    """
    with ExitStack() as stack:
        stack.enter_context(_constant_norms(model))
        stack.enter_context(_shared_products(model))
        for mlp in mlp_modules(model):
            # The slopes of a ReLU are constant already.
            if not isinstance(mlp.activation, nn.ReLU):
                _alter(stack, mlp.activation, _secant)
        yield


class _Altered(torch.autograd.Function):
    """A value that passes gradients on to another tensor, by a rule."""

    @staticmethod
    def forward(ctx, of: Tensor, value: Tensor, rule: Rule) -> Tensor:
        ctx.rule = rule
        return value.view_as(value)

    @staticmethod
    def backward(ctx, gradient: Tensor) -> tuple[Tensor, None, None]:
        return ctx.rule(gradient), None, None


def _altered(of: Tensor, value: Tensor, rule: Rule) -> Tensor:
    return _Altered.apply(of, value.detach(), rule)


def _alter(
    stack: ExitStack, module: nn.Module, rule_of: Callable[[Tensor, Tensor], Rule]
) -> None:
    """Give a module the rule that follows from its input and its output."""

    def hook(_module: nn.Module, inputs: tuple, output: Tensor) -> Tensor:
        if not output.requires_grad:
            return output
        value = output.detach()
        return _altered(inputs[0], value, rule_of(inputs[0].detach(), value))

    # Before any other hook: all see the output with the gradient by the rule.
    handle = module.register_forward_hook(hook, prepend=True)
    stack.callback(handle.remove)


@contextmanager
def _constant_norms(model: nn.Module) -> Iterator[None]:
    """Let norms divide by a constant; centring is linear, and stays."""
    d_head = head_width(model.config)

    def ruling(module: nn.Module) -> Callable[[Tensor, Tensor], Rule]:
        def rule_of(x: Tensor, _value: Tensor) -> Rule:
            with on_device(module):
                norm = norm_of(model, module)
                # On its own device also where it is offloaded after this.
                weight = norm.weight.detach().to(x.device).float()
            centre = _centred if norm.centred else _unchanged
            mean = centre(x.float()).square().mean(-1, keepdim=True)
            slope = (mean + norm.eps).rsqrt()
            slope = slope * repeated_weight(weight, x.shape[-1], d_head)
            return lambda gradient: centre(gradient.float() * slope).to(x.dtype)

        return rule_of

    with ExitStack() as stack:
        for norm in all_norms(model):
            _alter(stack, norm, ruling(norm))
        yield


def _centred(x: Tensor) -> Tensor:
    return x - x.mean(-1, keepdim=True)


def _unchanged(x: Tensor) -> Tensor:
    return x


def _secant(x: Tensor, value: Tensor) -> Rule:
    """Return the rule of `x * constant`, with the constant that gives the value."""
    slope = torch.where(x.abs() < SMALLEST, 1.0, value / x)
    return lambda gradient: gradient * slope


@contextmanager
def _shared_products(model: nn.Module) -> Iterator[None]:
    """Halve the gradient of the product in gated MLPs: so each factor has half."""

    def hook(_module: nn.Module, inputs: tuple) -> tuple:
        return _share(inputs[0], 1 / 2), *inputs[1:]

    with ExitStack() as stack:
        for mlp in mlp_modules(model):
            if mlp.gated:
                handle = mlp.projection.register_forward_pre_hook(hook)
                stack.callback(handle.remove)
        yield


def _share(x: Tensor, share: float) -> Tensor:
    """Return `x` with a share of its gradient."""
    return _altered(x, x, lambda gradient: gradient * share)


@contextmanager
def _softened_attention(model: nn.Module) -> Iterator[None]:
    """Let the model run the attention of GIM."""
    from transformers import AttentionInterface
    from transformers.masking_utils import AttentionMaskInterface, eager_mask

    AttentionInterface.register(ATTENTION, _attention)
    AttentionMaskInterface.register(ATTENTION, eager_mask)
    before = model.config._attn_implementation
    model.config._attn_implementation = ATTENTION
    try:
        yield
    finally:
        model.config._attn_implementation = before


def _attention(
    _module: nn.Module,
    query: Tensor,
    key: Tensor,
    value: Tensor,
    attention_mask: Tensor | None,
    *,
    scaling: float | None = None,
    softcap: float | None = None,
    **_others,
) -> tuple[Tensor, None]:
    """Attend as transformers' eager attention does, with gradients by GIM.

    Args:
        query: `(batch, heads, position, d_head)`, after norms and rotary positions.
        key: `(batch, keys, all positions, d_head)`, with those that were cached.
        value: likewise.
        attention_mask: added to the scores, `(batch, 1, position, all positions)`.
        scaling: of the scores, by default the root of the width.
        softcap: the largest absolute score, approached by a hyperbolic tangent.

    Returns:
        `(batch, position, heads, d_head)`, and no pattern.
    """
    shared = query.shape[1] // key.shape[1]
    query, key, value = _share(query, 1 / 4), _share(key, 1 / 4), _share(value, 1 / 2)
    key, value = (each.repeat_interleave(shared, dim=1) for each in (key, value))
    scale = query.shape[-1] ** -0.5 if scaling is None else scaling
    scores = query @ key.mT * scale
    if softcap is not None:
        scores = torch.tanh(scores / softcap) * softcap
    if attention_mask is not None:
        scores = scores + attention_mask
    attended = _softened(scores).to(value.dtype) @ value
    return attended.transpose(1, 2).contiguous(), None


def _softened(scores: Tensor) -> Tensor:
    """Return the softmax of scores, with the gradient at a higher temperature."""
    precise = scores.to(torch.promote_types(scores.dtype, torch.float32))

    def rule(gradient: Tensor) -> Tensor:
        soft = (precise.detach() / TEMPERATURE).softmax(-1)
        return soft * (gradient - (gradient * soft).sum(-1, keepdim=True))

    return _altered(precise, precise.softmax(-1), rule)
