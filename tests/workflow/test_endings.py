"""What a run prints at its end, in any terminal."""

import io
import sys
from types import SimpleNamespace

import polars as pl
import synthetic_students as study
from running.endings import _preflight, _summary, end_run, show

from circuit_transfer.artifacts.frames import write_frame
from circuit_transfer.circuits.baseline import baseline_measures
from circuit_transfer.tables.distillation_statistics import distillation_statistics
from circuit_transfer.tables.layouts import rejects_summary_table
from circuit_transfer.tables.models import models_table
from circuit_transfer.tables.typesetting import write_table


def shown(monkeypatch, encoding):
    raw = io.BytesIO()
    monkeypatch.setattr(sys, "stdout", io.TextIOWrapper(raw, encoding))
    show("a → b: 0.5 ± 0.1, ü")
    return raw.getvalue().decode(encoding)


def test_a_terminal_is_given_only_what_it_can_show(monkeypatch):
    assert shown(monkeypatch, "utf-8") == "a → b: 0.5 ± 0.1, ü\n"
    assert shown(monkeypatch, "ascii") == "a > b: 0.5 +- 0.1, ?\n"
    assert shown(monkeypatch, "latin-1") == "a > b: 0.5 +- 0.1, ü\n"


def test_a_closed_terminal_does_not_fail_the_run(monkeypatch):
    class Closed(io.StringIO):
        def write(self, text):
            raise BrokenPipeError

    monkeypatch.setattr(sys, "stdout", Closed())
    show("text")


def test_a_preflight_may_be_of_a_model_and_a_task_named_by_numbers(tmp_path):
    shape = {"architecture": "llama", "layers": 1, "heads": 2, "nodes": ["m0"]}
    counts = dict.fromkeys(("train", "test", "distinct_train", "distinct_test"), 9)
    measured = baseline_measures([True] * 9, [2.0] * 9, [-2.0] * 9, range(9))
    cell = ("1", "2024")
    table = models_table(
        {"1": shape}, {cell: measured}, {cell: counts | {"rejected": 0}}
    )
    files = {"models": tmp_path / "models.csv", "reasons": tmp_path / "reasons.csv"}
    write_table(table, files["models"], title="models")
    write_table(rejects_summary_table({}), files["reasons"], title="reasons")
    job = SimpleNamespace(input=SimpleNamespace(**files, judged="", rejects=""))
    assert "Worth studying in 1: 2024." in _preflight(job)


def test_a_run_that_distils_ends_with_its_students(tmp_path):
    statistics = tmp_path / "statistics.parquet"
    write_frame(pl.DataFrame(schema={"ablation": pl.String}), statistics)
    students = tmp_path / "students.parquet"
    write_frame(distillation_statistics(study.measures(), steps=study.STEPS), students)
    nothing = ("methods", "edge_methods", "targets", "pairs", "maps", "seeds")
    names = dict.fromkeys(nothing, ()) | {"tasks": study.TASKS}
    names |= {"distilled": [("big", "small")], "variants": ["ce-heads", "logits"]}
    names |= {"accuracy": study.ACCURACY, "steps": study.STEPS}
    files = {"statistics": statistics, "edges": [], "students": [students]}
    job = SimpleNamespace(
        input=SimpleNamespace(**files),
        params=SimpleNamespace(ablation="counterfactual", names=names),
        output=SimpleNamespace(summary=tmp_path / "summary.html"),
    )
    text = _summary(job)
    assert "Students, big distilled into small" in text and "\nlogits " in text
    assert "fine-tune" not in text


def test_a_job_of_a_run_prints_nothing():
    end_run(SimpleNamespace(is_main_process=False))
