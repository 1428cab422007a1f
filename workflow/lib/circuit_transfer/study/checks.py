"""Checks of a study's configuration, made before any job runs."""

from collections.abc import Iterable, Mapping, Sequence
from itertools import chain
from pathlib import Path

from circuit_transfer.circuits.methods import check_method
from circuit_transfer.embedded.planted.settings import planted_settings
from circuit_transfer.generators import GENERATORS
from circuit_transfer.importers import wrong_type
from circuit_transfer.study.convergence import check_step_counts
from circuit_transfer.study.distillation_checks import check_distillation
from circuit_transfer.study.edge_transfers import check_edge_transfers
from circuit_transfer.study.edges import check_edges
from circuit_transfer.study.file_checks import check_files, read_configuration
from circuit_transfer.study.head_checks import check_named_heads
from circuit_transfer.study.learning import attributing_methods, check_learning
from circuit_transfer.study.map_checks import check_maps
from circuit_transfer.study.relatives import check_relatives, with_relatives
from circuit_transfer.study.validation import nearest
from circuit_transfer.transfer.training_sets import study_families

# Columns in addition to those of the tasks in the tables.
RESERVED = ("mean", "method", "circuit")
# What follows a task's name in the names of files.
REJECTS = ".rejects"


def check_config(config: Mapping, *directories: Path | str) -> None:
    """Check what a schema cannot: rules between keys, and files that must exist.

    Args:
        config: a config that is valid under the schema.
        directories: where relative paths may start; the working directory if none.

    Raises:
        ValueError: for the first rule that is broken, with key, value and expectation.
    """
    check_study(config["study"], config["models"], config["tasks"])
    grids = {"evaluation.proportions": config["evaluation"]["proportions"]}
    for name, sizes in config["sensitivity"].get("proportions", {}).items():
        grids[f"sensitivity.proportions.{name}"] = sizes
    for key, sizes in grids.items():
        check_proportions(key, sizes)
    check_circuits(config)
    for name in config["evaluation"]["heads"]:
        models = studied_models(config["study"], config["models"])
        _check_known("evaluation.heads", name, models, "model of the study")
    check_ablation(config)
    check_learning(config)
    check_edges(config)
    check_edge_transfers(config)
    check_step_counts(config)
    check_training_families(config)
    for name, model in config["models"].items():
        check_model(f"models.{name}", model)
    for name, task in config["tasks"].items():
        if name.endswith(REJECTS):
            raise ValueError(
                f"tasks: {name!r} would read as the rejected rows of a task; expected "
                f"a name that does not end in {REJECTS!r}"
            )
        check_task(f"tasks.{name}", task)
    for name, entry in config["benchmark"].items():
        check_benchmark(f"benchmark.{name}", entry, config["models"])
    places = [Path(directory) for directory in directories or ["."]]
    models = config["models"]
    check_relatives(models, lambda name: read_configuration(models[name], places))
    used = with_relatives(models, studied_models(config["study"], models))
    check_files(config, used, places)
    check_maps(config, places)
    check_named_heads(config, places)
    check_distillation(config, used, places)


def studied_models(study: Mapping, models: Mapping) -> list[str]:
    """Return the models of a study: of its transfers, those it names, else all.

    A study that names no model is about direct attribution on every model there is.
    """
    pairs = ([pair["source"], pair["target"]] for pair in study["transfers"])
    return list(dict.fromkeys(chain(*pairs, study["models"])) or models)


def studied_targets(study: Mapping, models: Mapping) -> list[str]:
    """Return the models whose circuits are measured: all targets, else all models."""
    targets = dict.fromkeys(pair["target"] for pair in study["transfers"])
    return list(targets) or studied_models(study, models)


def check_training_families(config: Mapping) -> None:
    """Check that there are as many families besides one as training shall have."""
    numbers = config["sensitivity"].get("training_families", [])
    study = config["study"]
    others = len(study_families(study["tasks"], study["families"])) - 1
    if max(numbers, default=0) > others:
        left = f"at most {others}" if others else "tasks of several families"
        raise ValueError(
            f"sensitivity.training_families: {max(numbers)}, but without the evaluated "
            f"one the study has {others}; expected {left}"
        )


