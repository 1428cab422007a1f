"""Tiny models of every family with every rope type that the family may have."""

import copy

from circuit_transfer.models.architectures import ARCHITECTURES

# A prompt of more tokens is a long one, which some rope types treat otherwise.
ORIGINAL = 5
LONG = {"original_max_position_embeddings": ORIGINAL}
# Width of the rotated part of a head in the tiny models.
ROTATED = {
    "gemma2": 10,
    "gemma3_text": 10,
    "gpt_neox": 4,
    "llama": 8,
    "mistral": 6,
    "olmo2": 8,
    "phi3": 4,
    "qwen2": 8,
    "qwen3": 12,
}
SCALED = {
    "default": {},
    "linear": {"factor": 2.0},
    "dynamic": {"factor": 2.0},
    "yarn": {"factor": 2.0} | LONG,
    "llama3": {"factor": 2.0, "low_freq_factor": 1.0, "high_freq_factor": 4.0} | LONG,
    "longrope": LONG,
}
VARIANTS = [
    ("gpt2", "absolute"),
    *((family, rope) for family in sorted(ROTATED) for rope in SCALED),
]
# transformers has no others for Phi-3.
VARIANTS = [
    (family, rope)
    for family, rope in VARIANTS
    if family != "phi3" or rope in ("default", "longrope")
]
assert {family for family, _ in VARIANTS} == set(ARCHITECTURES)


def settings(family, rope):
    """Return what a tiny model of the family needs for a rope type."""
    if rope == "absolute":
        return {}
    entry = {"rope_type": rope, "rope_theta": 10.0} | SCALED[rope]
    half = ROTATED[family] // 2
    if rope == "longrope":
        entry["short_factor"] = [1.0] * half
        entry["long_factor"] = [1.5 + number for number in range(half)]
    found = {"max_position_embeddings": ORIGINAL if rope == "dynamic" else 64}
    if family in ("gpt_neox", "phi3"):
        entry["partial_rotary_factor"] = 0.5
    if family == "phi3":
        found |= LONG
    if family == "gemma3_text":
        local = {"rope_type": "default", "rope_theta": 10.0}
        entry = {"sliding_attention": local, "full_attention": entry}
    return found | {"rope_parameters": entry}


def plain(model, ids, **options):
    """Run whole prompts by transformers alone, in a copy that has run nothing."""
    return copy.deepcopy(model)(input_ids=ids, **options)
