"""Cut a model down to some of its layers, heads, neurons and dimensions.

What is cut off should contribute nothing before: the cut model then computes what the
whole one does. For heads, neurons and dimensions of the residual stream this is so
where the weights by which they are written are zero, for a layer where those of its
heads and its MLP are.
"""

import copy
from collections.abc import Iterable

import torch
from torch import Tensor, nn
from transformers import AutoModelForCausalLM

from circuit_transfer.models.architectures import (
    architecture_of,
    final_norm,
    layer_matrices,
    layer_readers,
    node_sites,
)
from circuit_transfer.models.kept import Kept, check_prunable
from circuit_transfer.models.nonlinearities import mlp_modules
from circuit_transfer.models.shape import head_width, mlp_width

# What is kept of a parameter: the indices along each of its axes.
Places = tuple[Tensor, ...]


def everything(config) -> Kept:
    """Return all parts of the model of a configuration."""
    layers, heads = config.num_hidden_layers, config.num_attention_heads
    kv_heads = getattr(config, "num_key_value_heads", None) or heads
    return Kept(
        layers=tuple(range(layers)),
        heads=(tuple(range(heads)),) * layers,
        kv_heads=(tuple(range(kv_heads)),) * layers,
        neurons=(tuple(range(mlp_width(config))),) * layers,
        dimensions=tuple(range(config.hidden_size)),
    )


def cut_configuration(config, kept: Kept):
    """Return the configuration of a model that has some parts of another one.

    Args:
        config: of the whole model, which is not changed.
        kept: its parts that are kept.
    """
    small, width = copy.deepcopy(config), head_width(config)
    sizes = kept.shape()
    small.num_hidden_layers = sizes["layers"]
    small.num_attention_heads = sizes["heads"]
    small.num_key_value_heads = sizes["kv_heads"]
    small.hidden_size = sizes["d_model"]
    small.intermediate_size = sizes["d_mlp"]
    if head_width(small) != width:
        small.head_dim = width
    if sizes["d_model"] < config.hidden_size:
        small.rms_norm_eps = config.rms_norm_eps / _share_of_dimensions(config, kept)
    if getattr(config, "layer_types", None):
        small.layer_types = [config.layer_types[layer] for layer in kept.layers]
    return small


def kept_places(model: nn.Module, kept: Kept) -> dict[str, Places | None]:
    """Return by parameter the places that are kept; None where nothing is.

    Args:
        model: the whole model.
        kept: its parts that are kept.

    Raises:
        ValueError: models of its family cannot be pruned.
    """
    check_prunable(model.config.model_type)
    axes, start = _axes(model, kept), _layer_names(model)
    dropped = {
        f"{start}{layer}."
        for layer in range(model.config.num_hidden_layers)
        if layer not in kept.layers
    }
    places = {}
    for name, parameter in model.named_parameters():
        module = model.get_submodule(name.rpartition(".")[0])
        if any(name.startswith(each) for each in dropped):
            places[name] = None
        else:
            whole = tuple(map(torch.arange, parameter.shape))
            places[name] = axes.get(module, whole)[: parameter.ndim]
    return places


def writing_parameters(model: nn.Module) -> set[str]:
    """Return the names of the parameters that write to the residual stream."""
    modules = {model.get_input_embeddings()}
    modules |= {module for module, at_input, _ in node_sites(model) if at_input}
    modules |= {each.projection for each in mlp_modules(model)}
    return {
        name
        for name, _ in model.named_parameters()
        if model.get_submodule(name.rpartition(".")[0]) in modules
    }


@torch.no_grad()
def cut(model: nn.Module, kept: Kept) -> nn.Module:
    """Return a model of the kept parts alone, with weights of its own.

    Where dimensions of the residual stream are cut off, norms divide by the root mean
    square of fewer numbers, which weights and `rms_norm_eps` make up for.

    Args:
        model: the whole model, float32.
        kept: its parts that are kept.

    Raises:
        ValueError: models of its family cannot be pruned.
    """
    places = kept_places(model, kept)
    with torch.random.fork_rng(devices=[]):
        small = AutoModelForCausalLM.from_config(
            cut_configuration(model.config, kept), dtype=model.dtype
        )
    own, start = dict(model.named_parameters()), _layer_names(model)
    for name, parameter in small.named_parameters():
        source = _source(name, start, kept)
        parameter.copy_(own[source][torch.meshgrid(*places[source], indexing="ij")])
    if len(kept.dimensions) < model.config.hidden_size:
        for norm in _stream_norms(small):
            norm.weight.mul_(_share_of_dimensions(model.config, kept) ** -0.5)
    return small.train(model.training)


def _axes(model: nn.Module, kept: Kept) -> dict[nn.Module, Places]:
    """Return by module what is kept of the axes of its weight, its outputs first.

    The embeddings have tokens in the place of outputs.
    """
    config, stream = model.config, torch.tensor(kept.dimensions)
    tokens = torch.arange(model.get_input_embeddings().weight.shape[0])
    embeddings = model.get_input_embeddings(), model.get_output_embeddings()
    axes = dict.fromkeys(embeddings, (tokens, stream))
    axes |= dict.fromkeys(_stream_norms(model), (stream,))
    readers, outputs = layer_readers(model), node_sites(model)[::2]
    mlps, width = mlp_modules(model), head_width(config)
    of_layers = zip(kept.layers, kept.heads, kept.kv_heads, kept.neurons, strict=True)
    for layer, heads, kv_heads, neurons in of_layers:
        queries, keys = _of_heads(heads, width), _of_heads(kv_heads, width)
        q, k, v = readers[layer].projections
        axes |= {q: (queries, stream), k: (keys, stream), v: (keys, stream)}
        axes[outputs[layer][0]] = (stream, queries)
        inside = torch.tensor(neurons)
        axes |= dict.fromkeys(_readers_of_mlp(model, layer), (inside, stream))
        axes[mlps[layer].projection] = (stream, inside)
    return axes


def _readers_of_mlp(model: nn.Module, layer: int) -> list[nn.Module]:
    """Return the modules by which the MLP of a layer reads its input."""
    row = architecture_of(model.config.model_type)
    mlp = model.get_submodule(f"{row.layers}.{layer}.{row.feed_forward}")
    matrices = set(layer_matrices(model).values())
    output = mlp.get_submodule(row.mlp_projection)
    return [each for each in mlp.modules() if each in matrices and each is not output]


def _of_heads(heads: Iterable[int], width: int) -> Tensor:
    """Return the places of heads in the concatenation of all."""
    return (torch.tensor(heads)[:, None] * width + torch.arange(width)).flatten()


def _stream_norms(model: nn.Module) -> list[nn.Module]:
    readers = layer_readers(model)
    norms = [norm for each in readers for norm in (each.attention_norm, each.mlp_norm)]
    return [*norms, final_norm(model)]


def _share_of_dimensions(config, kept: Kept) -> float:
    return len(kept.dimensions) / config.hidden_size


def _layer_names(model: nn.Module) -> str:
    return architecture_of(model.config.model_type).layers + "."


def _source(name: str, start: str, kept: Kept) -> str:
    """Return the name of a parameter of the cut model in the whole one."""
    if not name.startswith(start):
        return name
    number, rest = name.removeprefix(start).split(".", 1)
    return f"{start}{kept.layers[int(number)]}.{rest}"
