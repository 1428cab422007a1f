"""What `-- preflight` makes and prints, before a study is begun."""

import polars as pl

# The parts of the results without those of circuits.
MADE = {
    *("baselines", "benchmarks", "costs", "logs", "models", "pairs", "prompts"),
    "tables",
}
TABLES = {"models", "rejects", "rejects-summary"}
# Of the same length in clean and corrupted, but for one row.
OWN = """clean,corrupted,answer,wrong_answer,split
The sum of 1 and 2 is,The sum of 2 and 2 is, 3, 4,train
The sum of 1 and 4 is,The sum of 2 and 4 is, 5, 6,train
The sum of 1 and 5 is,The sum of 2 and 5 is the, 6, 7,train
"""


def preflight(study) -> list[str]:
    """Run a preflight and return the lines that it printed for the user."""
    result = study.snakemake("--", "preflight")
    assert result.returncode == 0, result.stdout + result.stderr
    return result.stdout.splitlines()


def test_a_preflight_measures_whole_models_alone_and_prints_what_follows(new_study):
    (new_study.folder / "own.csv").write_text(OWN)
    new_study.config["tasks"]["own"] = {"file": "own.csv"}
    new_study.config["study"]["tasks"].append("own")
    printed = preflight(new_study)
    results = new_study.folder / "results"
    assert {path.name for path in results.iterdir()} == MADE
    assert {path.name for path in (results / "costs").iterdir()} == {"measure_baseline"}
    tables = {path.name.partition(".")[0] for path in (results / "tables").iterdir()}
    assert tables == TABLES
    # Of the source too.
    models = pl.read_csv(results / "tables/models.csv")
    names, tasks = ["tiny-source", "tiny-target"], new_study.config["study"]["tasks"]
    cells = [(name, task) for name in names for task in tasks]
    assert models.select("model", "task").rows() == cells
    assert models["pairs"].to_list() == 2 * [8, 8, 8, 0]
    lines = [line.split()[:3] for line in printed]
    for model, task, pairs in models.select("model", "task", "pairs").rows():
        assert [model, task, str(pairs)] in lines
    judged = [line for line in printed if "worth studying in tiny-" in line.lower()]
    assert any("own" in line and line.startswith("Not") for line in judged)
    lost = "no test pairs; 1 of 3 rows rejected, most like this one: clean prompt has"
    assert any(line.startswith(f"  own: {lost}") for line in printed)
    assert any("results/tables/models.html" in line for line in printed)

    # It is printed again where all is there already, and nothing is made again.
    ages = {path: path.stat().st_mtime_ns for path in results.rglob("*.*")}
    assert preflight(new_study) == printed
    assert ages == {path: path.stat().st_mtime_ns for path in results.rglob("*.*")}
