"""What a run prints in the terminal when it has ended.

Snakemake calls `onsuccess` only if there was a job to run, so that a run that finds
everything there would show nothing: see `end_without_jobs`.
"""

import logging
import sys
from contextlib import suppress
from pathlib import Path

from snakemake.common import NOTHING_TO_BE_DONE_MSG
from snakemake.logging import logger

from running.sources import is_own, script_of

SUMMARY = "write_summary"
# The end of a rule without a script; another workflow may import it by a longer name.
PREFLIGHT = "preflight"
# What a terminal that knows only ASCII is given.
PLAIN = str.maketrans({"±": "+-", "→": ">", "▲": "^"})


def end_run(workflow) -> None:
    """Print what a run has made of what was requested."""
    if not workflow.is_main_process:
        return
    dag = workflow.dag
    # Targets are other jobs after `--until`.
    for job in dag.bfs(dag._dependencies, *dag.targetjobs):
        if not _is_made(job, dag):
            continue
        script = script_of(job.rule)
        if script and script.stem == SUMMARY:
            show(_summary(job))
        elif job.rule.name.endswith(PREFLIGHT) and is_own(job.rule):
            show(_preflight(job))


def end_without_jobs(workflow) -> None:
    """Print it also at the end of a run that has nothing to do."""
    for handler in [each for each in logger.handlers if isinstance(each, _Nothing)]:
        logger.removeHandler(handler)
    logger.addHandler(_Nothing(workflow))


class _Nothing(logging.Handler):
    """Ends the run when Snakemake logs that there is nothing to do."""

    def __init__(self, workflow) -> None:
        super().__init__()
        self.workflow = workflow

    def emit(self, record: logging.LogRecord) -> None:
        if record.msg == NOTHING_TO_BE_DONE_MSG and not self.workflow.dryrun:
            end_run(self.workflow)


def _is_made(job, dag) -> bool:
    """Return whether the outputs of a job are up to date."""
    return dag.finished(job) or not dag.needrun(job)


def _summary(job) -> str:
    """Return the main tables of a study, and where its page is."""
    # Imported here: not every run of Snakemake should pay for reading frames.
    import polars as pl

    from circuit_transfer.artifacts.frames import read_frame
    from circuit_transfer.summary.names import Names
    from circuit_transfer.summary.terminal import results_text

    of_ablation = pl.col("ablation") == job.params.ablation
    statistics = read_frame(job.input.statistics).filter(of_ablation)
    edges = [read_frame(path).filter(of_ablation) for path in job.input.edges]
    names = Names(**job.params.names)
    students = zip(names.distilled, map(read_frame, job.input.students), strict=True)
    tables = {"edges": edges[0] if edges else None, "students": dict(students)}
    text = results_text(statistics, names, **tables)
    page = Path(job.output.summary).absolute()
    return f"\n{text}\n\nAll questions of the study on one page: {page}\n"


def _preflight(job) -> str:
    """Return the table of models, and which tasks are worth studying in which."""
    from circuit_transfer.artifacts.frames import read_table
    from circuit_transfer.summary.models import MODELS
    from circuit_transfer.summary.omissions import REJECTS
    from circuit_transfer.tables.preflight import preflight_text

    # With their types: a model or task may be named by a number.
    models = read_table(job.input.models, MODELS)
    reasons = read_table(job.input.reasons, REJECTS)
    return (
        f"\n{preflight_text(models, reasons)}\n\n"
        f"How this is judged: {job.input.judged}. "
        f"All rejected rows: {job.input.rejects}.\n"
    )


def show(text: str) -> None:
    """Print a text in any terminal: what it cannot show is replaced."""
    encoding = sys.stdout.encoding or "ascii"
    if "±→▲".encode(encoding, "replace").decode(encoding) != "±→▲":
        text = text.translate(PLAIN)
    # The run has succeeded, whether or not anybody reads on.
    with suppress(OSError):
        print(text.encode(encoding, "replace").decode(encoding), flush=True)
