"""Checks of what a study distils, made before any job runs."""

from collections.abc import Mapping, Sequence
from pathlib import Path

from circuit_transfer.artifacts.text import read_json
from circuit_transfer.distillation.critical_heads import head_count
from circuit_transfer.distillation.frames import EFFECT, PATHS
from circuit_transfer.distillation.matchings import MATCHINGS, ONE_TO_ONE
from circuit_transfer.distillation.variants import VARIANTS
from circuit_transfer.study.distillation import (
    OF_CKA,
    OF_HEADS,
    OF_LOGITS,
    SECTION,
    all_matchings,
    distilled_tasks,
    training_settings,
    unused_settings,
)
from circuit_transfer.study.distillation_pairs import check_pairs
from circuit_transfer.study.head_checks import found, layers_and_heads
from circuit_transfer.study.validation import nearest

# The generator that marks what the groups of path patching are found at.
GROUPED = "entity-tracking"
IMPACT = "impact"


def check_distillation(
    config: Mapping, used: Sequence[str], directories: Sequence[Path]
) -> None:
    """Check that what a study distils is possible, and that no key does nothing.

    Args:
        config: the whole config, of which the files of models have been checked.
        used: names of the models of the study.
        directories: where relative paths may start.

    Raises:
        ValueError: for the first rule that is broken.
    """
    section = config.get(SECTION, {})
    if section.get("teacher") is None:
        _check_nothing(section)
        return
    _check_models(section, config["models"], used)
    for name in section["tasks"]:
        if name not in config["study"]["tasks"]:
            raise ValueError(
                f"{SECTION}.tasks: no task of the study is called {name!r}; "
                f"{nearest(name, config['study']['tasks'])}"
            )
    training_settings(config)
    _check_criterion(config)
    _check_matchings(config)
    _check_effective(section)
    _check_counts(config, directories)
    check_pairs(config, directories)
    if "logits" in section["objectives"]:
        _check_vocabularies(config, directories)


def _check_nothing(section: Mapping) -> None:
    """Check that nothing is asked of a distillation that is not there."""
    for key in ("student", "tasks"):
        if section.get(key):
            raise ValueError(
                f"{SECTION}.{key}: {section[key]!r}, but {SECTION}.teacher is not "
                f"given; expected a model of the study there, or no {key}"
            )


def _check_models(section: Mapping, models: Mapping, used: Sequence[str]) -> None:
    for role in ("teacher", "student"):
        name = section[role]
        if name is None:
            raise ValueError(
                f"{SECTION}.{role}: missing; expected a model of the study"
            )
        if name not in used:
            raise ValueError(
                f"{SECTION}.{role}: no model of the study is called {name!r}; "
                f"{nearest(name, used)}; study.models adds models to those of the "
                "transfers"
            )
    student = section["student"]
    if student == section["teacher"]:
        raise ValueError(
            f"{SECTION}: {student!r} is both teacher and student; expected two "
            "different models"
        )
    if models[student]["dtype"] != "float32":
        raise ValueError(
            f"models.{student}.dtype: {models[student]['dtype']}, in which small "
            f"updates of the weights are lost, but {SECTION}.student is trained; "
            "expected float32 (another entry of the same model, if need be)"
        )


def _check_criterion(config: Mapping) -> None:
    study, key = config["study"], f"{SECTION}.heads.by"
    by = config[SECTION]["heads"]["by"]
    if by == PATHS:
        _check_marks(config["tasks"], distilled_tasks(config))
    elif by != EFFECT and by not in [*study["methods"], *study["edge_methods"]]:
        raise ValueError(
            f"{key}: {by!r} is not a method of the study; expected it in study.methods "
            f"or study.edge_methods too, or {EFFECT}"
        )


def _check_marks(tasks: Mapping[str, Mapping], names: Sequence[str]) -> None:
    for name in names:
        entry = tasks[name]
        # Whether the prompts of a file have marks is known when they are read.
        if "mib" in entry or entry.get("generator", GROUPED) != GROUPED:
            raise ValueError(
                f"{SECTION}.heads.by: {PATHS!r} is for tasks whose prompts are about "
                f"boxes, such as those of the generator {GROUPED}, which {name!r} is "
                f"not; expected other {SECTION}.tasks, or {EFFECT}"
            )


