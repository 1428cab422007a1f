"""The forward passes of every family in plain float64 torch, for `reference`.

Each takes the configuration, the weights by name, the embedded prompts
`(batch, position, d_model)` and `write(node, live output)`, which gives what the node
adds to the residual stream; it returns the logits `(batch, position, vocabulary)`.
"""

from collections.abc import Callable
from dataclasses import dataclass

import torch
from reference_rules import activated, constant, halved, pattern, quartered, shared
from torch.nn.functional import gelu, silu


def gelu_tanh(x):
    return gelu(x, approximate="tanh")


@dataclass(frozen=True)
class LlamaLike:
    """Rotary positions, RMS norms, a gated MLP: families differ in the norms' places.

    The norms are names of modules, None where a family has none; `offset` is added to
    the norms' weights. What the configuration or the weights tell is read from there.
    """

    before_attention: str | None = "input_layernorm"
    after_attention: str | None = None
    before_mlp: str | None = "post_attention_layernorm"
    after_mlp: str | None = None
    offset: float = 0.0
    activation: Callable = silu

    def __call__(self, config, weights, residual, write):
        for layer in range(config.num_hidden_layers):
            part = unfused(config, below(weights, f"model.layers.{layer}"))
            x = self.norm(config, part, self.before_attention, residual)
            parts = self.heads(config, part, layer, x)
            heads = (write(f"a{layer}.h{head}", out) for head, out in enumerate(parts))
            attended = sum(heads) + part.get("self_attn.o_proj.bias", 0.0)
            residual = residual + self.norm(
                config, part, self.after_attention, attended
            )
            x = self.norm(config, part, self.before_mlp, residual)
            x = self.mlp(part, x)
            x = self.norm(config, part, self.after_mlp, x)
            residual = residual + write(f"m{layer}", x)
        residual = self.norm(config, weights, "model.norm", residual)
        tied = config.tie_word_embeddings
        unembedding = "model.embed_tokens.weight" if tied else "lm_head.weight"
        cap = getattr(config, "final_logit_softcapping", None)
        return capped(residual @ weights[unembedding].T, cap)

    def heads(self, config, part, layer, x):
        """Return what every head of a layer gives to the output projection's sum."""
        width = getattr(config, "head_dim", None)
        width = width or config.hidden_size // config.num_attention_heads
        groups = config.num_attention_heads // config.num_key_value_heads
        rope = config.rope_parameters
        if "rope_theta" not in rope:  # by kind of layer
            rope = rope[config.layer_types[layer]]
        turn = rotation(
            x.shape[1],
            int(width * rope.get("partial_rotary_factor", 1)),
            rope["rope_theta"],
        )

        def project(kind):
            y = linear(part, f"self_attn.{kind}_proj", x)
            if f"self_attn.{kind}_norm.weight" in part:
                y = self.norm(config, part, f"self_attn.{kind}_norm", y)
            return y.split(width, -1)

        query = [rotated(each, turn) for each in project("q")]
        key = [rotated(each, turn) for each in project("k")]
        value = project("v")
        out = part["self_attn.o_proj.weight"].T.split(width)
        scale = getattr(config, "query_pre_attn_scalar", width) ** -0.5
        cap = getattr(config, "attn_logit_softcapping", None)
        for head, one in enumerate(query):
            shared = head // groups
            z = attend(
                one, key[shared], value[shared], scale, window(config, layer), cap
            )
            yield z @ out[head]

    def mlp(self, part, x):
        gate = activated(self.activation, linear(part, "mlp.gate_proj", x))
        up = linear(part, "mlp.up_proj", x)
        return linear(part, "mlp.down_proj", shared(gate) * shared(up))

    def norm(self, config, part, name, x):
        """Normalise runs of as many numbers as the norm has weights: a head, or all."""
        if name is None:
            return x
        weight = part[f"{name}.weight"] + self.offset
        x = x.unflatten(-1, (-1, len(weight)))
        mean = x.square().mean(-1, keepdim=True)
        scale = constant((mean + config.rms_norm_eps).rsqrt())
        return (x * scale * weight).flatten(-2)


def gpt2(config, weights, residual, write):
    width = config.n_embd // config.n_head
    residual = residual + weights["transformer.wpe.weight"][: residual.shape[1]]

    def convolved(part, name, x):
        return x @ part[f"{name}.weight"] + part[f"{name}.bias"]

    for layer in range(config.n_layer):
        part = below(weights, f"transformer.h.{layer}")
        eps = config.layer_norm_epsilon
        x = convolved(part, "attn.c_attn", centred(part, "ln_1", residual, eps))
        query, key, value = (each.split(width, -1) for each in x.chunk(3, -1))
        out = part["attn.c_proj.weight"].split(width)
        attended = part["attn.c_proj.bias"]
        for head in range(config.n_head):
            z = attend(query[head], key[head], value[head], width**-0.5)
            attended = attended + write(f"a{layer}.h{head}", z @ out[head])
        residual = residual + attended
        x = convolved(part, "mlp.c_fc", centred(part, "ln_2", residual, eps))
        x = convolved(part, "mlp.c_proj", activated(gelu_tanh, x))
        residual = residual + write(f"m{layer}", x)
    residual = centred(weights, "transformer.ln_f", residual, config.layer_norm_epsilon)
    return residual @ weights["transformer.wte.weight"].T