def check_study(study: Mapping, models: Mapping, tasks: Mapping) -> None:
    """Check that a study selects known models and tasks, in a way that makes sense."""
    for name in study["tasks"]:
        _check_known("study.tasks", name, tasks, "task under `tasks`")
        if name in RESERVED:
            raise ValueError(
                f"study.tasks: {name!r} is the name of a column in the tables; "
                "expected another name"
            )
    if not study["methods"] and (study["transfers"] or not study["edge_methods"]):
        raise ValueError(
            "study.methods: no method, expected at least one, since "
            + (
                "transfers are of scores of nodes"
                if study["transfers"]
                else "study.edge_methods is empty too"
            )
        )
    for name in study["models"]:
        _check_known("study.models", name, models, "model under `models`")
    for transfer in study["transfers"]:
        for role in ("source", "target"):
            key = f"study.transfers.{role}"
            _check_known(key, transfer[role], models, "model under `models`")
        if transfer["source"] == transfer["target"]:
            raise ValueError(
                f"study.transfers: {transfer['source']!r} is both source and target; "
                "expected two different models"
            )
    _check_siblings(study["siblings"], tasks)
    _check_families(study["families"], study["tasks"], tasks)


def _check_families(
    families: Mapping[str, list[str]], studied: list[str], tasks: Mapping
) -> None:
    families_of = {}
    for family, name in ((f, task) for f in families for task in families[f]):
        key = f"study.families.{family}"
        _check_known(key, name, tasks, "task under `tasks`")
        if name in families_of:
            raise ValueError(
                f"{key}: {name!r} is in {families_of[name]!r} too; expected one family "
                "a task"
            )
        families_of[name] = family
    for name in studied:
        if name.startswith("family-"):
            raise ValueError(
                f"study.tasks: {name!r} would read as a family in the name of a "
                "training set; expected a name that does not begin with `family-`"
            )
        members = families.get(name, [])
        if name not in members and any(each in studied for each in members):
            raise ValueError(
                f"study.families: {name!r} is a task of another family; expected "
                "another name for the family"
            )


def _check_siblings(siblings: list[list[str]], tasks: Mapping) -> None:
    paired = set()
    for name in (name for pair in siblings for name in pair):
        _check_known("study.siblings", name, tasks, "task under `tasks`")
        if name in paired:
            raise ValueError(
                f"study.siblings: {name!r} is in two pairs; expected one sibling a task"
            )
        paired.add(name)


def check_proportions(key: str, proportions: list[float]) -> None:
    """Check that circuit sizes increase, as the area under a curve needs.

    Args:
        key: where they are, for the message.
        proportions: the sizes.
    """
    for smaller, larger in zip(proportions, proportions[1:], strict=False):
        if smaller >= larger:
            raise ValueError(
                f"{key}: {smaller} comes before {larger}; "
                "expected increasing proportions"
            )


def check_ablation(config: Mapping) -> None:
    """Check that every method of a study that attributes can do so by its ablation."""
    ablation = config["attribution"]["ablation"]
    for method in [*config["study"]["methods"], *attributing_methods(config)]:
        try:
            check_method(method, ablation)
        except ValueError as error:
            raise ValueError(f"attribution.ablation: {error}") from error


def check_circuits(config: Mapping) -> None:
    """Check that circuits from elsewhere are of models and tasks of the study."""
    study = config["study"]
    for name, circuit in config["evaluation"]["circuits"].items():
        key = f"evaluation.circuits.{name}"
        targets = studied_targets(study, config["models"])
        _check_known(f"{key}.target", circuit["target"], targets, "target of the study")
        _check_known(f"{key}.task", circuit["task"], study["tasks"], "studied task")
        if name in [*study["methods"], *study["edge_methods"]]:
            raise ValueError(f"{key}: {name!r} is a method; expected another name")


