"""The stages that make tables: files in, files out."""

import polars as pl
import pytest
import synthetic_study as study
from summarise_controls import summarise_controls
from summarise_faithfulness import summarise_faithfulness
from summarise_imported import summarise_imported
from summarise_leaderboard import summarise_leaderboard
from summarise_models import summarise_models
from summarise_scaling import summarise_scaling

from circuit_transfer.artifacts import read_frame, write_frame, write_json

PAIR = {"source": study.SOURCE, "target": study.TARGET}
LISTS = {"tasks": study.TASKS, "methods": study.METHODS}


def write_frames(frames, folder):
    paths = [folder / f"{number}.parquet" for number in range(len(frames))]
    for frame, path in zip(frames, paths, strict=True):
        write_frame(frame, path)
    return paths


@pytest.fixture(scope="module")
def tables(tmp_path_factory):
    """A folder with the curves and areas of the synthetic study."""
    folder = tmp_path_factory.mktemp("tables")
    summarise_faithfulness(
        write_frames(study.gold_frames(), folder / "gold"),
        write_frames(study.random_frames(), folder / "random"),
        write_frames(study.aligned_frames(), folder / "aligned"),
        folder / "curves.parquet",
        folder / "cpr.parquet",
        siblings=study.SIBLINGS,
    )
    return folder


def formats(folder, name):
    return [folder / f"{name}.{suffix}" for suffix in ("csv", "tex", "html")]


def test_summarise_faithfulness_writes_curves_and_areas(tables):
    curves = read_frame(tables / "curves.parquet")
    cpr = read_frame(tables / "cpr.parquet")
    assert curves.height == cpr.height * len(study.PROPORTIONS)
    keys = ["kind", "source", "target", "task", "method", "ablation", "training_set"]
    assert cpr.columns == [*keys, "control", "seed", "regime", "cpr", "cmd"]
    assert set(cpr["regime"]) == {
        "gold",
        "random",
        "in-distribution",
        "near-distribution",
        "zero-shot",
        "transfer",
        "all",
        "control",
    }


def test_a_frame_without_a_column_is_named(tmp_path):
    broken = study.gold_frame("ioi", "nap").drop("faithfulness")
    paths = write_frames([broken], tmp_path)
    with pytest.raises(ValueError, match=r"0\.parquet: no column \['faithfulness'\]"):
        summarise_faithfulness(
            paths, [], [], tmp_path / "a", tmp_path / "b", siblings=[]
        )


def test_a_task_without_usable_pairs_is_an_empty_cell(tmp_path):
    gold = [
        frame.clear() if frame["task"][0] == "addition" else frame
        for frame in study.gold_frames()
    ]
    summarise_faithfulness(
        write_frames(gold, tmp_path),
        [],
        [],
        tmp_path / "curves.parquet",
        tmp_path / "cpr.parquet",
        siblings=[],
    )
    paths = formats(tmp_path, "board")
    summarise_leaderboard(
        tmp_path / "cpr.parquet", paths, **PAIR, **LISTS, ablation="counterfactual"
    )
    tex = paths[1].read_text()
    assert r"\textbf" not in tex and "gold & 0.80 & - & 0.82 & 0.81 (2/3)" in tex


def test_summarise_leaderboard(tables, tmp_path):
    paths = formats(tmp_path, "board")
    summarise_leaderboard(
        tables / "cpr.parquet", paths, **PAIR, **LISTS, ablation="counterfactual"
    )
    board = pl.read_csv(paths[0])
    gold = board.filter((pl.col("method") == "exact") & (pl.col("circuit") == "gold"))
    assert gold["addition"].item() == pytest.approx(study.cell("gold", "addition"))
    assert r"gold & \textbf{0.80} & \textbf{0.81}" in paths[1].read_text()
    assert "<title>CPR, small_model → big_model</title>" in paths[2].read_text()


def test_other_ablations_are_kept_apart(tmp_path):
    gold = study.gold_frames()
    other = [
        frame.with_columns(ablation=pl.lit("zero"), faithfulness=0.0) for frame in gold
    ]
    summarise_faithfulness(
        write_frames(gold + other, tmp_path),
        [],
        [],
        tmp_path / "curves.parquet",
        tmp_path / "cpr.parquet",
        siblings=[],
    )
    path = tmp_path / "board.csv"
    summarise_leaderboard(
        tmp_path / "cpr.parquet", [path], **PAIR, **LISTS, ablation="counterfactual"
    )
    gold = pl.read_csv(path).filter(pl.col("circuit") == "gold")
    assert gold["ioi"].to_list() == pytest.approx([study.cell("gold", "ioi")] * 2)


