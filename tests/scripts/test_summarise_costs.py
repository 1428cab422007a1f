"""The costs of a study on disk, and the figure that is drawn from them."""

import polars as pl
import pytest
from matplotlib.image import imread
from plot_break_even import plot_break_even
from summarise_costs import summarise_costs

from circuit_transfer.artifacts.text import write_json, write_text
from circuit_transfer.models.shape import model_shape

MODELS = {"small-1.5": 1, "large": 2}
SUFFIXES = ("csv", "tex", "html")


@pytest.fixture
def shapes(tiny_model):
    return {
        name: model_shape(tiny_model("llama", layers=layers).config)
        for name, layers in MODELS.items()
    }


@pytest.fixture
def folder(tiny_checkpoint, tmp_path):
    """One task scored in both models, and one alignment."""
    for name, layers in MODELS.items():
        path = tiny_checkpoint("llama", layers=layers)
        described = {"model": name, "path": str(path), "dtype": "float32"}
        write_json(described, tmp_path / "models" / f"{name}.json")
        _write_job(tmp_path, f"attribute_nodes/{name}/a/nap", _row("attribute", name))
    trained = _row("free", "large") | {"seed": 0}
    place = "fit_alignment/small-1.5/large/nap/all"
    _write_job(tmp_path, place, _row("prepare", "large"), trained)
    _write_job(tmp_path, "evaluate_gold/large/none/nap")
    return tmp_path


def _row(part, model):
    counts = {
        "forwards": 2,
        "forward_backwards": 3,
        "tokens": 10,
        "backward_tokens": 15,
    }
    return {"part": part, "model": model, "seconds": MODELS[model] / 4} | counts


def _write_job(folder, name, *rows):
    write_json(list(rows), folder / "costs" / f"{name}.json")
    benchmark = "s\th:m:s\tmax_rss\n7.5\t0:00:07\t-\n"
    write_text(benchmark, folder / "benchmarks" / f"{name}.tsv")


def _by_job(folder):
    files = sorted(path for path in folder.rglob("*") if path.is_file())
    return {path.relative_to(folder).with_suffix("").as_posix(): path for path in files}


def run(folder):
    paths = [folder / "costs.{}", folder / "break-even.{}"]
    tables = [[str(path).format(suffix) for suffix in SUFFIXES] for path in paths]
    costs, benchmarks = _by_job(folder / "costs"), _by_job(folder / "benchmarks")
    assert list(costs) == list(benchmarks)
    summarise_costs(
        costs.values(),
        benchmarks.values(),
        sorted((folder / "models").iterdir()),
        tables[0],
        folder / "break-even.parquet",
        tables[1],
        jobs=list(costs),
        training={"all": ["a"]},
        maps={"nap": ["free"]},
        correspondence="cka",
    )
    return pl.read_csv(tables[0][0]), pl.read_parquet(folder / "break-even.parquet")


def test_costs_of_every_job_are_added_up(folder, shapes):
    table, _ = run(folder)
    assert table.drop("megaFLOP").rows() == [
        ("attribute_nodes", "large", 1, 2, 3, 25, 0.5, 7.5),
        ("attribute_nodes", "small-1.5", 1, 2, 3, 25, 0.25, 7.5),
        ("fit_alignment", "large", 1, 4, 6, 50, 1.0, 7.5),
        ("all", "", 3, 8, 12, 100, 1.75, 22.5),
    ]
    large = shapes["large"]
    flops = 5 * large.forward_flops(5) + 3 * large.backward_flops(5)
    assert table["megaFLOP"][0] == pytest.approx(flops / 1e6)


def test_break_even_is_of_pair_and_method(folder):
    _, balance = run(folder)
    keys = balance.select("source", "target", "method", "trained_on").unique()
    assert keys.rows() == [("small-1.5", "large", "nap", "all tasks")]
    seconds = balance.filter(unit="seconds").row(0, named=True)
    # Training and its source scores, over what a task saves.
    assert seconds["break_even"] == pytest.approx((1 + 0.25) / (0.5 - 0.25))
    page = (folder / "break-even.html").read_text()
    assert "Counted in seconds, transfer is cheaper than direct attribution" in page
    assert "from 6 new tasks on (nap)." in page


def test_the_figure_is_whole(folder):
    run(folder)
    pdf, png = folder / "figure.pdf", folder / "figure.png"
    pair = {"source": "small-1.5", "target": "large"}
    path = folder / "break-even.parquet"
    names = pair | {"methods": ["nap"]}
    plot_break_even(break_even_path=path, figure_paths=[pdf, png], **names)
    assert pdf.read_bytes().startswith(b"%PDF")
    pixels = imread(png)[..., :3]
    border = [pixels[0], pixels[-1], pixels[:, 0], pixels[:, -1]]
    assert pixels.std() > 0.02 and all((edge == 1).all() for edge in border)


def test_a_broken_file_is_named(folder):
    path = folder / "costs/attribute_nodes/large/a/nap.json"
    path.write_text("[{")
    with pytest.raises(ValueError, match=r"large/a/nap\.json: not a JSON file"):
        run(folder)
