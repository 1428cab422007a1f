"""Settings of DiscoGP: which masks are learned, by what losses, and how fast.

DiscoGP (arXiv 2407.03779) learns masks of single weights and of edges by three losses:
faithfulness, completeness (what is left out answers at chance) and density. Nothing
here needs torch, so that a configuration is checked without it.
"""

from collections.abc import Mapping
from dataclasses import dataclass, fields, replace
from typing import Any

from circuit_transfer.messages import quoted

BOTH, WEIGHTS, EDGES = "both", "weights", "edges"
JOINT, WEIGHTS_FIRST = "joint", "weights-first"
ZERO, COUNTERFACTUAL = "zero", "counterfactual"
ANSWER, KL = "answer", "kl"
CHOICES = {
    "masks": (BOTH, WEIGHTS, EDGES),
    "order": (JOINT, WEIGHTS_FIRST),
    "ablation": (ZERO, COUNTERFACTUAL),
    "faithfulness": (ANSWER, KL),
}


@dataclass(frozen=True)
class DiscoGP:
    """How masks are learned; the keys of `pruning.discogp` in the configuration.

    The weight of a density loss rises linearly from `density` to `density_max` times
    it in the warm-up, then falls to `density_min` times it in the cool-down, and stays
    there. Settings with `weight_` are of masks of weights, those with `edge_` of edges.

    Attributes:
        masks: `weights`, `edges` or `both`.
        order: of both: `joint`, in the same steps, or `weights-first`, then the edges
            with the weights' masks fixed, as in the paper.
        ablation: what an edge that is left out carries: `zero`, where every reader
            keeps the token embeddings, or `counterfactual`.
        faithfulness: cross-entropy of the right `answer` among the right and the wrong
            ones, or `kl`, the divergence from the full model over the vocabulary.
        completeness: weight of the completeness loss.
        weight_decay: of AdamW, on the logits of the masks.
        weight_steps: optimiser steps, also of joint masks.
        weight_learning_rate: AdamW's.
        weight_init: mean logit at the start; the deviation is 0.01.
        weight_temperature: of the gates' gradients, see `straight_through`.
        weight_density: weight of the mean gate in the loss at the start.
        weight_density_max: times that after the warm-up.
        weight_density_min: times that after the cool-down.
        weight_warmup: share of the steps.
        weight_cooldown: share of the steps after the warm-up.
        edge_steps: see `weight_steps`; not of joint masks.
        edge_learning_rate: see `weight_learning_rate`.
        edge_init: see `weight_init`.
        edge_temperature: see `weight_temperature`.
        edge_density: see `weight_density`.
        edge_density_max: see `weight_density_max`.
        edge_density_min: see `weight_density_min`.
        edge_warmup: see `weight_warmup`.
        edge_cooldown: see `weight_cooldown`.
        logits: whether the logits of weights are kept too, in float16.
    """

    masks: str = BOTH
    order: str = JOINT
    ablation: str = ZERO
    faithfulness: str = KL
    completeness: float = 1.0
    weight_decay: float = 0.0
    weight_steps: int = 400
    weight_learning_rate: float = 0.1
    weight_init: float = 3.0
    weight_temperature: float = 1.0
    weight_density: float = 1.0
    weight_density_max: float = 300.0
    weight_density_min: float = 300.0
    weight_warmup: float = 1.0
    weight_cooldown: float = 0.0
    edge_steps: int = 400
    edge_learning_rate: float = 0.1
    edge_init: float = 1.0
    edge_temperature: float = 1.0
    edge_density: float = 1.0
    edge_density_max: float = 30.0
    edge_density_min: float = 1.0
    edge_warmup: float = 0.2
    edge_cooldown: float = 0.2
    logits: bool = False

    def __post_init__(self) -> None:
        """Check the settings.

        Raises:
            ValueError: a setting is out of its range; the message says which and what
                is expected.
        """
        for name, known in CHOICES.items():
            _check(name, getattr(self, name), known, f"one of {', '.join(known)}")
        for field in fields(self):
            value = getattr(self, field.name)
            if field.name.endswith(("steps", "learning_rate", "temperature")):
                _check(field.name, value, value > 0, "above 0")
            elif field.name == "completeness" or "_de" in field.name:
                _check(field.name, value, value >= 0, "0 or above")
            elif field.name.endswith(("warmup", "cooldown")):
                _check(field.name, value, 0 <= value <= 1, "a share of the steps, 0..1")

    @property
    def kinds(self) -> tuple[str, ...]:
        """The kinds of masks that are learned: `weight`, `edge` or both."""
        kinds = {WEIGHTS: ("weight",), EDGES: ("edge",)}
        return kinds.get(self.masks, ("weight", "edge"))

    def density_weight(self, kind: str, done: float) -> float:
        """Return the weight of a density loss.

        Args:
            kind: `weight` or `edge`.
            done: the share of the steps that are done.
        """
        start, highest, lowest, warmup, cooldown = (
            getattr(self, f"{kind}_{name}")
            for name in ("density", "density_max", "density_min", "warmup", "cooldown")
        )
        if done < warmup:
            return start * (1 + (highest - 1) * done / warmup)
        share = (done - warmup) / cooldown if cooldown else 1.0
        return start * (highest + (lowest - highest) * min(1.0, share))


def _check(name: str, value: Any, known: Any, expected: str) -> None:
    is_right = value in known if isinstance(known, tuple) else known
    if not is_right:
        raise ValueError(
            f"pruning.discogp.{name} is {quoted(str(value))}; expected {expected}"
        )


PRESETS = {
    # Few steps: with the published temperature only one in fifty masks of weights has a
    # gradient in a step, and a model is broken before any can respond.
    "small": DiscoGP(),
    # The published settings for GPT-2: 1,000 prompts in batches of 64 are 13 steps an
    # epoch, of which weights take 500 and edges 100.
    "paper": DiscoGP(
        order=WEIGHTS_FIRST,
        faithfulness=ANSWER,
        weight_decay=0.01,
        weight_steps=6500,
        weight_init=1.0,
        weight_temperature=0.01,
        weight_density_max=1000.0,
        weight_density_min=1.0,
        weight_warmup=1.0,
        weight_cooldown=0.0,
        edge_steps=1300,
        edge_density_max=100.0,
        edge_density_min=0.01,
        edge_warmup=0.2,
        edge_cooldown=0.2,
    ),
}


def discogp_settings(section: Mapping[str, Any]) -> DiscoGP:
    """Return the settings of a `pruning.discogp` section of the configuration.

    Args:
        section: `preset`, and settings that replace the preset's where not null.

    Raises:
        ValueError: there is no such preset or setting, or a setting is out of range.
    """
    given = {name: value for name, value in section.items() if value is not None}
    preset = given.pop("preset", "small")
    _check("preset", preset, tuple(PRESETS), f"one of {', '.join(PRESETS)}")
    known = tuple(field.name for field in fields(DiscoGP))
    for name in given:
        if name not in known:
            raise ValueError(
                f"pruning.discogp.{quoted(name)}: there is no such setting; expected "
                f"one of preset, {', '.join(known)}"
            )
    return replace(PRESETS[preset], **given)
