"""What a run stops at before its first job: what it is to download or read.

Snakemake would show it when a job fails, and jobs of other tasks have long begun.
"""

from collections.abc import Iterable, Mapping

from snakemake.exceptions import WorkflowError

from circuit_transfer.importers import Imported, import_task
from circuit_transfer.models.gguf import check_gguf
from circuit_transfer.prompts.splits import missing_split
from circuit_transfer.study.origins import Origins
from running.sources import script_of


def jobs_of_study(jobs: Iterable, config: Mapping) -> list:
    """Return the jobs that run a script of this workflow with a configuration.

    Another workflow may import this one, several times even, each with its own.
    """
    return [
        job
        for job in jobs
        if script_of(job.rule) and job.rule.module_globals["config"] is config
    ]


def check_hub(jobs: Iterable, config: Mapping) -> None:
    """Check that the hub has what jobs are to download from it.

    Raises:
        WorkflowError: it has not.
    """
    models = _remote("download_model", "model", jobs, config["models"])
    tasks = _remote("write_prompts", "task", jobs, config["tasks"])
    if models or tasks:
        # Imported here: not every run of Snakemake should pay for the hub's client.
        from circuit_transfer.models.hub import check_entries

        try:
            check_entries(models, tasks)
        except ValueError as error:
            raise WorkflowError(str(error)) from None


def _stage(job) -> str:
    return script_of(job.rule).stem


def _remote(
    rule: str, wildcard: str, jobs: Iterable, entries: Mapping
) -> dict[str, Mapping]:
    """Return the entries on the hub that jobs of a rule are about."""
    names = [job.wildcards[wildcard] for job in jobs if _stage(job) == rule]
    return {name: entries[name] for name in names if "hub" in entries[name]}


def check_gguf_files(jobs: Iterable, origins: Origins) -> None:
    """Check that the GGUF files that jobs are to dequantise can be.

    Raises:
        WorkflowError: one of them cannot.
    """
    problems = []
    models = [job.wildcards.model for job in jobs if _stage(job) == "convert_gguf"]
    for model in models:
        try:
            check_gguf(origins.gguf_file(model))
        except (ValueError, OSError) as error:
            problems.append(f"models.{model}.gguf: {error}")
    if problems:
        raise WorkflowError("\n".join(problems))


def check_prompts(jobs: Iterable, config: Mapping, origins: Origins) -> None:
    """Check the files of tasks, by reading them once more.

    200,000 rows take 5 seconds.

    Raises:
        WorkflowError: one of them cannot be read; or circuits are to be measured, and
            every task of the study lacks the pairs of a split.
    """
    problems, incomplete = [], {}
    tasks = [job.wildcards.task for job in jobs if _stage(job) == "write_prompts"]
    for task in dict.fromkeys(tasks):
        entry, path = config["tasks"][task], origins.pairs_path(task)
        where = f"tasks.{task}.{'file' if 'file' in entry else 'path'}"
        try:
            if path and (reason := _incomplete(import_task(entry, path))):
                incomplete[task] = f"{where}: {reason}"
        except (ValueError, OSError) as error:
            problems.append(f"{where}: {error}")
    if problems:
        raise WorkflowError("\n".join(problems))
    measured = any(_stage(job) == "summarise_faithfulness" for job in jobs)
    imported = config["evaluation"]["circuits"]  # need test pairs only
    studied = config["study"]["tasks"]
    if measured and not imported and {*studied} <= {*incomplete}:
        start = "no task has both train pairs, to find circuits, and test pairs:"
        raise WorkflowError("\n".join([start, *map(incomplete.get, studied)]))


def _incomplete(imported: Imported) -> str | None:
    """Return why a task has no pairs of one split or both, or None if it has."""
    if len(imported.prompts):
        return missing_split(imported.prompts)
    reasons = imported.rejects["reason"]
    return f"all {len(reasons)} rows are rejected, the first one because: {reasons[0]}"
