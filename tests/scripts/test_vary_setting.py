import polars as pl
import pytest
from evaluate_aligned import evaluate_aligned
from evaluate_gold import evaluate_gold
from evaluate_random import evaluate_random
from fit_alignment import fit_alignment
from matplotlib.image import imread
from plot_sensitivity import plot_sensitivity
from plot_training_families import plot_training_families
from polars.testing import assert_frame_equal
from summarise_faithfulness import summarise_faithfulness
from summarise_sensitivity import summarise_sensitivity
from summarise_training_families import summarise_training_families
from vary_setting import vary_setting

from circuit_transfer.artifacts.frames import read_frame
from circuit_transfer.artifacts.text import read_json
from circuit_transfer.transfer.controls import trained_controls
from circuit_transfer.transfer.training_sets import (
    evaluated_training_sets,
    training_sets,
    training_tasks,
)

TASKS = ("a", "b", "none")
FAMILIES = {"first": ["a"], "second": ["b", "none"]}
SIBLINGS = [["a", "b"]]
SEEDS = (0, 1)
FIT = {"intervention": "circuit", "epochs": 2, "learning_rate": 0.1, "sparsity": 0.1}
PRIOR = {"depth_width": 0.25, "temperature": 0.3}
PRIOR |= {"correspondence": "cka", "threshold": None}
LABELS = {"source": "source", "target": "target", "method": "nap"}


def settings_of(evaluation):
    """The settings with which the study's scores and the stages below are made."""
    return {
        "fit": FIT,
        "map": "free",
        "prior": PRIOR,
        "transform": "max",
        "seeds": SEEDS,
        "ig_steps": 2,
        "scored_examples": 4,
        "scoring_batch_size": 3,
        "examples": 4,
        "batch_size": 2,
        "proportions": evaluation["proportions"],
        "measured_examples": evaluation["examples"],
        "measuring_batch_size": evaluation["batch_size"],
        "random_rankings": 2,
    }


def vary(study, folder, evaluation, setting, values, method="nap"):
    source, target = (
        [study.pairs(model, task) for task in TASKS] for model in ("source", "target")
    )
    paths = folder / f"{setting}.parquet", folder / f"{setting}.json"
    vary_setting(
        study.model("source"),
        study.model("target"),
        source,
        target,
        *paths,
        method=method,
        setting=setting,
        tasks=TASKS,
        values=values,
        settings=settings_of(evaluation),
        siblings=SIBLINGS,
        families=FAMILIES,
    )
    return read_frame(paths[0]), read_json(paths[1])


@pytest.fixture(scope="module")
def varied(study, evaluation, tmp_path_factory):
    """A folder with what two values of the sparsity give."""
    folder = tmp_path_factory.mktemp("varied")
    vary(study, folder, evaluation, "sparsity", [2, 0.1])
    return folder


@pytest.fixture(scope="module")
def staged(study, evaluation, tmp_path_factory):
    """The areas of all circuits as the stages of the study make them."""
    folder = tmp_path_factory.mktemp("staged")
    cost = folder / "cost.json"
    fits = {}
    for training_set in training_sets(TASKS, FAMILIES):
        tasks = training_tasks(training_set, TASKS, FAMILIES)
        paths = {s: folder / training_set / f"{s}.safetensors" for s in SEEDS}
        fits[training_set] = list(paths.values())
        fit_alignment(
            study.model("source"),
            study.model("target"),
            [study.scores("source", task) for task in tasks],
            [study.pairs("target", task) for task in tasks],
            [],
            paths.values(),
            cost,
            tasks=tasks,
            seeds=SEEDS,
            maps=["free"],
            transform="max",
            prior=PRIOR,
            controls=trained_controls(training_set, ["source-free"]),
            settings=FIT,
            batch_size=2,
            examples=4,
            training_set=training_set,
            **LABELS,
        )
    kinds = {kind: {} for kind in ("gold", "random", "aligned")}
    for task in TASKS:
        place = study.model("target"), study.pairs("target", task)
        made = {kind: folder / kind / f"{task}.parquet" for kind in kinds}
        of_gold = {"target": "target", "task": task, "method": "nap"}
        scores = study.scores("target", task)
        evaluate_gold(
            *place, scores, made["gold"], cost, **of_gold, settings=evaluation
        )
        of_random = {"target": "target", "task": task, "rankings": 2}
        evaluate_random(*place, made["random"], cost, **of_random, settings=evaluation)
        sets = evaluated_training_sets(task, TASKS, FAMILIES)
        evaluate_aligned(
            *place,
            scores_paths=[study.scores("source", each) for each in TASKS],
            gold_paths=[study.scores("target", each) for each in TASKS],
            alignments_paths=[path for each in sets for path in fits[each]],
            masks_paths=[],
            faithfulness_path=made["aligned"],
            projections_path=folder / "projections.parquet",
            cost_path=cost,
            task=task,
            tasks=TASKS,
            controls=["source-free"],
            families=FAMILIES,
            **LABELS,
            settings=evaluation,
        )
        for kind, path in made.items():
            kinds[kind][task] = path
    summarise_faithfulness(
        *(list(paths.values()) for paths in kinds.values()),
        [],
        folder / "curves.parquet",
        folder / "cpr.parquet",
        siblings=SIBLINGS,
        families=FAMILIES,
    )
    return read_frame(folder / "cpr.parquet")


