"""The settings of a study, and its variants: with the value of one changed."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, fields, replace
from typing import Any

from circuit_transfer.transfer.controls import RIDGE_CONTROLS
from circuit_transfer.transfer.family_draws import ALL
from circuit_transfer.transfer.objectives import FitSettings

ABLATED = ("attribution_ablation", "training_ablation", "evaluation_ablation")

Variants = Mapping[str, "Settings"]


@dataclass(frozen=True)
class Compared:
    """What every value of a setting is measured by.

    Attributes:
        controls: of the alignments, see `transfer.controls`.
        only_family_sets: whether only alignments without the task's family are fitted.
    """

    controls: Sequence[str]
    only_family_sets: bool = False


COMPARED = Compared(("source-free",))
# Of the settings for which that is not enough.
COMPARED_BY_SETTING = {
    "training_families": Compared(
        (
            *("source-free", "scrambled-source", "other-family"),
            *("mean-gold", "ridge", *RIDGE_CONTROLS.values()),
        ),
        only_family_sets=True,
    )
}


@dataclass(frozen=True)
class Settings:
    """Everything that a study can be run with; named as in the configuration.

    Attributes:
        fit: how alignments are trained.
        map: how source scores become target scores.
        prior: of the maps that know which nodes are alike, see
            `correspondences.node_priors`.
        transform: of the source's scores.
        seeds: of the alignments.
        ig_steps: steps of the integrated gradients.
        scored_examples: pairs that scores are the mean of.
        scoring_batch_size: pairs in one pass of the attribution.
        examples: pairs of a fit, shared evenly by its training tasks.
        batch_size: pairs in one optimiser step.
        proportions: circuit sizes as shares of all nodes.
        measured_examples: test pairs per task.
        measuring_batch_size: pairs in one pass of the evaluation.
        random_rankings: of the target's nodes.
        training_families: how many families an alignment that leaves out one is trained
            on, see `family_draws`; `all` others by default.
        attribution_ablation: what replaces a node's output, for the scores.
        training_ablation: the same in training.
        evaluation_ablation: the same in the evaluation of circuits.
    """

    fit: FitSettings
    map: str
    prior: Mapping[str, Any]
    transform: str
    seeds: Sequence[int]
    ig_steps: int
    scored_examples: int
    scoring_batch_size: int | str
    examples: int
    batch_size: int
    proportions: tuple[float, ...]
    measured_examples: int
    measuring_batch_size: int | str
    random_rankings: int
    training_families: int | str = ALL
    attribution_ablation: str = "counterfactual"
    training_ablation: str = "counterfactual"
    evaluation_ablation: str = "counterfactual"

    def changed(self, setting: str, value: Any) -> "Settings":
        """Return the settings with another value of one; `ablation` is all three.

        Raises:
            ValueError: the setting is unknown.
        """
        if setting == "ablation":
            return replace(self, **dict.fromkeys(ABLATED, value))
        if setting == "proportions":
            sizes, fit = tuple(value), self.fit
            if fit.proportions:  # trained for the sizes that are measured
                fit = replace(fit, proportions=sizes)
            return replace(self, fit=fit, proportions=sizes)
        if setting == "objective":
            sizes = self.proportions if value == "area" else ()
            fit = replace(self.fit, objective=value, proportions=sizes)
            return replace(self, fit=fit)
        if setting in _names(self.fit):
            return replace(self, fit=replace(self.fit, **{setting: value}))
        if setting in _names(self):
            return replace(self, **{setting: value})
        raise ValueError(f"setting {setting!r} is none that can be varied")


def settings_by_value(
    settings: Settings, setting: str, values: Mapping[str, Any]
) -> dict[str, Settings]:
    """Return the settings with every value, by its name.

    The configured settings come first if their value is not among the others.

    Args:
        settings: the configured ones.
        setting: the one that is varied.
        values: by the name that each is listed under.
    """
    variants = {n: settings.changed(setting, each) for n, each in values.items()}
    if settings in variants.values():
        return variants
    return {_configured_name(settings, setting): settings} | variants


def groups(variants: Variants, names: Sequence[str]) -> Iterator[dict[str, Settings]]:
    """Yield the variants in groups with equal values of the named settings."""
    found: dict[tuple, dict[str, Settings]] = {}
    for name, settings in variants.items():
        key = tuple(getattr(settings, each) for each in names)
        found.setdefault(key, {})[name] = settings
    yield from found.values()


def first(variants: Variants) -> Settings:
    """Return the settings of the first variant of a group."""
    return next(iter(variants.values()))


def _configured_name(settings: Settings, setting: str) -> str:
    """Return the name that the configured value is listed under."""
    if setting == "ablation":
        kinds = dict.fromkeys(getattr(settings, name) for name in ABLATED)
        return ", ".join(kinds)
    of_fit = setting in _names(settings.fit)
    value = getattr(settings.fit if of_fit else settings, setting)
    if isinstance(value, int | float):
        return f"{value:g}"
    return value if isinstance(value, str) else "configured"


def _names(settings: object) -> set[str]:
    return {field.name for field in fields(settings)}
