"""Models that are trained from other ones: which, in which order, of which sizes."""

from collections.abc import Callable, Iterable, Mapping
from typing import Any

from circuit_transfer.embedded.selection import SHAPE, kept_shape
from circuit_transfer.models.kept import check_prunable
from circuit_transfer.study.validation import nearest

Models = Mapping[str, Mapping[str, Any]]
ARCHITECTURE = "architecture"
# The names of sizes in `config.json`, which GPT-2 has others for.
IN_CONFIGURATION = {
    ARCHITECTURE: ("model_type",),
    "layers": ("num_hidden_layers", "n_layer"),
    "heads": ("num_attention_heads", "n_head"),
    "kv_heads": ("num_key_value_heads", "num_attention_heads", "n_head"),
    "d_model": ("hidden_size", "n_embd"),
    "d_mlp": ("intermediate_size", "n_inner"),
}


def parent_of(entry: Mapping[str, Any]) -> str | None:
    """Return the model that a model begins with, by its entry, if there is one."""
    init = entry.get("train", {}).get("init", {})
    return init.get("from", init.get("prune"))


def teacher_of(entry: Mapping[str, Any]) -> str | None:
    """Return the model that a model learns from, by its entry, if there is one."""
    distil = entry.get("train", {}).get("distil")
    return None if distil is None else distil.get("teacher", parent_of(entry))


def with_relatives(models: Models, names: Iterable[str]) -> list[str]:
    """Return models and all that their trainings read, directly or indirectly."""
    found, pending = {}, list(names)
    while pending:
        name = pending.pop(0)
        if name not in found:
            found[name] = None
            pending += _relatives(models[name]).values()
    return list(found)


def _relatives(model: Mapping[str, Any]) -> dict[str, str]:
    """Return the models that the training of a model reads, by key of its entry."""
    found = {"init": parent_of(model), "distil": teacher_of(model)}
    return {key: each for key, each in found.items() if each is not None}


def trained_entry(
    models: Models, name: str, settings_of: Callable[[str], Mapping[str, Any]]
) -> dict[str, Any]:
    """Return the `train:` entry of a model with its architecture and sizes.

    Args:
        models: the entries of all models.
        name: of the model.
        settings_of: returns the `config.json` of a model that is not trained here.

    Raises:
        ValueError: what is kept of its parent is no model.
        FileNotFoundError: a `config.json` is not there yet.
    """
    entry, parent = models[name]["train"], parent_of(models[name])
    if parent is None:
        return dict(entry)
    shape = sizes_of(models, parent, settings_of)
    if "prune" in entry["init"]:
        check_prunable(shape[ARCHITECTURE])
        shape |= kept_shape(entry["init"].get("keep", {}), shape)
    return {**entry, **shape}


def sizes_of(
    models: Models, name: str, settings_of: Callable[[str], Mapping[str, Any]]
) -> dict[str, Any]:
    """Return architecture and sizes of a model; arguments as in `trained_entry`.

    Raises:
        FileNotFoundError: they are not known: what is wrong with a `config.json` that
            lacks them is found when all files of a checkpoint are checked.
    """
    names = (ARCHITECTURE, *SHAPE)
    if "train" in models[name]:
        entry = trained_entry(models, name, settings_of)
        return {key: entry[key] for key in names}
    settings, shape = settings_of(name), {}
    for key in names:
        kind = str if key == ARCHITECTURE else int
        given = [settings.get(each) for each in IN_CONFIGURATION[key]]
        shape[key] = next((each for each in given if isinstance(each, kind)), None)
    if shape["d_mlp"] is None and shape["d_model"] is not None:
        shape["d_mlp"] = 4 * shape["d_model"]
    if unknown := [key for key in names if shape[key] is None]:
        raise FileNotFoundError(f"{name}: its config.json has no {', '.join(unknown)}")
    return shape


def check_relatives(
    models: Models, settings_of: Callable[[str], Mapping[str, Any]]
) -> None:
    """Check that every model can be made from those that its entry names.

    Args:
        models: the entries of all models.
        settings_of: as in `trained_entry`; of a model whose `config.json` is not there
            yet, sizes are checked when the training starts.

    Raises:
        ValueError: saying where and what was expected.
    """
    trained = [name for name, entry in models.items() if "train" in entry]
    for name in trained:
        _check_names(f"models.{name}.train", models[name], models)
    for name in trained:
        _check_order(models, name)
    for name in trained:
        _check_sizes(models, name, settings_of)


def _check_names(key: str, model: Mapping[str, Any], models: Models) -> None:
    init = model["train"].get("init")
    if init is not None and ("from" in init) == ("prune" in init):
        raise ValueError(f"{key}.init: expected either `from` or `prune`")
    for name in ("keep", "fade_steps"):
        if "from" in (init or {}) and name in init:
            raise ValueError(f"{key}.init.{name}: only with `prune`, not with `from`")
    if "distil" in model["train"] and teacher_of(model) is None:
        raise ValueError(
            f"{key}.distil.teacher: missing; expected a model under `models`, since "
            "there is no `init` whose model would be the teacher"
        )
    for part, other in _relatives(model).items():
        if other not in models:
            raise ValueError(
                f"{key}.{part}: no model under `models` is called {other!r}; "
                f"{nearest(other, models)}"
            )


def _check_order(models: Models, name: str) -> None:
    """Check that no model is made from itself, by way of others or directly."""
    chain = {name: None}

    def follow(current: str) -> None:
        """Follow what a model is made from, each way to its end."""
        for key, other in _relatives(models[current]).items():
            if other in chain:
                circle = [*chain][[*chain].index(other) :]
                raise ValueError(
                    f"models.{current}.train.{key}: {other!r} is trained from "
                    f"{current!r} itself, as {' <- '.join([*circle, other])}; expected "
                    "a model that does not depend on this one"
                )
            chain[other] = None
            follow(other)
            del chain[other]

    follow(name)


def _check_sizes(
    models: Models, name: str, settings_of: Callable[[str], Mapping[str, Any]]
) -> None:
    entry, key = models[name]["train"], f"models.{name}.train"
    if "init" not in entry:
        return
    try:
        shape = trained_entry(models, name, settings_of)
    except FileNotFoundError:
        return
    except ValueError as error:
        raise ValueError(f"{key}.init: {error}") from error
    for size in (ARCHITECTURE, *SHAPE):
        if entry.get(size, shape[size]) != shape[size]:
            raise ValueError(
                f"{key}.{size}: {entry[size]!r}, but by `init` it is {shape[size]!r}; "
                "expected the same, or none"
            )
