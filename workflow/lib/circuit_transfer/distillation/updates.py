"""Which parameters of a student are trained: those of chosen heads, and nothing else.

To a head belong its rows of the query projection with their biases, its columns of the
output projection, and the rows of its key and value, which a group of heads may share.
Norms and the bias of the output projection belong to all heads of a layer.
"""

from collections.abc import Mapping, Sequence

import torch
from torch import Tensor, nn

from circuit_transfer.interventions.projections import divided, readers_of_kinds
from circuit_transfer.messages import some
from circuit_transfer.models.architectures import (
    layer_readers,
    node_sites,
    outputs_first,
)
from circuit_transfer.models.edges import KINDS
from circuit_transfer.models.nodes import head_place


class Updates:
    """The entries of a model's parameters that are trained.

    The optimiser has copies of them alone: neither its momentum nor its decay can reach
    another entry, as they would if only the gradient of the others were zero.

    Attributes:
        values: the entries of every parameter that has some, by its name. Where all are
            trained, the parameter itself.
    """

    def __init__(
        self, model: nn.Module, masks: Mapping[str, Tensor] | None = None
    ) -> None:
        """Let the gradients of a model be computed for what is trained.

        Args:
            model: a causal language model with frozen parameters.
            masks: of parameters by name, bool of their shapes, see `head_masks`; None
                to train everything.

        Raises:
            ValueError: the model has half the precision, or is not all in memory.
        """
        _check_weights(model)
        self._masks = masks
        self._parameters = {
            name: parameter.requires_grad_()
            for name, parameter in model.named_parameters()
            if masks is None or name in masks
        }
        self.values = {
            name: nn.Parameter(parameter.detach()[masks[name]]) if masks else parameter
            for name, parameter in self._parameters.items()
        }

    @property
    def count(self) -> int:
        """The number of entries."""
        return sum(value.numel() for value in self.values.values())

    def take_gradients(self) -> None:
        """Move the gradients from the parameters to the entries."""
        if self._masks is None:
            return
        for name, parameter in self._parameters.items():
            gradient, parameter.grad = parameter.grad, None
            own = None if gradient is None else gradient[self._masks[name]]
            self.values[name].grad = own

    @torch.no_grad()
    def write(self) -> None:
        """Write the entries into the parameters."""
        if self._masks is None:
            return
        for name, parameter in self._parameters.items():
            parameter[self._masks[name]] = self.values[name]

    def freeze(self) -> None:
        """Freeze all parameters again."""
        for parameter in self._parameters.values():
            parameter.requires_grad_(False).grad = None


def head_masks(
    model: nn.Module, heads: Sequence[str], *, freeze_kv: bool = False
) -> dict[str, Tensor]:
    """Return which entries of a model's parameters belong to some of its heads.

    Args:
        model: a causal language model.
        heads: their names.
        freeze_kv: whether to leave out keys and values.

    Returns:
        Of every parameter that has such entries, by name, bool of its shape.
    """
    names = {module: name for name, module in model.named_modules()}
    sizes, sites, masks = readers_of_kinds(model), node_sites(model), {}

    def mask(module: nn.Module, part: str) -> Tensor:
        """Return the mask of a module's parameter, at first of none of its entries."""
        parameter = getattr(module, part)
        blank = torch.zeros_like(parameter, dtype=torch.bool)
        return masks.setdefault(f"{names[module]}.{part}", blank)

    for layer, head in map(head_place, heads):
        writer, _, n_heads = sites[2 * layer]
        columns = outputs_first(writer, mask(writer, "weight"))
        columns.unflatten(1, (n_heads, -1))[:, head] = True
        readers = layer_readers(model)[layer]
        for number, module in enumerate(readers.projections):
            kinds = KINDS if readers.fused else KINDS[number]
            if freeze_kv and "q" not in kinds:
                continue
            outputs = [outputs_first(module, mask(module, "weight")).T]
            if getattr(module, "bias", None) is not None:
                outputs.append(mask(module, "bias"))
            for output in outputs:
                parts = divided(output, [sizes[kind] for kind in kinds], readers.fused)
                for kind, part in zip(kinds, parts, strict=True):
                    if kind == "q" or not freeze_kv:
                        part[..., head * sizes[kind] // sizes["q"], :] = True
    return masks


def shared_readers(model: nn.Module, heads: Sequence[str]) -> dict[str, list[str]]:
    """Return the keys and values of some heads that other heads read too.

    Args:
        model: a causal language model.
        heads: names of the heads whose parameters are trained.

    Returns:
        By the name of a key and value, such as `a0.kv1`, the other heads that share it.
    """
    sizes = readers_of_kinds(model)
    group = sizes["q"] // sizes["k"]
    found = {}
    for layer, head in sorted(map(head_place, heads)):
        first = head // group * group
        members = [f"a{layer}.h{each}" for each in range(first, first + group)]
        if others := [each for each in members if each not in heads]:
            found[f"a{layer}.kv{head // group}"] = others
    return found


def _check_weights(model: nn.Module) -> None:
    parameters = dict(model.named_parameters())
    if away := [name for name, each in parameters.items() if each.is_meta]:
        raise ValueError(
            f"{len(away)} weights are offloaded ({some(away)}), but a student is "
            "trained in memory: use a device with more memory"
        )
    halved = [each.dtype for each in parameters.values() if each.dtype.itemsize < 4]
    if halved:
        raise ValueError(
            f"the student is in {str(halved[0]).removeprefix('torch.')}, in which "
            "small updates are lost: load it in float32 (dtype of the model)"
        )