def _check_matchings(config: Mapping) -> None:
    section, study = config[SECTION], config["study"]
    pair = {section["teacher"], section["student"]}
    transfers = [{each["source"], each["target"]} for each in study["transfers"]]
    for name in all_matchings(config):
        is_used = name == section["matching"]["method"]
        key = f"{SECTION}.{'matching.method' if is_used else 'compared'}"
        if MATCHINGS[name].aligned and pair not in transfers:
            raise ValueError(
                f"{key}: {name!r} needs an alignment, but study.transfers has none "
                f"between {section['teacher']} and {section['student']}; expected "
                "one, or another matching"
            )
        if "profile" in MATCHINGS[name].needs and not study["methods"]:
            raise ValueError(
                f"{key}: {name!r} compares scores of nodes, but study.methods is "
                "empty; expected a method there, or another matching"
            )


def _check_effective(section: Mapping) -> None:
    """Check that every key that is given changes something."""
    variants = [VARIANTS[name] for name in section["objectives"]]
    unused = set.intersection(*(set(unused_settings(each)) for each in variants))
    for keys, what in (
        (OF_CKA, "compares heads by CKA"),
        (OF_LOGITS, "compares logits"),
        (OF_HEADS, "trains chosen heads alone"),
    ):
        for key in unused.intersection(keys):
            if section[key] is not None:
                raise ValueError(
                    f"{SECTION}.{key}: {section[key]}, but no variant of "
                    f"{SECTION}.objectives {what}; expected one that does, or null"
                )
    if IMPACT in [section["matching"]["method"], *section["compared"]]:
        return
    defaults = {"matching.baseline": "student", "matching.scale": "raw"}
    if section["heads"]["by"] != EFFECT:
        defaults["heads.metric"] = "accuracy"
    for key, default in defaults.items():
        group, name = key.split(".")
        if (value := section[group][name]) != default:
            raise ValueError(
                f"{SECTION}.{key}: {value!r} is about effects of heads, but no "
                f"matching is by {IMPACT}; expected {IMPACT} in {SECTION}.compared, or "
                f"{default!r}, the default"
            )


def _check_counts(config: Mapping, directories: Sequence[Path]) -> None:
    """Check that the models have as many heads, and enough of the teacher's.

    As far as the sizes of the models are known before they are there.
    """
    section, heads = config[SECTION], config[SECTION]["heads"]
    count, sizes = heads["count"], {}
    for role in ("student", "teacher"):
        entry = config["models"][section[role]]
        layers, of_layer = layers_and_heads(entry, directories)
        known = isinstance(layers, int) and isinstance(of_layer, int)
        try:
            # Of a model of unknown size, what would be wrong in the largest.
            sizes[role] = head_count(count, layers * of_layer if known else 10**9)
        except ValueError as error:
            raise ValueError(
                f"{SECTION}.heads.count: {section[role]}: {error}"
            ) from error
        if not known:
            return
    one_to_one = section["matching"]["assignment"] == ONE_TO_ONE
    # Of groups, some heads may be in two.
    if one_to_one and heads["by"] != PATHS and sizes["student"] > sizes["teacher"]:
        raise ValueError(
            f"{SECTION}.heads.count: {count} are {sizes['student']} heads of the "
            f"student and {sizes['teacher']} of the teacher, too few to match one to "
            f"one; expected a whole number, or {SECTION}.matching.assignment: "
            "many-to-one"
        )


def _check_vocabularies(config: Mapping, directories: Sequence[Path]) -> None:
    """Check that both models have the same tokens, where their files are there."""
    section, models = config[SECTION], config["models"]
    names = [section["student"], section["teacher"]]
    if not all("path" in models[name] for name in names):
        return
    own, other = (_tokens(found(models[name]["path"], directories)) for name in names)
    if own != other:
        raise ValueError(
            f"{SECTION}.objectives: 'logits' compares the distributions of "
            f"{names[0]} and {names[1]}, whose vocabularies differ ({len(own)} and "
            f"{len(other)} tokens); expected models with the same tokenizer, or the "
            "other variants"
        )


def _tokens(folder: Path) -> Mapping | Sequence:
    return read_json(folder / "tokenizer.json")["model"]["vocab"]
