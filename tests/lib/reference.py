"""The oracle: three architectures in plain float64 torch, from their weights alone.

Shares no code with the library and hooks nothing. A node's output is what it adds to
the residual stream, `(batch, position, d_model)`; for a head that is its slice of `z`
times its part of the output projection.
"""

import math

import torch
from torch.nn.functional import gelu, layer_norm, silu


def run(model, ids=None, *, embeddings=None, edit=lambda _name, live: live):
    """Return the logits `(batch, position, vocabulary)` and every node's output.

    `edit(node, live output)` gives what the node adds to the residual stream instead.
    """
    weights = {name: value.double() for name, value in model.state_dict().items()}
    forward = _gpt2 if model.config.model_type == "gpt2" else _llama
    outputs = {}

    def write(name, live):
        outputs[name] = edit(name, live)
        return outputs[name]

    return forward(model.config, weights, ids, embeddings, write), outputs


def embed(model, ids):
    return model.get_input_embeddings().weight.double()[ids]


def replaced(outputs):
    """Return the edit that sets nodes to the given outputs, the others live."""
    return lambda name, live: outputs.get(name, live)


def mixed(shares, outside, inside=None):
    """Return the edit `share * (inside or live) + (1 - share) * outside`, by node."""

    def edit(name, live):
        kept = live if inside is None else inside[name]
        return shares[name] * kept + (1 - shares[name]) * outside[name]

    return edit


def pushed(shares, towards):
    """Return the edit `live + share * (towards - live)`, by node."""
    return lambda name, live: live + shares[name] * (towards[name] - live)


def logit_diff(logits, answer, wrong):
    """Return answer minus wrong-answer logit of the last position, `(batch,)`."""
    rows = torch.arange(len(answer))
    return logits[rows, -1, answer] - logits[rows, -1, wrong]


