"""Logits in float32 of a model whose weights have half the precision.

In bfloat16 logits near 20 are multiples of 1/8, and so are their differences, which
attribution and faithfulness are made of. The hidden state and the weights are as exact
in float32 as they are, and so are their products.
"""

from contextlib import AbstractContextManager, nullcontext

import torch
from torch import Tensor, nn
from torch.autograd.function import once_differentiable

from circuit_transfer.interventions.hooks import replacing
from circuit_transfer.models.weights import on_device

# Weights that are in float32 at once: 256 MB. All of a Llama-3 would be 2 GB.
CHUNK = 2**26


def in_float32(model: nn.Module) -> AbstractContextManager[None]:
    """Let a model compute its logits in float32 within the context.

    What follows the unembedding, such as the soft cap of Gemma 2, is then computed in
    float32 too. A model in float32 or float64, or whose unembedding is not a linear
    layer, stays as it is.
    """
    head = model.get_output_embeddings()
    halved = type(head) is nn.Linear and head.weight.dtype.itemsize == 2
    return replacing({head: _unembedding(head)}) if halved else nullcontext()


def _unembedding(head: nn.Linear):
    def forward(hidden: Tensor) -> Tensor:
        with on_device(head):
            weight, bias = head.weight, head.bias
            rows = hidden.to(weight.device).float().flatten(0, -2)
            logits = _Float32Product.apply(rows, weight)
            logits = logits.unflatten(0, hidden.shape[:-1])
            return logits if bias is None else logits + bias.float()

    return forward


class _Float32Product(torch.autograd.Function):
    """The product of float32 rows and a frozen matrix of half precision, in float32.

    Of the matrix a part at a time is in float32, in the backward pass too: autograd
    itself would keep all parts until then.
    """

    @staticmethod
    def forward(ctx, rows: Tensor, weight: Tensor) -> Tensor:
        """Return `rows @ weight.T` of `(n, d_model)` and `(vocabulary, d_model)`."""
        ctx.save_for_backward(weight)
        product = rows.new_empty(len(rows), len(weight))
        for part, into in _parts(weight, product):
            torch.mm(rows, part.float().T, out=into)
        return product

    @staticmethod
    @once_differentiable
    def backward(ctx, gradient: Tensor) -> tuple[Tensor, None]:
        """Return the gradient of the rows."""
        (weight,) = ctx.saved_tensors
        total = gradient.new_zeros(len(gradient), weight.shape[1])
        for part, of_part in _parts(weight, gradient):
            total.addmm_(of_part, part.float())
        return total, None


def _parts(weight: Tensor, logits: Tensor) -> zip:
    """Pair parts of the vocabulary's weights with their logits."""
    rows = max(1, CHUNK // weight.shape[1])
    return zip(weight.split(rows), logits.split(rows, dim=1), strict=True)
