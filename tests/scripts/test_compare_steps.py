import polars as pl
import pytest
from attribute_nodes import attribute_nodes
from compare_steps import compare_steps
from matplotlib.image import imread
from plot_convergence import plot_convergence
from summarise_convergence import summarise_convergence

from circuit_transfer.artifacts.frames import read_frame
from circuit_transfer.artifacts.scores import read_scores
from circuit_transfer.artifacts.text import read_json

METHOD = "nap-ig-inputs"
SETTINGS = {"method": METHOD, "examples": 4, "ablation": "counterfactual"}


def compare(study, folder, task):
    paths = folder / f"{task}.parquet", folder / f"{task}.json"
    compare_steps(
        study.model("target"),
        study.pairs("target", task),
        *paths,
        task=task,
        counts=[2, 3, 6],
        batch_size=3,
        **SETTINGS,
    )
    return paths


@pytest.fixture(scope="module")
def compared(study, tmp_path_factory):
    """The scores of a task with pairs and of one without, and what the first cost."""
    folder = tmp_path_factory.mktemp("compared")
    (scores, cost), (none, _) = (compare(study, folder, task) for task in ("a", "none"))
    return scores, none, cost


def test_scores_are_those_of_a_study_with_so_many_steps(study, compared, tmp_path):
    frame = read_frame(compared[0])
    assert frame["examples"].to_list() == [4, 4, 4]
    for steps, found in frame.select("steps", "scores").rows():
        paths = tmp_path / f"{steps}.safetensors", tmp_path / "cost.json"
        attribute_nodes(
            study.model("target"),
            study.pairs("target", "a"),
            *paths,
            task="a",
            ig_steps=steps,
            batch_size=3,
            **SETTINGS,
        )
        assert found == pytest.approx(read_scores(paths[0]).scores.tolist(), abs=1e-6)
    assert frame["scores"].n_unique() == 3


def test_steps_that_are_shared_are_counted_once(compared):
    (cost,) = read_json(compared[2])
    # Halves and thirds are among the sixths.
    assert (cost["part"], cost["forward_backwards"]) == (METHOD, 4 * 6)


def test_a_task_without_pairs_is_an_empty_cell(compared, tmp_path):
    tables = [tmp_path / f"convergence.{suffix}" for suffix in ("csv", "tex", "html")]
    summarise_convergence(compared[:2], tables)
    rows = pl.read_csv(tables[0])
    assert rows["task"].to_list() == [*["mean"] * 3, *["a"] * 3, *["none"] * 3]
    assert rows["spearman"].is_null().to_list() == [*[False] * 6, *[True] * 3]


def test_the_figure_is_drawn(compared, tmp_path):
    paths = [tmp_path / f"convergence.{suffix}" for suffix in ("pdf", "png")]
    plot_convergence(
        compared[:2], paths, model="target", methods=[METHOD], configured=3
    )
    assert imread(paths[1]).std() > 0
    assert paths[0].read_bytes().startswith(b"%PDF")
