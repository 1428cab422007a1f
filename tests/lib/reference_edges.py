"""The oracle of edges: every reader has a residual stream of its own.

Plain float64 torch from the weights alone, one reader after the other, sharing no code
with the library. What a reader reads is the sum over the writers before it of the live
output where the mask has 1 and of the ablated output where it has 0; a norm over the
sum of a layer's heads is applied to the sum that this reader reads.
"""

import torch
from reference import embed, logit_diff
from reference_families import (
    FORWARDS,
    attend,
    below,
    capped,
    centred,
    gelu_tanh,
    linear,
    rotated,
    rotation,
    unfused,
    window,
)
from reference_rules import activated, constant
from torch.nn.functional import gelu

from circuit_transfer.models.edges import config_graph


class Streams:
    """The residual streams of all readers.

    `mask` is `(n_writers, n_readers)`, of ones and zeros or anything between;
    `ablated` has the output of every writer by name.
    """

    def __init__(self, graph, mask, ablated, base=0.0):
        self.graph, self.mask, self.ablated, self.base = graph, mask, ablated, base
        self.live, self.after_heads = {}, []

    def write(self, name, value):
        self.live[name] = value

    def read(self, reader):
        """Return what a reader reads, `(batch, position, d_model)`."""
        column = self.mask[:, self.graph.readers.index(reader)]
        shares = dict(zip(self.graph.writers, column, strict=True))
        seen = self.graph.before[self.graph.readers.index(reader)]
        visible = set(self.graph.writers[:seen])

        def mixed(name):
            share = shares[name]
            return share * self.live[name] + (1 - share) * self.ablated[name]

        total = self.base + mixed("input")
        for layer, norm in enumerate(self.after_heads):
            heads = [f"a{layer}.h{head}" for head in range(self.graph.heads)]
            if visible.issuperset(heads):
                total = total + norm(sum(map(mixed, heads)))
            if f"m{layer}" in visible:
                total = total + mixed(f"m{layer}")
        return total


def run_edges(model, ids, ablated, mask, kv="query-head", embeddings=None):
    """Return the last position's logits `(batch, vocabulary)`, and all live outputs."""
    graph = config_graph(model.config, kv)
    weights = {name: value.double() for name, value in model.state_dict().items()}
    tokens = embed(model, ids) if embeddings is None else embeddings
    streams = Streams(graph, mask, ablated)
    streams.write("input", tokens)
    family = model.config.model_type
    run = {"gpt2": _gpt2, "gpt_neox": _gpt_neox}.get(family, _llama_like)
    return run(model.config, weights, streams)[:, -1], streams.live


def ablated_outputs(model, ids):
    """Return the outputs of all writers in a plain run, such as the corrupted one."""
    graph = config_graph(model.config)
    ones = torch.ones(len(graph.writers), len(graph.readers), dtype=torch.float64)
    nothing = dict.fromkeys(graph.writers, 0.0)
    with torch.no_grad():
        return run_edges(model, ids, nothing, ones)[1]


def oracle_outputs(model, batches, kind):
    """Return by batch the ablated outputs of all writers, by name."""
    if kind == "counterfactual":
        return [ablated_outputs(model, batch.corrupted) for batch in batches]
    clean = [ablated_outputs(model, batch.clean) for batch in batches]
    total = sum(batch.clean.numel() for batch in batches)
    mean = {
        name: sum(each[name].sum((0, 1)) for each in clean) / total for name in clean[0]
    }
    scale = 0.0 if kind == "zero" else 1.0
    return [{name: scale * value for name, value in mean.items()}] * len(batches)


def _llama_like(config, weights, streams):
    family = FORWARDS[config.model_type]
    for layer in range(config.num_hidden_layers):
        part = unfused(config, below(weights, f"model.layers.{layer}"))
        for head, out in enumerate(_heads(family, config, part, layer, streams)):
            streams.write(f"a{layer}.h{head}", out)
        bias = part.get("self_attn.o_proj.bias", 0.0)
        streams.after_heads.append(
            lambda heads, part=part, bias=bias: family.norm(
                config, part, family.after_attention, heads + bias
            )
        )
        x = family.norm(config, part, family.before_mlp, streams.read(f"m{layer}"))
        x = family.mlp(part, x)
        streams.write(f"m{layer}", family.norm(config, part, family.after_mlp, x))
    x = family.norm(config, weights, "model.norm", streams.read("logits"))
    tied = config.tie_word_embeddings
    unembedding = "model.embed_tokens.weight" if tied else "lm_head.weight"
    cap = getattr(config, "final_logit_softcapping", None)
    return capped(x @ weights[unembedding].T, cap)