def _llama(config, weights, ids, embeddings, write):
    d_head = config.hidden_size // config.num_attention_heads
    groups = config.num_attention_heads // config.num_key_value_heads
    residual = (
        weights["model.embed_tokens.weight"][ids] if ids is not None else embeddings
    )
    turn = _rotation(residual.shape[1], d_head, config.rope_parameters["rope_theta"])

    def norm(x, name):
        scale = (x.square().mean(-1, keepdim=True) + config.rms_norm_eps).rsqrt()
        return x * scale * weights[f"{name}.weight"]

    def linear(x, name):
        bias = weights.get(f"{name}.bias", 0.0)
        return x @ weights[f"{name}.weight"].T + bias

    def heads(x):
        return x.unflatten(-1, (-1, d_head)).transpose(1, 2)  # (batch, head, pos, d)

    for layer in range(config.num_hidden_layers):
        at = f"model.layers.{layer}"
        x = norm(residual, f"{at}.input_layernorm")
        query = _rotated(heads(linear(x, f"{at}.self_attn.q_proj")), turn)
        key = _rotated(heads(linear(x, f"{at}.self_attn.k_proj")), turn)
        value = heads(linear(x, f"{at}.self_attn.v_proj"))
        out = weights[f"{at}.self_attn.o_proj.weight"].T.split(d_head)
        attended = 0
        for head, part in enumerate(out):
            z = _attend(
                query[:, head], key[:, head // groups], value[:, head // groups]
            )
            attended = attended + write(f"a{layer}.h{head}", z @ part)
        residual = residual + attended
        x = norm(residual, f"{at}.post_attention_layernorm")
        gated = silu(linear(x, f"{at}.mlp.gate_proj")) * linear(x, f"{at}.mlp.up_proj")
        residual = residual + write(f"m{layer}", linear(gated, f"{at}.mlp.down_proj"))
    return norm(residual, "model.norm") @ weights["lm_head.weight"].T


def _gpt2(config, weights, ids, embeddings, write):
    d_head = config.n_embd // config.n_head
    tokens = weights["transformer.wte.weight"][ids] if ids is not None else embeddings
    residual = tokens + weights["transformer.wpe.weight"][: tokens.shape[1]]

    def norm(x, name):
        scale, shift = weights[f"{name}.weight"], weights[f"{name}.bias"]
        return layer_norm(x, (config.n_embd,), scale, shift, config.layer_norm_epsilon)

    def linear(x, name):
        return x @ weights[f"{name}.weight"] + weights[f"{name}.bias"]

    for layer in range(config.n_layer):
        at = f"transformer.h.{layer}"
        x = linear(norm(residual, f"{at}.ln_1"), f"{at}.attn.c_attn")
        query, key, value = (part.split(d_head, -1) for part in x.chunk(3, -1))
        out = weights[f"{at}.attn.c_proj.weight"].split(d_head)
        attended = weights[f"{at}.attn.c_proj.bias"]
        for head, part in enumerate(out):
            z = _attend(query[head], key[head], value[head])
            attended = attended + write(f"a{layer}.h{head}", z @ part)
        residual = residual + attended
        x = linear(norm(residual, f"{at}.ln_2"), f"{at}.mlp.c_fc")
        x = linear(gelu(x, approximate="tanh"), f"{at}.mlp.c_proj")
        residual = residual + write(f"m{layer}", x)
    return norm(residual, "transformer.ln_f") @ weights["lm_head.weight"].T


def _attend(query, key, value):
    """Causal attention of one head, all `(batch, position, d_head)`."""
    scores = query @ key.transpose(-1, -2) / math.sqrt(query.shape[-1])
    future = torch.ones(scores.shape[-2:], dtype=torch.bool).triu(1)
    return scores.masked_fill(future, -torch.inf).softmax(-1) @ value


def _rotation(positions, d_head, theta):
    """Return the rotary embedding as unit complex numbers `(position, d_head / 2)`."""
    frequency = theta ** -(torch.arange(0, d_head, 2, dtype=torch.float64) / d_head)
    angle = torch.arange(positions, dtype=torch.float64)[:, None] * frequency
    return torch.polar(torch.ones_like(angle), angle)


def _rotated(x, turn):
    half = x.shape[-1] // 2
    turned = torch.complex(x[..., :half], x[..., half:]) * turn
    return torch.cat([turned.real, turned.imag], -1)


def node_scores(model, pair, method, steps=5):
    """Score every node on one pair, `(n_nodes,)`, slowly and by the definition.

    `pair` has the prompts `(1, position)` and the answers `(1,)` of a batch of one.
    """
    with torch.no_grad():
        full, clean = run(model, pair.clean)
        _, corrupted = run(model, pair.corrupted)

    def drop(outputs):
        with torch.no_grad():
            logits, _ = run(model, pair.clean, edit=replaced(outputs))
        return (_diff(full, pair) - _diff(logits, pair)).item()

    def score(gradients):
        return [
            ((clean[name] - corrupted[name]) * gradients[name]).sum().item()
            for name in clean
        ]

    if method == "exact":
        return torch.tensor([drop({name: corrupted[name]}) for name in clean])
    if method == "nap":
        return torch.tensor(score(_gradients(model, pair, 1.0)))
    points = [k / steps for k in range(1, steps + 1)]
    if method == "nap-ig-inputs":
        parts = [score(_gradients(model, pair, share)) for share in points]
    else:
        parts = [
            score(_own_gradients(model, pair, share, clean, corrupted))
            for share in points
        ]
    return torch.tensor(parts).mean(0)


def _gradients(model, pair, share):
    """Gradient at every node where the input embeddings are so far from corrupted."""
    clean, corrupted = embed(model, pair.clean), embed(model, pair.corrupted)
    point = (corrupted + share * (clean - corrupted)).requires_grad_()
    logits, outputs = run(model, embeddings=point)
    gradients = torch.autograd.grad(_diff(logits, pair), list(outputs.values()))
    return dict(zip(outputs, gradients, strict=True))


def _own_gradients(model, pair, share, clean, corrupted):
    """Gradient at every node where its site alone is so far from corrupted."""
    gradients = {}
    for site in sorted({name.split(".")[0] for name in clean}):
        moved = {
            name: (corrupted[name] + share * (clean[name] - corrupted[name]))
            .detach()
            .requires_grad_()
            for name in clean
            if name.split(".")[0] == site
        }
        logits, _ = run(model, pair.clean, edit=replaced(moved))
        own = torch.autograd.grad(_diff(logits, pair), list(moved.values()))
        gradients |= zip(moved, own, strict=True)
    return gradients


def _diff(logits, pair):
    return logit_diff(logits, pair.answer, pair.wrong_answer).sum()