def gpt_neox(config, weights, residual, write):
    width, eps = config.hidden_size // config.num_attention_heads, config.layer_norm_eps
    rope = config.rope_parameters
    turned = int(width * rope["partial_rotary_factor"])
    turn = rotation(residual.shape[1], turned, rope["rope_theta"])
    for layer in range(config.num_hidden_layers):
        part = below(weights, f"gpt_neox.layers.{layer}")
        x = centred(part, "input_layernorm", residual, eps)
        x = linear(part, "attention.query_key_value", x)
        out = part["attention.dense.weight"].T.split(width)
        attended = part["attention.dense.bias"]
        # Query, key and value of one head lie side by side, then those of the next.
        for head, one in enumerate(x.split(3 * width, -1)):
            query, key, value = one.split(width, -1)
            query, key = rotated(query, turn), rotated(key, turn)
            z = attend(query, key, value, width**-0.5)
            attended = attended + write(f"a{layer}.h{head}", z @ out[head])
        read = residual if config.use_parallel_residual else residual + attended
        x = centred(part, "post_attention_layernorm", read, eps)
        x = activated(gelu, linear(part, "mlp.dense_h_to_4h", x))
        x = linear(part, "mlp.dense_4h_to_h", x)
        residual = residual + attended + write(f"m{layer}", x)
    residual = centred(weights, "gpt_neox.final_layer_norm", residual, eps)
    return residual @ weights["lm_head.weight"].T


def below(weights, module):
    """Return the weights of a module, named from there."""
    prefix = f"{module}."
    return {
        name.removeprefix(prefix): weight
        for name, weight in weights.items()
        if name.startswith(prefix)
    }


def unfused(config, part):
    """Cut the stacked projections of Phi-3 into those that its relatives have."""
    if "self_attn.qkv_proj.weight" not in part:
        return part
    width = config.hidden_size // config.num_attention_heads
    kinds = [
        width * config.num_attention_heads,
        *2 * [width * config.num_key_value_heads],
    ]
    q, k, v = part["self_attn.qkv_proj.weight"].split(kinds)
    gate, up = part["mlp.gate_up_proj.weight"].chunk(2)
    names = [f"self_attn.{kind}_proj.weight" for kind in "qkv"]
    names += ["mlp.gate_proj.weight", "mlp.up_proj.weight"]
    return part | dict(zip(names, [q, k, v, gate, up], strict=True))


def linear(part, name, x):
    return x @ part[f"{name}.weight"].T + part.get(f"{name}.bias", 0.0)


def centred(part, name, x, eps):
    """Normalise mean and variance, GPT's norm."""
    scale, shift = part[f"{name}.weight"], part[f"{name}.bias"]
    x = x - x.mean(-1, keepdim=True)
    root = (x.square().mean(-1, keepdim=True) + eps).sqrt()
    return x / constant(root) * scale + shift


def attend(query, key, value, scale, window=None, cap=None):
    """Causal attention of one head, all `(batch, position, d_head)`.

    A position sees itself and, with a window, the `window - 1` before it.
    """
    query, key = quartered(query), quartered(key)
    scores = capped(query @ key.transpose(-1, -2) * scale, cap)
    seen = torch.ones(scores.shape[-2:], dtype=torch.bool).tril()
    if window is not None:
        seen = seen.triu(1 - window)
    return pattern(scores.masked_fill(~seen, -torch.inf)) @ halved(value)


def window(config, layer):
    """Return how many positions a layer sees; None for all."""
    kinds = getattr(config, "layer_types", None)
    if kinds is None or kinds[layer] == "sliding_attention":
        return getattr(config, "sliding_window", None)
    return None


def capped(x, cap):
    return x if cap is None else cap * torch.tanh(x / cap)


def rotation(positions, width, theta):
    """Return the rotary embedding as unit complex numbers `(position, width / 2)`."""
    frequency = theta ** -(torch.arange(0, width, 2, dtype=torch.float64) / width)
    angle = torch.arange(positions, dtype=torch.float64)[:, None] * frequency
    return torch.polar(torch.ones_like(angle), angle)


def rotated(x, turn):
    """Turn the pairs of the first numbers, as many as there are; leave the rest."""
    half = turn.shape[-1]
    first, second, rest = x.split([half, half, x.shape[-1] - 2 * half], -1)
    turned = torch.complex(first, second) * turn
    return torch.cat([turned.real, turned.imag, rest], -1)


LLAMA = LlamaLike()
GEMMA = LlamaLike(
    after_attention="post_attention_layernorm",
    before_mlp="pre_feedforward_layernorm",
    after_mlp="post_feedforward_layernorm",
    offset=1.0,
    activation=gelu_tanh,
)
OLMO2 = LlamaLike(
    before_attention=None,
    after_attention="post_attention_layernorm",
    before_mlp=None,
    after_mlp="post_feedforward_layernorm",
)

FORWARDS = {
    "gemma2": GEMMA,
    "gemma3_text": GEMMA,
    "gpt2": gpt2,
    "gpt_neox": gpt_neox,
    "llama": LLAMA,
    "mistral": LLAMA,
    "olmo2": OLMO2,
    "phi3": LLAMA,
    "qwen2": LLAMA,
    "qwen3": LLAMA,
}
