"""A copy of a model whose heads stand in another order and that does the same."""

import copy

import numpy as np
import torch


def permuted_copy(model, seed=0):
    """Return a copy of a Llama with permuted heads, and every head's name in it.

    Groups of heads with a shared key and value are permuted within their layer, and
    heads within their group.
    """
    generator, config = np.random.default_rng(seed), model.config
    groups, heads = config.num_key_value_heads, config.num_attention_heads
    size, names = heads // groups, {}
    changed = copy.deepcopy(model)
    with torch.no_grad():
        for depth, layer in enumerate(changed.model.layers):
            order = generator.permutation(groups)
            within = [generator.permutation(size) for _ in range(groups)]
            new = [
                g * size + h for g, own in zip(order, within, strict=True) for h in own
            ]
            attention = layer.self_attn
            for module, places in (
                (attention.q_proj, new),
                (attention.k_proj, order),
                (attention.v_proj, order),
            ):
                rows = module.weight.unflatten(0, (-1, config.head_dim))[places]
                module.weight.copy_(rows.flatten(0, 1))
            columns = attention.o_proj.weight.unflatten(1, (heads, -1))[:, new]
            attention.o_proj.weight.copy_(columns.flatten(1))
            names |= {f"a{depth}.h{o}": f"a{depth}.h{n}" for n, o in enumerate(new)}
    return changed, names
