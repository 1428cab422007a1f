"""The stages that compare students: files in, tables and figures out."""

import polars as pl
import pytest
import synthetic_students as study
from matplotlib.image import imread
from plot_distillation import plot_distillation
from plot_matched_heads import plot_matched_heads
from summarise_distillation import summarise_distillation
from summarise_matched_heads import summarise_matched_heads

from circuit_transfer.artifacts.frames import read_frame, write_frame
from circuit_transfer.artifacts.text import write_json
from circuit_transfer.distillation.frames import MATCHED_COLUMNS
from circuit_transfer.tables.distillation_statistics import DOCUMENTATION

MODELS = {"teacher": study.TEACHER, "student": study.STUDENT}
VARIANTS = ["ce-heads", "matched-cka"]
NAMES = {"tasks": study.TASKS, "variants": VARIANTS}
METHODS = ["impact", "random"]


def formats(folder, name, suffixes=("csv", "tex", "html")):
    return [folder / f"{name}.{suffix}" for suffix in suffixes]


@pytest.fixture(scope="module")
def measured(tmp_path_factory):
    """A file for each task and variant."""
    folder = tmp_path_factory.mktemp("measured")
    paths = []
    for task in study.TASKS:
        for variant in VARIANTS:
            paths.append(folder / f"{task}-{variant}.parquet")
            write_frame(study.measures([variant], [task]), paths[-1])
    return paths


@pytest.fixture(scope="module")
def summarised(measured, tmp_path_factory):
    folder = tmp_path_factory.mktemp("tables")
    summarise_distillation(
        measured,
        folder / "statistics.parquet",
        formats(folder, "levels"),
        formats(folder, "tests"),
        accuracy=study.ACCURACY,
        steps=study.STEPS,
        **MODELS,
        **NAMES,
    )
    return folder


def test_students_are_tabulated_with_their_tests(summarised):
    levels = pl.read_csv(summarised / "levels.csv")
    row = levels.row(
        by_predicate=(pl.col("task") == "mean") & (pl.col("variant") == "matched-cka"),
        named=True,
    )
    assert row["accuracy"] == pytest.approx(0.85)
    assert row["steps_to_accuracy"] == 80
    tests = pl.read_csv(summarised / "tests.csv")
    of_accuracy = tests.filter(pl.col("measure") == "accuracy")
    assert {*of_accuracy["variant"]} == {"matched-cka"}
    page = (summarised / "levels.html").read_text()
    assert "big_model distilled into small" in page
    assert "with all 200 steps" in page and "until 0.9 of" in page
    statistics = summarised / "statistics.parquet"
    assert pl.read_parquet_metadata(statistics).items() >= DOCUMENTATION.items()
    assert read_frame(statistics).height


def record(path, *, trained=True):
    probes = {"step": [0, 10], "accuracy": [0.5, 0.9], "cka": [0.1, None]}
    curves = {"curves": {"probes": {**probes, "task_loss": [1.0, 0.5]}}}
    write_json({"variant": "x"} | (curves if trained else {}), path)
    return path


@pytest.mark.parametrize("trained", [True, False])
def test_the_curves_of_all_trainings_are_drawn(summarised, tmp_path, trained):
    every = [(t, v, s) for t in study.TASKS for v in VARIANTS for s in (0, 1)]
    records = [
        record(tmp_path / f"{number}.json", trained=trained and each[0] == "boxes")
        for number, each in enumerate(every)
    ]
    plot_distillation(
        summarised / "statistics.parquet",
        records,
        [tmp_path / "figure.png"],
        seeds=[0, 1],
        accuracy=study.ACCURACY,
        **MODELS,
        **NAMES,
    )
    height = imread(tmp_path / "figure.png").shape[0]
    assert height > 500 if trained else height < 300


@pytest.fixture(scope="module")
def matched(tmp_path_factory):
    """A file for each task and method; nothing is matched on the second task."""
    folder = tmp_path_factory.mktemp("matched")
    paths = []
    for task in study.TASKS:
        for method in METHODS:
            row = (*MODELS.values(), task, "a0.h1", "a1.h0", 0.5, method, 1, None)
            rows = [row] if task == study.TASKS[0] else []
            paths.append(folder / f"{task}-{method}.parquet")
            write_frame(pl.DataFrame(rows, MATCHED_COLUMNS, orient="row"), paths[-1])
    return paths


def test_matched_heads_are_tabulated(matched, tmp_path):
    summarise_matched_heads(
        matched,
        formats(tmp_path, "heads"),
        formats(tmp_path, "agreement"),
        tasks=study.TASKS,
        methods=METHODS,
        **MODELS,
    )
    (row,) = pl.read_csv(tmp_path / "heads.csv").rows()
    assert row == ("boxes", "a0.h1", "a1.h0", "a1.h0", 0.5, 1, 1)
    agreement = pl.read_csv(tmp_path / "agreement.csv")
    assert agreement["random"].to_list() == [1, 1, 1, 1]
    assert "Heads of small matched" in (tmp_path / "heads.html").read_text()


def test_matched_heads_are_drawn(matched, tmp_path):
    for model in ("teacher", "student"):
        write_json({"layers": 2, "heads": 2}, tmp_path / f"{model}.json")
    plot_matched_heads(
        matched,
        tmp_path / "teacher.json",
        tmp_path / "student.json",
        [tmp_path / "figure.png"],
        tasks=study.TASKS,
        methods=METHODS,
        **MODELS,
    )
    assert imread(tmp_path / "figure.png").std() > 0.01


def test_a_description_without_heads_is_named(matched, tmp_path):
    write_json({"layers": 2}, tmp_path / "model.json")
    with pytest.raises(ValueError, match=r"model\.json: no \['heads'\]"):
        plot_matched_heads(
            matched,
            tmp_path / "model.json",
            tmp_path / "model.json",
            [tmp_path / "figure.png"],
            tasks=study.TASKS,
            methods=METHODS,
            **MODELS,
        )
