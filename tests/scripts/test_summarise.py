"""The stages that make tables: files in, files out."""

import polars as pl
import pytest
import synthetic_study as study
from summarise_controls import summarise_controls
from summarise_faithfulness import summarise_faithfulness
from summarise_imported import summarise_imported
from summarise_leaderboard import summarise_leaderboard
from summarise_maps import summarise_maps
from summarise_models import summarise_models
from summarise_scaling import summarise_scaling
from summarise_statistics import summarise_statistics
from summarise_tests import summarise_tests

from circuit_transfer.artifacts.frames import read_frame, write_frame
from circuit_transfer.artifacts.text import write_json
from circuit_transfer.circuits.baseline import baseline_measures
from circuit_transfer.tables.curves import MEASURES

MODELS = {"source": study.SOURCE, "target": study.TARGET}
MAPS = dict.fromkeys(study.METHODS, study.MAPS)
CONTROLS = dict.fromkeys(study.METHODS, study.CONTROLS)
LISTS = {"tasks": study.TASKS, "maps": MAPS}
ABLATION = {"ablation": "counterfactual"}


def write_frames(frames, folder):
    paths = [folder / f"{number}.parquet" for number in range(len(frames))]
    for frame, path in zip(frames, paths, strict=True):
        write_frame(frame, path)
    return paths


def summarised(folder, **frames):
    """Make a folder with areas, curves and statistics of some frames by kind."""
    paths = {
        kind: write_frames(frames.get(kind, []), folder / kind)
        for kind in ("gold", "random", "aligned", "imported")
    }
    summarise_faithfulness(
        *paths.values(),
        folder / "curves.parquet",
        folder / "cpr.parquet",
        **study.NAMES,
    )
    summarise_statistics(
        folder / "cpr.parquet",
        *paths.values(),
        folder / "statistics.parquet",
        folder / "curve-intervals.parquet",
        formats(folder, "statistics-columns"),
        **study.NAMES,
    )
    return folder


@pytest.fixture(scope="module")
def tables(tmp_path_factory):
    """A folder with the curves, areas and statistics of the synthetic study."""
    return summarised(
        tmp_path_factory.mktemp("tables"),
        gold=study.gold_frames(),
        random=study.random_frames(),
        aligned=study.aligned_frames(),
    )


def formats(folder, name):
    return [folder / f"{name}.{suffix}" for suffix in ("csv", "tex", "html")]


def test_summarise_faithfulness_writes_curves_and_areas(tables):
    curves = read_frame(tables / "curves.parquet")
    cpr = read_frame(tables / "cpr.parquet")
    assert curves.height == cpr.height * len(study.PROPORTIONS)
    keys = ["kind", "source", "target", "task", "method", "ablation", "training_set"]
    keys += ["map", "control", "seed", "regime"]
    assert cpr.columns == [*keys, *MEASURES, "collapsed"]
    assert {"accuracy_area", "right_above_wrong_area", "max_faithfulness"} < {*MEASURES}
    assert set(cpr["regime"]) == {
        "gold",
        "random",
        "in-distribution",
        "near-distribution",
        "zero-shot",
        "zero-shot-family",
        "transfer",
        "all",
        "control",
    }


def test_a_frame_without_a_column_is_named(tmp_path):
    broken = study.gold_frame("ioi", "nap").drop("faithfulness")
    paths = write_frames([broken], tmp_path)
    with pytest.raises(ValueError, match=r"0\.parquet: no column \['faithfulness'\]"):
        summarise_faithfulness(
            paths, [], [], [], tmp_path / "a", tmp_path / "b", **study.NAMES
        )


def test_a_study_without_any_circuit_is_an_error(tmp_path):
    gold = [frame.clear() for frame in study.gold_frames()]
    aligned = [frame.clear() for frame in study.aligned_frames()]
    with pytest.raises(ValueError, match="no circuit was measured: no task of this"):
        summarised(tmp_path, gold=gold, random=study.random_frames(), aligned=aligned)
    # Nothing that would pass for a result is left behind.
    assert not (tmp_path / "cpr.parquet").exists()


