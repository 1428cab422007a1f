"""What is not linear in a model apart from attention: norms, activations, products."""

from dataclasses import dataclass

from torch import nn

from circuit_transfer.models.architectures import architecture_of, final_norm


def all_norms(model: nn.Module) -> list[nn.Module]:
    """Return all norms: of the residual stream, of what enters it, of queries, keys."""
    row = architecture_of(model.config.model_type)
    named = [row.attention_norm, row.mlp_norm, row.heads_norm, *row.query_norms]
    if row.mlp != row.feed_forward:
        named.append(row.mlp)
    layers = model.get_submodule(row.layers)
    return [
        *(each.get_submodule(name) for each in layers for name in named if name),
        final_norm(model),
    ]


@dataclass(frozen=True)
class MlpModules:
    """The modules of an MLP.

    Attributes:
        activation: the nonlinear function.
        projection: of the output.
        gated: whether the projection reads a product of the activation with another
            linear map of the MLP's input.
    """

    activation: nn.Module
    projection: nn.Module
    gated: bool


def mlp_modules(model: nn.Module) -> list[MlpModules]:
    """Return by layer the modules of the MLP."""
    row = architecture_of(model.config.model_type)
    every = [
        each.get_submodule(row.feed_forward) for each in model.get_submodule(row.layers)
    ]
    return [
        MlpModules(
            each.get_submodule(row.activation),
            each.get_submodule(row.mlp_projection),
            row.gated,
        )
        for each in every
    ]