def test_the_configured_value_gives_what_the_stages_write(varied, staged):
    areas = read_frame(varied / "sparsity.parquet")
    # A circuit that both protocols list has a row for each.
    columns = ["kind", "task", "training_set", "control", "seed"]
    found = areas.filter("configured").unique(columns)
    assert found["value"].unique().to_list() == ["0.1"]
    columns = ["kind", "target", "task", "ablation", "training_set", "map", "control"]
    columns += ["seed", "regime", "cpr", "cmd"]
    # What an alignment does on further tasks is not asked here, nor one of all tasks.
    regimes = ["gold", "random", "control"]
    regimes += ["in-distribution", "zero-shot", "zero-shot-family"]
    expected = staged.filter(pl.col("regime").is_in(regimes))
    found, expected = (
        frame.select(columns).sort(columns, nulls_last=True)
        for frame in (found, expected)
    )
    assert set(regimes) == set(found["regime"])
    assert_frame_equal(found, expected, abs_tol=1e-5)


def test_values_are_named_and_costs_counted(study, evaluation, tmp_path):
    areas, costs = vary(study, tmp_path, evaluation, "epochs", [1, 3])
    values = areas.select("value", "configured").unique(maintain_order=True)
    assert values.rows() == [("2", True), ("1", False), ("3", False)]
    # 4 pairs of each of 2 tasks are scored, once for all values.
    assert [cost["part"] for cost in costs] == [
        "attribute",
        "attribute",
        "fit",
        "evaluate",
    ]
    assert costs[1]["model"] == "target" and costs[1]["forward_backwards"] == 8


def test_circuit_sizes_have_the_names_of_their_grids(study, evaluation, tmp_path):
    grids = {"few": [0.3, 1.0], "same": evaluation["proportions"]}
    areas, _ = vary(study, tmp_path, evaluation, "proportions", grids)
    values = areas.select("value", "configured").unique(maintain_order=True)
    assert values.rows() == [("few", False), ("same", True)]


def test_the_table_has_a_row_for_every_value(study, varied, evaluation, tmp_path):
    vary(study, tmp_path, evaluation, "ablation", ["zero"], method="nap-ig-inputs")
    frames = [varied / "sparsity.parquet", tmp_path / "ablation.parquet"]
    tables = [tmp_path / f"sensitivity.{suffix}" for suffix in ("csv", "tex", "html")]
    summarise_sensitivity(frames, tables)
    rows = pl.read_csv(tables[0])
    places = [
        (*place, measure, value)
        for place, values in (
            (("nap", "sparsity"), ("2", "0.1")),
            (("nap-ig-inputs", "ablation"), ("counterfactual", "zero")),
        )
        for measure in ("CPR", "CMD", "accuracy area")
        for value in values
    ]
    assert rows.select("method", "setting", "measure", "value").rows() == places
    lacking = [value == "zero" for *_, value in places]
    assert rows["gold"].is_null().to_list() == lacking
    assert "configured" in tables[2].read_text()


def test_numbers_of_training_families_are_tabulated_and_drawn(
    study, evaluation, tmp_path
):
    areas, _ = vary(study, tmp_path, evaluation, "training_families", [1])
    values = areas.select("value", "configured").unique(maintain_order=True)
    assert values.rows() == [("all", True), ("1", False)]
    tables = [tmp_path / f"families.{suffix}" for suffix in ("csv", "tex", "html")]
    figures = [tmp_path / f"families.{suffix}" for suffix in ("pdf", "png")]
    paths = [tmp_path / "training_families.parquet"]
    summarise_training_families(paths, tables, families=FAMILIES)
    rows = pl.read_csv(tables[0])
    expected = [
        ("free", ["constant", "shuffled", "other family"]),
        ("ridge", ["shuffled", "other family", "mean gold"]),
    ]
    assert rows.select("map", "training_families", "against").rows() == [
        (name, number, other)
        for name, others in expected
        for number in ("1", "all")
        for other in others
    ]
    # One family besides the evaluated one: as many as there are.
    numbers = rows.drop("training_families")
    one, of_all = (
        numbers.filter(rows["training_families"] == each) for each in ("1", "all")
    )
    assert_frame_equal(one, of_all)
    plot_training_families(paths, figures, families=FAMILIES)
    assert imread(figures[1]).std() > 0


@pytest.mark.parametrize("setting", ["sparsity", "ablation"])
def test_the_figure_is_drawn(study, varied, evaluation, tmp_path, setting):
    folder = varied
    if setting == "ablation":
        folder = tmp_path
        vary(study, folder, evaluation, "ablation", ["counterfactual", "zero"])
    paths = [tmp_path / f"{setting}.{suffix}" for suffix in ("pdf", "png")]
    plot_sensitivity(
        folder / f"{setting}.parquet", paths, **LABELS, setting=setting, tasks=TASKS
    )
    assert imread(paths[1]).std() > 0
    assert paths[0].read_bytes().startswith(b"%PDF")
