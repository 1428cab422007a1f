"""The benchmark from its configuration to its table and figures, on tiny models."""

import subprocess
import sys
from pathlib import Path

import polars as pl
import yaml

HOME = Path(__file__).parents[2]
SHAPE = {"architecture": "llama", "layers": 1, "heads": 2, "kv_heads": 1}
SHAPE |= {"d_model": 16, "d_mlp": 24, "vocabulary": 30}
LOAD = {"examples": 2, "positions": 6, "methods": ["nap"], "repetitions": 1}


def test_a_benchmark_of_a_model_and_of_a_shape(tmp_path):
    config = yaml.safe_load((HOME / "tests/workflow/tiny.yaml").read_text())
    config["benchmark"] = {
        "trained": LOAD | {"model": "tiny-source"},
        "random": LOAD | {"shape": SHAPE, "scaling": {"layers": [1, 2]}},
    }
    (tmp_path / "study.yaml").write_text(yaml.safe_dump(config))
    command = [sys.executable, "-m", "snakemake"]
    command += ["--snakefile", str(HOME / "Snakefile"), "--directory", str(tmp_path)]
    command += ["--configfile", str(tmp_path / "study.yaml"), "--cores", "2"]
    result = subprocess.run(
        [*command, "--", "benchmark"], capture_output=True, text=True, check=False
    )
    assert result.returncode == 0, result.stdout + result.stderr
    tables = tmp_path / "results/tables"
    assert set(pl.read_csv(tables / "benchmark.csv")["benchmark"]) == {
        *config["benchmark"]
    }
    slopes = pl.read_csv(tables / "benchmark-scaling.csv")
    assert slopes["benchmark"].unique().to_list() == ["random"]
    for figure in ("benchmark/trained", "benchmark/random", "benchmark-scaling/random"):
        image = tmp_path / f"results/figures/{figure}.png"
        assert image.read_bytes().startswith(b"\x89PNG")


def test_an_impossible_benchmark_stops_the_run(tmp_path):
    config = yaml.safe_load((HOME / "tests/workflow/tiny.yaml").read_text())
    config["benchmark"] = {"lost": {"model": "nowhere"}}
    (tmp_path / "study.yaml").write_text(yaml.safe_dump(config))
    command = [sys.executable, "-m", "snakemake"]
    command += ["--snakefile", str(HOME / "Snakefile"), "--directory", str(tmp_path)]
    command += ["--configfile", str(tmp_path / "study.yaml"), "--cores", "1", "-n"]
    result = subprocess.run(command, capture_output=True, text=True, check=False)
    assert result.returncode != 0
    message = "benchmark.lost.model: no model under `models` is called 'nowhere'"
    assert message in result.stdout + result.stderr