def test_a_task_without_usable_pairs_is_an_empty_cell(tmp_path):
    gold = [
        frame.clear() if frame["task"][0] == "addition" else frame
        for frame in study.gold_frames()
    ]
    summarised(tmp_path, gold=gold)
    paths = formats(tmp_path, "board")
    summarise_leaderboard(
        statistics_path=tmp_path / "statistics.parquet",
        table_paths=paths,
        **MODELS,
        **LISTS,
        **ABLATION,
    )
    line, *_ = [row for row in paths[1].read_text().splitlines() if " gold &" in row]
    cells = [cell.partition(" $\\pm$")[0].strip() for cell in line.split("&")]
    assert cells[3:7] == ["0.80", "-", "0.82", "0.81"]
    assert "(2/3)" in line and r"\textbf" not in line


def test_summarise_statistics(tables):
    statistics = read_frame(tables / "statistics.parquet")
    assert set(statistics["row"]) == {"level", "difference"}
    metadata = pl.read_parquet_metadata(tables / "statistics.parquet")
    assert "bootstrap" in metadata["cpr_high"]
    columns = pl.read_csv(tables / "statistics-columns.csv")
    assert columns["column"].to_list() == statistics.columns
    assert [metadata[name] for name in columns["column"]] == columns[
        "meaning"
    ].to_list()
    expected, curves = study.statistics()
    levels = {"row": "level", "task": "ioi", "circuit": "gold"}
    found = statistics.filter(**levels)["cpr"].to_list()
    assert found == expected.filter(**levels)["cpr"].to_list()
    intervals = read_frame(tables / "curve-intervals.parquet")
    assert intervals.columns == curves.columns and len(intervals) == len(curves)


def test_statistics_need_a_number_per_example(tables, tmp_path):
    paths = write_frames([study.gold_frame("ioi", "nap")], tmp_path)
    write_frame(read_frame(paths[0]).drop("logit_diffs"), paths[0])
    with pytest.raises(ValueError, match=r"0\.parquet: no column \['logit_diffs'\]"):
        summarise_statistics(
            tables / "cpr.parquet",
            paths,
            *([], [], []),
            tmp_path / "a",
            tmp_path / "b",
            [],
            **study.NAMES,
        )


def test_summarise_leaderboard(tables, tmp_path):
    paths = formats(tmp_path, "board")
    summarise_leaderboard(
        statistics_path=tables / "statistics.parquet",
        table_paths=paths,
        **MODELS,
        **LISTS,
        **ABLATION,
    )
    board = pl.read_csv(paths[0])
    gold = board.filter(method="exact", measure="CPR", circuit="gold")
    assert gold["addition"].item() == pytest.approx(study.cell("gold", "addition"))
    assert r"gold & \textbf{0.80 $\pm$" in paths[1].read_text()
    assert "<title>Leaderboard, small_model → big_model</title>" in paths[2].read_text()


def test_other_ablations_are_kept_apart(tmp_path):
    gold = study.gold_frames()
    worthless = pl.col("empty_logit_diffs").alias("logit_diffs")
    zero = [pl.lit("zero").alias("ablation"), pl.lit(0.0).alias("faithfulness")]
    other = [frame.with_columns(worthless, *zero) for frame in gold]
    summarised(tmp_path, gold=gold + other)
    path = tmp_path / "board.csv"
    summarise_leaderboard(
        statistics_path=tmp_path / "statistics.parquet",
        table_paths=[path],
        **MODELS,
        **LISTS,
        **ABLATION,
    )
    gold = pl.read_csv(path).filter(circuit="gold", measure="CPR")
    assert gold["ioi"].to_list() == pytest.approx([study.cell("gold", "ioi")] * 2)
    assert (gold["ioi_half_width"] > 0).all()