def test_summarise_controls(tables, tmp_path):
    paths = formats(tmp_path, "controls")
    summarise_controls(
        tables / "cpr.parquet",
        paths,
        **PAIR,
        **LISTS,
        controls=study.CONTROLS,
        ablation="counterfactual",
    )
    table = pl.read_csv(paths[0]).filter(pl.col("circuit") == "source-free")
    expected = [study.cell("source-free", "ioi")] * 2
    assert table["ioi"].to_list() == pytest.approx(expected)


def test_summarise_imported(tmp_path):
    theirs = study.curve(0.9, target=study.TARGET, task="ioi", method="mine")
    other = theirs.with_columns(ablation=pl.lit("zero"), faithfulness=0.0)
    summarise_faithfulness(
        write_frames(study.gold_frames(), tmp_path / "gold"),
        write_frames(study.random_frames(), tmp_path / "random"),
        [],
        tmp_path / "curves.parquet",
        tmp_path / "cpr.parquet",
        siblings=[],
        imported_paths=write_frames([theirs, other], tmp_path / "imported"),
    )
    paths = formats(tmp_path, "imported")
    summarise_imported(
        tmp_path / "cpr.parquet",
        paths,
        circuits={"mine": {"target": study.TARGET, "task": "ioi", "importances": "x"}},
        methods=study.METHODS,
        ablation="counterfactual",
    )
    table = pl.read_csv(paths[0])
    assert table.columns == ["name", "target", "task", "circuit", "cpr", "cmd"]
    rows = ["imported", "gold, nap", "gold, exact", "random-rankings"]
    assert table["circuit"].to_list() == rows
    levels = [0.9, 0.8, 0.8, 0.3]
    assert table["cpr"].to_list() == pytest.approx([0.999 * each for each in levels])
    assert (
        r"mine & big\_model & ioi & imported & 0.90 & 0.10 \\" in paths[1].read_text()
    )
    assert "<title>Imported circuits</title>" in paths[2].read_text()


def test_summarise_scaling(tables, tmp_path):
    paths = formats(tmp_path, "scaling")
    summarise_scaling(
        tables / "cpr.parquet",
        paths,
        task="ioi",
        transfers=[PAIR],
        methods=study.METHODS,
        ablation="counterfactual",
    )
    shares = pl.read_csv(paths[0])["recovery_percent"].to_list()
    assert shares == pytest.approx([87.5] * 2)


def test_summarise_models(tables, tmp_path):
    model = {"architecture": "llama", "layers": 1, "heads": 1, "nodes": ["a0.h0", "m0"]}
    write_json(model, tmp_path / "model.json")
    write_frame(pl.DataFrame({"split": ["train", "test", "test"]}), tmp_path / "pairs")
    rejects = {"row": [5], "reason": ["lengths differ: 4 and 5"], "clean": ["A b c"]}
    rejects |= {"file": ["own.csv"]}
    write_frame(pl.DataFrame(rejects), tmp_path / "rejects")
    models, rejected = formats(tmp_path, "models"), formats(tmp_path, "rejects")
    summary = formats(tmp_path, "rejects-summary")
    summarise_models(
        [tmp_path / "model.json"],
        [tmp_path / "pairs"],
        [tmp_path / "rejects"],
        tables / "curves.parquet",
        models,
        rejected,
        summary,
        models=[study.TARGET],
        cells=[[study.TARGET, "ioi"]],
        ablation="counterfactual",
    )
    assert pl.read_csv(models[0]).to_dicts() == [
        {
            "model": "big_model",
            "architecture": "llama",
            "layers": 1,
            "heads": 1,
            "nodes": 2,
            "task": "ioi",
            "accuracy": 0.98,
            "train": 1,
            "test": 2,
            "rejected": 1,
        }
    ]
    assert pl.read_csv(rejected[0])["row"].to_list() == [5]
    assert "lengths differ: 4 and 5" in rejected[2].read_text()
    assert pl.read_csv(summary[0]).rows() == [
        ("big_model", "ioi", "lengths differ: N and N", "own.csv, row 5", 1)
    ]
