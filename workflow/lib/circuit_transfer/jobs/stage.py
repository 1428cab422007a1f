"""Run a stage with what the job of its rule gives, bound by name."""

from collections.abc import Callable, Mapping
from inspect import Parameter, signature
from typing import Any

from circuit_transfer.jobs.job import job

# Whose paths are the files of an output without names.
UNNAMED = ("table", "figure")
RESUME = "resume"
Sources = Mapping[str, Mapping[str, Any]]


def run_stage(stage: Callable[..., None], snakemake: Any) -> None:
    """Run a stage as the job of its rule, with a log; for its arguments see `bind`.

    A parameter `resume`, by default without a folder, is the partial progress of this
    job: it is known by all inputs and params, and is saved in the folder of the param
    `state`.

    Args:
        stage: the function of a script.
        snakemake: what Snakemake gives the script.
    """
    with job(snakemake.log[0], _name(snakemake)):
        arguments = bind(stage, snakemake)
        if RESUME in signature(stage).parameters:
            # Made by the default, so that a stage that cannot resume needs no torch.
            default = signature(stage).parameters[RESUME].default
            params = dict(snakemake.params.items())
            made = default.of_job(params["state"], snakemake.input, params)
            arguments[RESUME] = made
        stage(**arguments)


def bind(stage: Callable[..., None], snakemake: Any) -> dict[str, Any]:
    """Return the arguments of a stage by name.

    A parameter `x_path` is the one file of the input or output `x`, `x_paths` are all
    of its files, in order. The files of an output without names are `table_paths` or
    `figure_paths`. Any other parameter is a wildcard, one of the params, or a key of a
    mapping among the params that is no parameter itself (as `settings` often is).
    A parameter with a default may be absent, as an `x_path` without files is.

    Raises:
        ValueError: a parameter has no source or several, or an `x_path` several files.
    """
    parameters = signature(stage).parameters
    files, values = _files(snakemake), _values(snakemake, parameters)
    arguments = {}
    for name, parameter in parameters.items():
        base, kind = _split(name)
        sources = files if kind else values
        try:
            found = _find(base, kind, sources)
            if not found and parameter.default is Parameter.empty:
                raise ValueError(f"is missing; there is {_listed(sources)}")
        except ValueError as error:
            where = f"{snakemake.rule}: the parameter {name!r} of its stage"
            raise ValueError(f"{where} {error}") from None
        if found:
            arguments[name] = found[0]
    return arguments


def _name(snakemake: Any) -> str:
    """Return the name of a job: its rule, and its wildcards as in paths."""
    wildcards = "/".join(str(value) for _, value in snakemake.wildcards.items())
    return f"{snakemake.rule} {wildcards}".strip()


def _find(name: str, kind: str, sources: Sources) -> list[Any]:
    """Return what has a name, if anything does, as a list of one."""
    places = [place for place, named in sources.items() if name in named]
    if len(places) > 1:
        raise ValueError(f"is ambiguous: {name!r} is in {', '.join(places)}")
    found = [sources[place][name] for place in places]
    if not kind:
        return found
    files = [[each] if isinstance(each, str) else list(each) for each in found]
    if kind == "paths":
        return files
    (files,) = files or [[]]
    if len(files) > 1:
        raise ValueError(f"is one file, and {name!r} are {len(files)}")
    return files


def _split(name: str) -> tuple[str, str]:
    """Return the name of the files that a parameter is of, and `path` or `paths`.

    For a parameter without files, its own name and nothing.
    """
    base, _, kind = name.rpartition("_")
    return (base, kind) if base and kind in ("path", "paths") else (name, "")


def _files(snakemake: Any) -> Sources:
    """Return the files of a job by kind and name."""
    output = dict(snakemake.output.items())
    output = output or dict.fromkeys(UNNAMED, list(snakemake.output))
    return {"input": dict(snakemake.input.items()), "output": output}


def _values(snakemake: Any, parameters: Mapping[str, Parameter]) -> Sources:
    """Return what is no file, by kind and name."""
    params = dict(snakemake.params.items())
    mappings = {
        f"params.{name}": each
        for name, each in params.items()
        if isinstance(each, Mapping) and name not in parameters
    }
    return {
        "wildcards": dict(snakemake.wildcards.items()),
        "params": params,
        **mappings,
    }


def _listed(sources: Sources) -> str:
    return "; ".join(
        f"{place}: {', '.join(map(str, named)) or 'nothing'}"
        for place, named in sources.items()
    )
