"""What jobs ask a cluster for, as functions that Snakemake calls for every job."""

from collections.abc import Callable, Mapping
from functools import cache
from pathlib import Path

from circuit_transfer.artifacts.text import read_json
from circuit_transfer.models.gguf_files import read_header
from circuit_transfer.study.origins import Origins
from circuit_transfer.study.resources import (
    requested,
    requested_by_conversion,
    requested_by_training,
)


def model_resources(config: Mapping, stage: str, *models: str) -> dict[str, Callable]:
    """Return the resources of a rule that runs models, see `resources.requested`.

    Args:
        config: a valid configuration, defaults filled in.
        stage: the rule.
        models: the inputs that describe its models, the target last.
    """

    @cache
    def of_files(files: tuple, attempt: int) -> dict:
        # By the time of a file it is noticed that it was written again.
        descriptions = [read_json(path) for path, _ in files]
        return requested(stage, descriptions, config, attempt)

    def asked(resource: str) -> Callable:
        def of_job(w, input, attempt):
            # A description that is not there yet raises FileNotFoundError, and
            # Snakemake asks again when the job is about to start.
            files = ((input[name], Path(input[name]).stat()) for name in models)
            times = tuple((path, stat.st_mtime_ns) for path, stat in files)
            return of_files(times, attempt)[resource]

        return of_job

    return {name: asked(name) for name in ("gpu", "nodes", "mem_mb", "runtime")}


def training_resources(origins: Origins) -> dict[str, Callable]:
    """Return the resources of training models, see `resources.requested_by_training`.

    Args:
        origins: of the models of a valid configuration, defaults filled in.
    """

    def asked(resource: str) -> Callable:
        def of_job(w, attempt):
            # The sizes of a model on the hub are not known before it is there:
            # Snakemake asks again when the job is about to start.
            training = origins.training(w.model)
            return requested_by_training(**training, attempt=attempt)[resource]

        return of_job

    return {name: asked(name) for name in ("mem_mb", "runtime")}


def conversion_resources(origins: Origins) -> dict[str, Callable]:
    """Return the resources of dequantising, see `resources.requested_by_conversion`."""

    @cache
    def values(path: str) -> int:
        return read_header(path).values

    def asked(resource: str) -> Callable:
        def of_job(w, input, attempt):
            return requested_by_conversion(values(input.file), attempt)[resource]

        return of_job

    return {name: asked(name) for name in ("mem_mb", "runtime")}
