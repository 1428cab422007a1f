"""Plan by the content of files, not their modification time, and log how long it takes.

A `git checkout`, an unpacked archive or a copy changes all modification times. Jobs
record hashes of their code and data, see `sources`; this module adjusts Snakemake's own
triggers accordingly, however it is called.
"""

import time
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import contextmanager
from threading import Event, Thread

import snakemake.api  # noqa: F401  first, for `dag` cannot be imported by itself
from snakemake.dag import DAG
from snakemake.jobs import Job
from snakemake.logging import logger
from snakemake.persistence import PersistenceBase

from running.sources import script_of

# Largest size in bytes of files that are compared by content if newer than a result.
COMPARED_BY_CONTENT = 50_000_000
# Between two lines while jobs are planned: a study of 40 tasks takes half a minute.
SECONDS = 10.0

# The steps of planning, of which Snakemake says nothing.
_STEPS = {name: getattr(DAG, name) for name in ("init", "postprocess")}

_outputs_older = Job.outputs_older_than_script_or_notebook
_code_changed = PersistenceBase._code_changed


def plan_by_content(workflow) -> None:
    """Adjust the settings for planning a run, as soon as Snakemake has created them.

    Snakemake's code trigger, which treats every script newer than a result as changed,
    is switched off for the rules of this workflow; a workflow that imports them may
    have other rules, which need it. The settings are created after the rules are read,
    when no code of the workflow is called any more, hence the property.
    """

    def adjust(workflow, settings) -> None:
        if settings is not None:
            given = settings.max_checksum_file_size
            settings.max_checksum_file_size = max(given, COMPARED_BY_CONTENT)
        vars(workflow)["dag_settings"] = settings

    def get(workflow):
        return vars(workflow).get("dag_settings")

    type(workflow).dag_settings = property(get, adjust)
    Job.outputs_older_than_script_or_notebook = _outputs_older_than_other_script
    PersistenceBase._code_changed = _code_changed_elsewhere


async def _outputs_older_than_other_script(job: Job) -> AsyncIterator:
    if not script_of(job.rule):
        async for file in _outputs_older(job):
            yield file


def _code_changed_elsewhere(persistence: PersistenceBase, job: Job, file=None) -> bool:
    return not script_of(job.rule) and _code_changed(persistence, job, file)


def log_while_planning(seconds: float = SECONDS) -> None:
    """Let Snakemake log every few seconds that it is still planning."""
    for name, step in _STEPS.items():
        setattr(DAG, name, _logged(step, seconds))


def _logged(step: Callable, seconds: float) -> Callable:
    async def planned(*args, **settings):
        with _lines_every(seconds):
            return await step(*args, **settings)

    return planned


@contextmanager
def _lines_every(seconds: float) -> Iterator[None]:
    start, ended = time.monotonic(), Event()

    def log_lines() -> None:
        while not ended.wait(seconds):
            logger.info(f"Still planning, {time.monotonic() - start:.0f} s so far.")

    thread = Thread(target=log_lines, daemon=True)
    thread.start()
    try:
        yield
    finally:
        ended.set()
        thread.join()
