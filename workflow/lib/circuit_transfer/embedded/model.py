"""Settings and random initialisation of an embedded model."""

from dataclasses import dataclass

import torch
from transformers import (
    AutoConfig,
    AutoModelForCausalLM,
    PreTrainedModel,
    PreTrainedTokenizerFast,
)

from circuit_transfer.generators import get_generator

# A fixed list, so that a new generator does not change what models are trained on.
DEFAULT_GENERATORS = (
    "ioi",
    "mcqa",
    "arithmetic-addition",
    "arithmetic-subtraction",
    "arc-easy",
    "arc-challenge",
)
# The keys of the `train:` entry of a model that are about other models.
OTHERS = ("init", "distil")


@dataclass(frozen=True)
class TrainingSettings:
    """The `train:` entry of a model, without what is about other models.

    The schema of the configuration describes it.
    """

    architecture: str
    layers: int
    heads: int
    kv_heads: int
    d_model: int
    d_mlp: int
    learning_rate: float
    batch_size: int = 64
    warmup_steps: int = 200
    decay_steps: int = 2500
    max_steps: int = 12000
    probe_every: int = 250
    required_accuracy: float = 0.98
    generators: tuple[str, ...] = DEFAULT_GENERATORS
    seed: int = 0

    def __post_init__(self) -> None:
        """Check the settings before training starts.

        Raises:
            ValueError: A generator is unknown, or the decay is longer than `max_steps`.
        """
        object.__setattr__(self, "generators", tuple(self.generators))
        for name in self.generators:
            get_generator(name)
        if self.decay_steps > self.max_steps:
            raise ValueError(
                f"decay_steps: expected at most max_steps, {self.max_steps}, "
                f"found {self.decay_steps}"
            )


def build_model(
    settings: TrainingSettings, tokenizer: PreTrainedTokenizerFast
) -> PreTrainedModel:
    """Return a model with random weights that are determined by the seed."""
    torch.manual_seed(settings.seed)
    config = AutoConfig.for_model(
        settings.architecture,
        vocab_size=len(tokenizer),
        hidden_size=settings.d_model,
        intermediate_size=settings.d_mlp,
        num_hidden_layers=settings.layers,
        num_attention_heads=settings.heads,
        num_key_value_heads=settings.kv_heads,
        max_position_embeddings=128,
        tie_word_embeddings=False,
        bos_token_id=tokenizer.bos_token_id,
        eos_token_id=tokenizer.eos_token_id,
        pad_token_id=tokenizer.pad_token_id,
        use_cache=False,
    )
    return AutoModelForCausalLM.from_config(config, dtype=torch.float32)
