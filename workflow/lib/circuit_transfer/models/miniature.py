"""A small model that treats positions as a large one does."""

import copy

import torch
from torch import nn
from transformers import AutoModelForCausalLM

from circuit_transfer.models.shape import head_width

TOKENS = 64
# Those that run on a CPU in float64.
IMPLEMENTATIONS = ("eager", "sdpa")


def miniature(config) -> nn.Module:
    """Build a small random model with the position settings of a configuration.

    Everything that depends on positions is that of the configuration: width of a head,
    rotary embeddings, windows, kinds of layers. It has one head in a layer, `TOKENS`
    tokens, and as many layers as show every kind. Float64 on the CPU; the weights are
    the same in every call, and large enough that attention depends on the positions.

    Args:
        config: a configuration of `transformers`; it is not changed.
    """
    small = _small(config)
    wanted = getattr(config, "_attn_implementation", None)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        model = AutoModelForCausalLM.from_config(
            small,
            dtype=torch.float64,
            attn_implementation=wanted if wanted in IMPLEMENTATIONS else "sdpa",
        )
        for parameter in model.parameters():
            if parameter.ndim > 1:
                nn.init.normal_(parameter, std=parameter.shape[-1] ** -0.5)
        nn.init.normal_(model.get_input_embeddings().weight)
    return model.requires_grad_(False).eval()


def _small(config):
    small, width = copy.deepcopy(config), head_width(config)
    kinds = getattr(config, "layer_types", None) or ["all"]
    layers = max(map(kinds.index, kinds)) + 1
    sizes = {
        "num_hidden_layers": layers,
        "layer_types": kinds[:layers],
        "num_attention_heads": 1,
        "num_key_value_heads": 1,
        "hidden_size": width,
        "intermediate_size": width,
        "n_inner": width,
        "vocab_size": TOKENS,
    }
    for name, value in sizes.items():
        if hasattr(small, name):
            setattr(small, name, value)
    # A padding token would have to be one of the few tokens.
    small.pad_token_id = None
    return small
