import polars as pl
import pytest
from matplotlib.image import imread
from measure_benchmark import measure_benchmark
from measure_scaling import measure_scaling
from plot_benchmark import plot_benchmark
from plot_benchmark_scaling import plot_benchmark_scaling
from summarise_benchmark import summarise_benchmark

from circuit_transfer.artifacts.frames import read_frame
from circuit_transfer.benchmarking import measure

SHAPE = {"architecture": "llama", "layers": 1, "heads": 2, "kv_heads": 1}
SHAPE |= {"d_model": 16, "d_mlp": 24, "vocabulary": 30}
ENTRY = {"dtype": "float32", "examples": 2, "positions": 6, "ig_steps": 2}
ENTRY |= {"methods": ["nap", "exact"], "edge_methods": ["eap"]}
ENTRY |= {"circuits": 2, "repetitions": 2}
SCALING = {"examples": [1, 2], "circuits": [1, 2]}
PROPORTIONS = [0.3, 0.7, 1.0]
TINY = {"benchmark": "tiny", "entry": ENTRY | {"shape": SHAPE, "scaling": SCALING}}


@pytest.fixture(scope="module", autouse=True)
def hurried():
    """Nothing is repeated to be sure of the time."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(measure, "SHORT_SECONDS", 1e-9)
        yield


@pytest.fixture(scope="module")
def ratios(tmp_path_factory):
    path = tmp_path_factory.mktemp("tiny") / "ratios.parquet"
    measure_benchmark(path, **TINY, proportions=PROPORTIONS)
    return path


@pytest.fixture(scope="module")
def scaling(tmp_path_factory):
    path = tmp_path_factory.mktemp("tiny") / "scaling.parquet"
    measure_scaling(path, **TINY, proportions=PROPORTIONS)
    return path


def test_measurements_say_of_what_they_are(ratios):
    measured = read_frame(ratios, ["case", "seconds", "peak_bytes"])
    assert measured["benchmark"].unique().to_list() == ["tiny"]
    assert "torch" in measured["machine"][0]
    assert measured["shared"].unique().sort().to_list() == [0, 3]
    assert measured.group_by("shared", "case").len()["len"].unique().to_list() == [2]


def test_a_model_on_disk_is_measured_as_it_is(study, tmp_path):
    path = tmp_path / "ratios.parquet"
    entry = ENTRY | {"model": "target", "scaling": {"positions": [4, 6]}}
    of_target = {"benchmark": "t", "entry": entry, "proportions": PROPORTIONS}
    of_target["model_path"] = study.model("target")
    measure_benchmark(path, **of_target)
    exact = read_frame(path).filter(case="exact", shared=0)
    # Two layers of four heads and an MLP.
    assert exact["ideal_forwards"].unique().to_list() == [2 + 10]
    grown = tmp_path / "scaling.parquet"
    measure_scaling(grown, **of_target)
    places = read_frame(grown).select("axis", "value").unique(maintain_order=True)
    assert places.rows() == [("positions", 4), ("positions", 6)]


def summarised(folder, ratios, scaling):
    tables = [
        [folder / f"{name}.{suffix}" for suffix in ("csv", "tex", "html")]
        for name in ("benchmark", "benchmark-scaling")
    ]
    summarise_benchmark(ratios, scaling, *tables)
    return tables


def test_the_tables_have_a_row_for_every_computation(ratios, scaling, tmp_path):
    (csv, tex, html), (slopes, *_) = summarised(tmp_path, [ratios], [scaling])
    rows = pl.read_csv(csv)
    measured = read_frame(ratios)
    assert len(rows) == measured.select("shared", "case").n_unique()
    assert rows["ratio"].min() > 0 and rows["tokens_per_second"].min() > 0
    assert "circuit, later epochs" in tex.read_text()
    assert "bare passes" in html.read_text()
    grown = pl.read_csv(slopes)
    assert set(grown["axis"]) == {"examples", "circuits"}
    assert grown["slope"].is_finite().all()


def test_without_growth_the_table_of_slopes_is_empty(ratios, tmp_path):
    _, (csv, _, html) = summarised(tmp_path, [ratios], [])
    assert pl.read_csv(csv).is_empty()
    assert "no rows" in html.read_text()


def test_the_figures_are_drawn(ratios, scaling, tmp_path):
    for draw, measured in (
        (plot_benchmark, ratios),
        (plot_benchmark_scaling, scaling),
    ):
        paths = [tmp_path / f"figure.{suffix}" for suffix in ("pdf", "png")]
        draw(measured_path=measured, figure_paths=paths)
        assert imread(paths[1]).std() > 0
        assert paths[0].read_bytes().startswith(b"%PDF")


def test_a_damaged_file_is_named(tmp_path):
    path = tmp_path / "ratios.parquet"
    path.write_text("nothing")
    with pytest.raises(ValueError, match="ratios.parquet: not a readable Parquet"):
        plot_benchmark(measured_path=path, figure_paths=[])