def test_summarise_controls(tables, tmp_path):
    paths = formats(tmp_path, "controls")
    summarise_controls(
        statistics_path=tables / "statistics.parquet",
        table_paths=paths,
        **MODELS,
        **LISTS,
        controls=CONTROLS,
        **ABLATION,
    )
    table = pl.read_csv(paths[0]).filter(circuit="source-free", measure="CPR")
    of_method = [study.cell("source-free", "ioi", left) for left in ("task", "family")]
    assert table["ioi"].to_list() == pytest.approx(of_method * 2)
    assert "<dt>source-free</dt>" in paths[2].read_text()


def test_summarise_maps(tables, tmp_path):
    paths = formats(tmp_path, "maps")
    names = {"maps": MAPS, "controls": CONTROLS}
    summarise_maps(
        statistics_path=tables / "statistics.parquet",
        table_paths=paths,
        **MODELS,
        **names,
        **ABLATION,
    )
    table = pl.read_csv(paths[0]).filter(map="free", measure="CPR")
    means = [0.999 * 0.61, 0.999 * (0.6 + 0.56 + 0.57) / 3]
    assert table["real"].to_list() == pytest.approx(means * 2)
    assert "Circuits by map, small_model → big_model" in paths[2].read_text()


def test_summarise_tests(tables, tmp_path):
    paths = formats(tmp_path, "tests")
    names = {"maps": MAPS}
    summarise_tests(
        statistics_path=tables / "statistics.parquet",
        table_paths=paths,
        **MODELS,
        **names,
        **ABLATION,
    )
    table = pl.read_csv(paths[0]).filter(against="source-free", measure="CPR")
    assert table["mean_difference"].to_list() == pytest.approx([0.999 * 0.05] * 4)
    assert set(table["better"]) == {"yes"}


def test_summarise_an_imported_circuit_of_edges(tmp_path):
    whole = study.curve(0.9, target=study.TARGET, task="ioi", method="mine")
    size = whole.tail(1).with_columns(
        proportion=0.125, own_size=True, ranking=pl.lit(None, pl.String)
    )
    summarised(tmp_path, gold=study.gold_frames(), random=[], imported=[size])
    assert read_frame(tmp_path / "cpr.parquet").filter(method="mine").is_empty()
    paths = formats(tmp_path, "imported")
    summarise_imported(
        statistics_path=tmp_path / "statistics.parquet",
        curves_path=tmp_path / "curves.parquet",
        table_paths=paths,
        circuits={"mine": {"target": study.TARGET, "task": "ioi"}},
        methods=study.METHODS,
        **ABLATION,
    )
    row = pl.read_csv(paths[0]).row(0, named=True)
    assert (row["circuit"], row["of"], row["cpr"]) == ("imported", "edges", None)
    assert (row["share"], row["faithfulness"]) == (0.125, pytest.approx(0.9))


def test_summarise_imported(tmp_path):
    theirs = study.curve(0.9, target=study.TARGET, task="ioi", method="mine")
    other = theirs.with_columns(ablation=pl.lit("zero"), faithfulness=0.0)
    summarised(
        tmp_path,
        gold=study.gold_frames(),
        random=study.random_frames(),
        imported=[theirs, other],
    )
    paths = formats(tmp_path, "imported")
    summarise_imported(
        statistics_path=tmp_path / "statistics.parquet",
        curves_path=tmp_path / "curves.parquet",
        table_paths=paths,
        circuits={"mine": {"target": study.TARGET, "task": "ioi", "importances": "x"}},
        methods=study.METHODS,
        **ABLATION,
    )
    table = pl.read_csv(paths[0])
    rows = ["imported", "gold, nap", "gold, exact", "random-rankings"]
    assert table["circuit"].to_list() == rows
    levels = [0.9, 0.8, 0.8, 0.3]
    assert table["cpr"].to_list() == pytest.approx([0.999 * each for each in levels])
    assert (
        r"mine & big\_model & ioi & imported & nodes & 0.90 $\pm$"
        in paths[1].read_text()
    )
    assert "<title>Imported circuits</title>" in paths[2].read_text()