def _heads(family, config, part, layer, streams):
    width = getattr(config, "head_dim", None)
    width = width or config.hidden_size // config.num_attention_heads
    n_heads = config.num_attention_heads
    group = n_heads // config.num_key_value_heads

    def projected(kind):
        """Return one tensor per head: its slice, computed from its own stream."""
        shared = 1 if kind == "q" else group
        found = []
        for head in range(n_heads):
            own = head // shared
            number = own if streams.graph.kv == "kv-head" else head
            x = streams.read(f"a{layer}.h{number}<{kind}>")
            x = family.norm(config, part, family.before_attention, x)
            found.append(
                linear(part, f"self_attn.{kind}_proj", x).split(width, -1)[own]
            )
        return found

    def normed(kind, heads):
        name = f"self_attn.{kind}_norm.weight"
        if name not in part:
            return heads
        weight = part[name] + family.offset
        if len(weight) == width:  # of every head for itself
            root = [
                (x.square().mean(-1, keepdim=True) + config.rms_norm_eps) for x in heads
            ]
        else:
            mean = torch.cat(heads, -1).square().mean(-1, keepdim=True)
            root = [mean + config.rms_norm_eps] * n_heads
        slices = weight.split(width)
        count = n_heads // len(slices)
        return [
            x * constant(r.rsqrt()) * slices[head // count]
            for head, (x, r) in enumerate(zip(heads, root, strict=True))
        ]

    rope = config.rope_parameters
    if "rope_theta" not in rope:
        rope = rope[config.layer_types[layer]]
    turned = int(width * rope.get("partial_rotary_factor", 1))
    value = projected("v")
    turn = rotation(value[0].shape[1], turned, rope["rope_theta"])
    query = [rotated(x, turn) for x in normed("q", projected("q"))]
    key = [rotated(x, turn) for x in normed("k", projected("k"))]
    out = part["self_attn.o_proj.weight"].T.split(width)
    scale = getattr(config, "query_pre_attn_scalar", width) ** -0.5
    cap = getattr(config, "attn_logit_softcapping", None)
    seen = window(config, layer)
    for head in range(n_heads):
        z = attend(query[head], key[head], value[head], scale, seen, cap)
        yield z @ out[head]


def _gpt2(config, weights, streams):
    width, eps = config.n_embd // config.n_head, config.layer_norm_epsilon
    positions = streams.live["input"].shape[1]
    streams.base = weights["transformer.wpe.weight"][:positions]

    def convolved(part, name, x):
        return x @ part[f"{name}.weight"] + part[f"{name}.bias"]

    for layer in range(config.n_layer):
        part = below(weights, f"transformer.h.{layer}")
        out = part["attn.c_proj.weight"].split(width)

        def projected(kind, head, part=part, layer=layer):
            x = streams.read(f"a{layer}.h{head}<{'qkv'[kind]}>")
            x = convolved(part, "attn.c_attn", centred(part, "ln_1", x, eps))
            return x.chunk(3, -1)[kind].split(width, -1)[head]

        for head in range(config.n_head):
            q, k, v = (projected(kind, head) for kind in range(3))
            streams.write(f"a{layer}.h{head}", attend(q, k, v, width**-0.5) @ out[head])
        bias = part["attn.c_proj.bias"]
        streams.after_heads.append(lambda heads, bias=bias: heads + bias)
        x = centred(part, "ln_2", streams.read(f"m{layer}"), eps)
        x = activated(gelu_tanh, convolved(part, "mlp.c_fc", x))
        streams.write(f"m{layer}", convolved(part, "mlp.c_proj", x))
    x = centred(weights, "transformer.ln_f", streams.read("logits"), eps)
    return x @ weights["lm_head.weight"].T


def _gpt_neox(config, weights, streams):
    width, eps = config.hidden_size // config.num_attention_heads, config.layer_norm_eps
    rope = config.rope_parameters
    turned = int(width * rope["partial_rotary_factor"])
    turn = rotation(streams.live["input"].shape[1], turned, rope["rope_theta"])
    for layer in range(config.num_hidden_layers):
        part = below(weights, f"gpt_neox.layers.{layer}")
        out = part["attention.dense.weight"].T.split(width)

        def projected(kind, head, part=part, layer=layer):
            x = streams.read(f"a{layer}.h{head}<{'qkv'[kind]}>")
            x = centred(part, "input_layernorm", x, eps)
            x = linear(part, "attention.query_key_value", x)
            return x.split(3 * width, -1)[head].split(width, -1)[kind]

        for head in range(config.num_attention_heads):
            q, k, v = (projected(kind, head) for kind in range(3))
            z = attend(rotated(q, turn), rotated(k, turn), v, width**-0.5)
            streams.write(f"a{layer}.h{head}", z @ out[head])
        bias = part["attention.dense.bias"]
        streams.after_heads.append(lambda heads, bias=bias: heads + bias)
        x = centred(part, "post_attention_layernorm", streams.read(f"m{layer}"), eps)
        x = activated(gelu, linear(part, "mlp.dense_h_to_4h", x))
        streams.write(f"m{layer}", linear(part, "mlp.dense_4h_to_h", x))
    x = centred(weights, "gpt_neox.final_layer_norm", streams.read("logits"), eps)
    return x @ weights["lm_head.weight"].T


def edge_scores(model, pair, kv="query-head", places=(1.0,), ablated=None):
    """Score every edge on one pair by gradients of the mask, `(n_writers, n_readers)`.

    The mask is at ones, where the derivative by an entry is the product of what the
    writer loses and the gradient at what the reader reads. `places` are shares of the
    way from the corrupted embeddings to the clean ones, where gradients are taken;
    `ablated` is what ablated writers write, by default on the corrupted prompt.
    """
    clean = ablated_outputs(model, pair.clean)
    ablated = ablated or ablated_outputs(model, pair.corrupted)
    moved = {name: clean[name] - ablated[name] for name in clean}
    parts = []
    for place in places:
        point = ablated["input"] + place * moved["input"]
        parts.append(_mask_gradient(model, pair, kv, point, moved))
    return sum(parts) / len(parts)


def conductances(model, pair, kv, places):
    """Score every edge by its changes in equal steps, by gradients within each."""
    ends = [embed(model, ids) for ids in (pair.corrupted, pair.clean)]

    def at(share):
        return ends[0] + share * (ends[1] - ends[0])

    graph, total = config_graph(model.config, kv), 0.0
    nothing = dict.fromkeys(graph.writers, 0.0)
    for step, place in enumerate(places):
        before, after = (
            run_edges(model, pair.clean, nothing, _ones(graph), kv, at(share))[1]
            for share in (step / len(places), (step + 1) / len(places))
        )
        moved = {name: after[name] - before[name] for name in after}
        total = total + _mask_gradient(model, pair, kv, at(place), moved)
    return total


def site_scores(model, pair, kv, places):
    """Score every edge by gradients where the writers of its site alone have moved."""
    graph, scores = config_graph(model.config, kv), 0.0
    ablated = ablated_outputs(model, pair.corrupted)
    sites = [name.split(".")[0] for name in graph.writers]
    for site in sorted({*sites}):
        rows = torch.tensor([each == site for each in sites])[:, None].double()
        for place in places:
            # Where the mask mixes, a writer is on its way, and moves the mask further.
            mask = (1 - rows) + rows * place * _ones(graph)
            mask.requires_grad_()
            logits, _ = run_edges(model, pair.clean, ablated, mask, kv)
            (gradient,) = torch.autograd.grad(_logit_diff(logits, pair), mask)
            scores = scores + rows * gradient / len(places)
    return scores


def _mask_gradient(model, pair, kv, point, moved):
    """Return the gradient at a mask of ones that subtracts `moved` from the writers."""
    graph = config_graph(model.config, kv)
    nothing = dict.fromkeys(graph.writers, 0.0)
    live = run_edges(model, pair.clean, nothing, _ones(graph), kv, point)[1]
    others = {name: (live[name] - moved[name]).detach() for name in live}
    mask = _ones(graph).requires_grad_()
    logits, _ = run_edges(model, pair.clean, others, mask, kv, point)
    return torch.autograd.grad(_logit_diff(logits, pair), mask)[0]


def _ones(graph):
    return torch.ones(len(graph.writers), len(graph.readers), dtype=torch.float64)


def _logit_diff(logits, pair):
    return logit_diff(logits[:, None], pair.answers, pair.wrong_answers).sum()
