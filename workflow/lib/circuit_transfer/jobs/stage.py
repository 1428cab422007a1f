"""Run a stage with what the job of its rule gives, bound by name."""

from collections.abc import Callable, Mapping, Sequence
from inspect import Parameter, signature
from typing import Any

from circuit_transfer.jobs.job import job

# Whose paths are the files of an output without names.
UNNAMED = ("table", "figure")
RESUME = "resume"


def run_stage(stage: Callable[..., None], snakemake: Any) -> None:
    """Run a stage as the job of its rule, with a log; see `bind`.

    Args:
        stage: the function of a script.
        snakemake: what Snakemake gives the script.
    """
    with job(snakemake.log[0]):
        stage(**bind(stage, snakemake))


def bind(stage: Callable[..., None], snakemake: Any) -> dict[str, Any]:
    """Return the arguments of a stage by name.

    A parameter `x_path` is the one file of the input or output `x`, `x_paths` are all
    of its files, in order. The files of an output without names are `table_paths` or
    `figure_paths`. Any other parameter is a wildcard, one of the params, or a key of a
    mapping among the params that is no parameter itself (as `settings` often is).
    `resume` is the partial progress of this job: it is made from all inputs and params.
    A parameter with a default may be absent, as an `x_path` without files is.

    Raises:
        ValueError: a parameter has no source or several, or an `x_path` several files.
    """
    parameters = signature(stage).parameters
    files, values = _files(snakemake), _values(snakemake, parameters)
    arguments = {}
    for name, parameter in parameters.items():
        try:
            if name == RESUME:
                found = [_resume(parameter.default, snakemake)]
            elif name.endswith("_paths"):
                found = [_as_list(each) for each in _lookup(name[:-6], files)]
            elif name.endswith("_path"):
                found = _one_file(_lookup(name[:-5], files))
            else:
                found = _lookup(name, values)
            if not found and parameter.default is Parameter.empty:
                raise ValueError(f"is missing; there is {_listed(name, files, values)}")
        except ValueError as error:
            where = f"{snakemake.rule}: the parameter {name!r} of its stage"
            raise ValueError(f"{where} {error}") from None
        if found:
            arguments[name] = found[0]
    return arguments


def _files(snakemake: Any) -> dict[str, Mapping[str, Any]]:
    """Return the files of a job by kind and name."""
    named = {"input": dict(snakemake.input.items())}
    named["output"] = dict(snakemake.output.items())
    if not named["output"]:
        named["output"] = dict.fromkeys(UNNAMED, list(snakemake.output))
    return named


def _values(
    snakemake: Any, parameters: Mapping[str, Parameter]
) -> dict[str, Mapping[str, Any]]:
    """Return what is no file by kind and name."""
    params = dict(snakemake.params.items())
    mappings = {
        f"params.{name}": each
        for name, each in params.items()
        if isinstance(each, Mapping) and name not in parameters
    }
    return {"wildcards": dict(snakemake.wildcards.items()), "params": params} | mappings


def _lookup(name: str, sources: Mapping[str, Mapping[str, Any]]) -> list[Any]:
    """Return what has a name, if anything does, as a list of one."""
    places = [place for place, values in sources.items() if name in values]
    if len(places) > 1:
        raise ValueError(f"is ambiguous: {name!r} is in {' and in '.join(places)}")
    return [sources[place][name] for place in places]


def _one_file(found: Sequence[Any]) -> list[str]:
    files = [file for each in found for file in _as_list(each)]
    if len(files) > 1:
        raise ValueError(f"is one file; there are {len(files)}: {', '.join(files)}")
    return files


def _as_list(files: str | Sequence[str]) -> list[str]:
    return [files] if isinstance(files, str) else list(files)


def _resume(default: Any, snakemake: Any) -> Any:
    # Made by the default, so that a stage that cannot resume needs no torch.
    params = dict(snakemake.params.items())
    if "state" not in params:
        raise ValueError("needs `state`, a folder, among the params")
    return default.of_job(params["state"], snakemake.input, params)


def _listed(
    name: str,
    files: Mapping[str, Mapping[str, Any]],
    values: Mapping[str, Mapping[str, Any]],
) -> str:
    sources = files if name.endswith(("_path", "_paths")) else values
    return "; ".join(
        f"{place}: {', '.join(names) or 'nothing'}" for place, names in sources.items()
    )