def check_model(key: str, model: Mapping) -> None:
    """Check one entry of `models`: where it comes from, and that its shape is possible.

    Args:
        key: where the entry is, for the message.
        model: the entry.
    """
    _check_one_of(key, model, ("path", "hub", "gguf", "train", "planted"))
    if "revision" in model and "hub" not in model:
        raise ValueError(f"{key}.revision: only a `hub` model has one")
    if "train" in model:
        if "init" not in model["train"]:
            _check_shape(f"{key}.train", model["train"])
        for name in model["train"]["generators"]:
            _check_known(f"{key}.train.generators", name, GENERATORS, "generator")
    if "planted" in model:
        try:
            planted_settings(model["planted"])
        except ValueError as error:
            raise ValueError(f"{key}.planted.{error}") from error


def _check_shape(key: str, train: Mapping) -> None:
    heads, kv_heads, d_model = train["heads"], train["kv_heads"], train["d_model"]
    # Rotary position embeddings turn the values of a head in pairs.
    if d_model % (2 * heads):
        raise ValueError(
            f"{key}.d_model: {d_model} is not an even number of values for each of "
            f"{heads} heads; expected a multiple of {2 * heads}"
        )
    if heads % kv_heads:
        raise ValueError(
            f"{key}.kv_heads: {kv_heads} does not divide the number of heads, {heads}"
        )


def check_benchmark(key: str, entry: Mapping, models: Mapping) -> None:
    """Check one entry of `benchmark`: that it names one model that can be.

    Args:
        key: where the entry is, for the message.
        entry: the entry.
        models: the entries of `models`.
    """
    _check_one_of(key, entry, ("model", "shape"))
    if "shape" in entry:
        _check_shape(f"{key}.shape", entry["shape"])
        return
    _check_known(f"{key}.model", entry["model"], models, "model under `models`")
    for axis in ("layers", "heads"):
        if axis in entry["scaling"]:
            raise ValueError(
                f"{key}.scaling.{axis}: {entry['model']!r} has its own {axis}; "
                "expected a benchmark with `shape`"
            )


def check_task(key: str, task: Mapping) -> None:
    """Check one entry of `tasks`: where its prompt pairs come from.

    Args:
        key: where the entry is, for the message.
        task: the entry.
    """
    _check_one_of(key, task, ("generator", "file", "mib"))
    if "generator" in task:
        _check_generated(key, task)
    elif "mib" in task:
        _check_mib(key, task)
    elif problem := wrong_type(task):
        raise ValueError(f"{key}.file: {task['file']!r}; {problem}")


def _check_mib(key: str, task: Mapping) -> None:
    _check_one_of(key, task, ("path", "hub"))
    if "hub" in task and "revision" not in task:
        raise ValueError(
            f"{key}.revision: missing; expected the commit of {task['hub']}, so that "
            "the rows stay the same, or `main`"
        )
    if "path" in task and "revision" in task:
        raise ValueError(f"{key}.revision: only a `hub` data set has one")


def _check_generated(key: str, task: Mapping) -> None:
    name = task["generator"]
    _check_known(f"{key}.generator", name, GENERATORS, "generator")
    if "counterfactual" in task:
        known = GENERATORS[name].counterfactuals
        what = f"counterfactual of {name}"
        _check_known(f"{key}.counterfactual", task["counterfactual"], known, what)


def _check_known(key: str, name: str, known: Iterable[str], what: str) -> None:
    if name not in known:
        raise ValueError(f"{key}: no {what} is called {name!r}; {nearest(name, known)}")


def _check_one_of(key: str, entry: Mapping, choices: Sequence[str]) -> None:
    given = [f"`{choice}`" for choice in choices if choice in entry]
    if len(given) != 1:
        *others, last = (f"`{choice}`" for choice in choices)
        found = f", but {len(given)} are given: {', '.join(given)}" if given else ""
        raise ValueError(f"{key}: expected either {', '.join(others)} or {last}{found}")