def test_summarise_scaling(tables, tmp_path):
    paths = formats(tmp_path, "scaling")
    summarise_scaling(
        statistics_path=tables / "statistics.parquet",
        table_paths=paths,
        task="ioi",
        transfers=[MODELS],
        maps=MAPS,
        **ABLATION,
    )
    shares = pl.read_csv(paths[0])["recovery_percent"].to_list()
    # Of the CPR of each of two methods, not of the other measures.
    assert shares == pytest.approx([87.5, None, None] * 2)


def test_summarise_models(tmp_path):
    model = {"architecture": "llama", "layers": 1, "heads": 1, "nodes": ["a0.h0", "m0"]}
    write_json(model, tmp_path / "model.json")
    # The last one again, with another counterfactual, and once more as it is.
    pairs = {"split": ["train", "test", "test", "test"]}
    pairs |= {"clean_ids": [[1], [2], [2], [2]], "corrupted_ids": [[3], [4], [5], [5]]}
    write_frame(pl.DataFrame(pairs), tmp_path / "pairs")
    rejects = {"row": [5], "reason": ["lengths differ: 4 and 5"], "clean": ["A b c"]}
    rejects |= {"file": ["own.csv"]}
    write_frame(pl.DataFrame(rejects), tmp_path / "rejects")
    models, rejected = formats(tmp_path, "models"), formats(tmp_path, "rejects")
    summary = formats(tmp_path, "rejects-summary")
    measured = baseline_measures([True] * 3, [2.0, 1.0, 3.0], [0.0] * 3, [0, 1, 1])
    write_json({"model": "x", "task": "ioi"} | measured, tmp_path / "baseline.json")
    summarise_models(
        [tmp_path / "model.json"],
        [tmp_path / "baseline.json"],
        [tmp_path / "pairs"],
        [tmp_path / "rejects"],
        models,
        rejected,
        summary,
        models=[study.TARGET],
        cells=[[study.TARGET, "ioi"]],
    )
    (row,) = pl.read_csv(models[0]).to_dicts()
    ends = ("_half_width", "_low", "_high")
    intervals = {name: row.pop(name) for name in [*row] if name.endswith(ends)}
    assert len(intervals) == 6 and None not in intervals.values()
    # Wilson's, of two distinct pairs: z2 = 3.84, and 1 / (1 + z2 / 2).
    assert intervals["accuracy_low"] == pytest.approx(0.342, abs=1e-3)
    assert intervals["accuracy_high"] == 1
    assert row == {
        "model": "big_model",
        "architecture": "llama",
        "layers": 1,
        "heads": 1,
        "nodes": 2,
        "task": "ioi",
        "pairs": 3,
        "distinct": 2,
        "accuracy": 1.0,
        "right_above_wrong": 1.0,
        "logit_diff": 2.0,
        "corrupted_logit_diff": 0.0,
        "verdict": "doubtful",
        "objection": "too few pairs to be better than chance",
        "train": 1,
        "distinct_train": 1,
        "test": 3,
        "distinct_test": 2,
        "rejected": 1,
    }
    assert pl.read_csv(rejected[0])["row"].to_list() == [5]
    assert "lengths differ: 4 and 5" in rejected[2].read_text()
    assert pl.read_csv(summary[0]).rows() == [
        (
            *("big_model", "ioi", "lengths differ: N and N"),
            *("lengths differ: 4 and 5", "own.csv, row 5", 1),
        )
    ]


def test_a_baseline_of_an_older_version_is_named_with_the_way_out(tmp_path):
    write_json({"nodes": []}, tmp_path / "model.json")
    write_json({"pairs": 3}, tmp_path / "baseline.json")
    with pytest.raises(ValueError, match=r"baseline.json: no \['distinct', .* delete"):
        summarise_models(
            [tmp_path / "model.json"],
            [tmp_path / "baseline.json"],
            *([[]] * 5),
            models=["m"],
            cells=[["m", "ioi"]],
        )
