"""What a run prints in the terminal when it has ended."""

import polars as pl

from circuit_transfer.study.shown import table_pattern
from circuit_transfer.tables.preflight import preflight_text

PREFLIGHT = "preflight"


def end_run(workflow) -> None:
    """Print after a preflight which tasks are worth studying."""
    requested = {job.rule.name for job in workflow.dag.jobs}
    if PREFLIGHT in requested and workflow.is_main_process:
        print_preflight()


def print_preflight() -> None:
    """Print the table of models, and which tasks are worth studying in which."""
    models = pl.read_csv(table_pattern("models"))
    reasons = pl.read_csv(table_pattern("rejects-summary"))
    print(
        f"\n{preflight_text(models, reasons)}\n\n"
        f"How this is judged: {table_pattern('models', 'html')}. "
        f"All rejected rows: {table_pattern('rejects', 'html')}.\n"
    )
