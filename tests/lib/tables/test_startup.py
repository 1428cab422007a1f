"""Startup times of jobs, against hand computation."""

import polars as pl

from circuit_transfer.tables.startup import STARTUP_SCHEMA, startup_table


def frame(rows):
    return pl.DataFrame(rows, schema=STARTUP_SCHEMA, orient="row")


ROWS = [
    ("plot_maps", 1.0, 0.75, 0.5),
    ("fit_alignment", 6.0, 2.0, 5.0),
    ("fit_alignment", 10.0, 2.0, 7.0),
    ("write_prompts", 1.0, 0.25, 0.75),
]


def test_jobs_are_added_up_by_rule_and_once_more():
    assert startup_table(frame(ROWS)).frame.rows(named=True) == [
        row("fit_alignment", 2, 16.0, 4.0, 12.0, 25.0),
        row("plot_maps", 1, 1.0, 0.75, 0.5, 75.0),
        row("write_prompts", 1, 1.0, 0.25, 0.75, 25.0),
        # The share of the total differs from the mean of the shares.
        row("all", 4, 18.0, 5.0, 13.25, 100 * 5 / 18),
    ]


def row(rule, jobs, seconds, startup, cpu, percent):
    return {
        "rule": rule,
        "jobs": jobs,
        "seconds": seconds,
        "startup_seconds": startup,
        "cpu_seconds": cpu,
        "startup_percent": percent,
    }


def test_the_order_of_the_jobs_does_not_matter():
    backwards = startup_table(frame(ROWS[::-1]))
    assert backwards.frame.equals(startup_table(frame(ROWS)).frame)


def test_a_study_without_jobs_has_spent_nothing():
    [total] = startup_table(frame([])).frame.rows(named=True)
    assert (total["jobs"], total["seconds"]) == (0, 0.0)
