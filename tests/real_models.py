"""Print the tables of workflow/docs/real-models.md from the results of its study.

python tests/real_models.py results smollm2
"""

import sys
from pathlib import Path

import polars as pl

OTHERS = "all others"
EXAGGERATION = "▲"
MEASURES = ("cpr", "cmd", "right_above_wrong_area")
SHORT = 2  # seconds of a stage that the table does not show by itself
# Of a stage: its jobs, their seconds together, and the most memory that one took.
COSTS = (
    pl.len().alias("jobs"),
    pl.col("s").sum().alias("seconds"),
    pl.col("max_rss").max().alias("memory"),
)


def circuits(folder: Path, model: str) -> str:
    """Return what a model does, and how faithful its own circuits are, as Markdown."""
    rows = [
        "| task | method | pairs | right > wrong | logit diff. | CPR | CMD "
        "| accuracy area | random-rankings | top heads |",
        "|---|---|---|---|---|---|---|---|---|---|",
    ]
    for row in pl.read_csv(folder / f"tables/gold/{model}.csv").to_dicts():
        areas = [f"{row[m]:.2f} ± {row[f'{m}_half_width']:.2f}" for m in MEASURES]
        areas[0] += EXAGGERATION if row["cpr_exaggerates"] else ""
        random = (f"{row[f'random-rankings_{m}']:.2f}" for m in MEASURES)
        rows.append(
            f"| {row['task']} | `{row['method']}` | {row['pairs']} "
            f"| {row['right_above_wrong']:.2f} | {row['logit_diff']:.2f} "
            f"| {' | '.join(areas)} | {' / '.join(random)} | {row['top_heads']} |"
        )
    return "\n".join(rows)


def costs(folder: Path) -> str:
    """Return the time and the memory of every stage, as Markdown."""
    jobs = [
        pl.read_csv(file, separator="\t").select(
            pl.lit(_stage(file.relative_to(folder / "benchmarks"))).alias("stage"),
            pl.col("s", "max_rss").cast(pl.Float64, strict=False),
        )
        for file in sorted(folder.glob("benchmarks/**/*.tsv"))
    ]
    frame = pl.concat(jobs)
    short = pl.col("s").sum().over("stage") < SHORT
    frame = frame.with_columns(
        stage=pl.when(short).then(pl.lit(OTHERS)).otherwise(pl.format("`{}`", "stage"))
    )
    stages = frame.group_by("stage").agg(*COSTS)
    rows = ["| stage | jobs | seconds | most memory |", "|---|---|---|---|"]
    for row in stages.sort(pl.col("stage") == OTHERS, -pl.col("seconds")).to_dicts():
        memory = f"{row['memory'] / 1000:.1f} GB" if row["memory"] else "-"
        rows.append(
            f"| {row['stage']} | {row['jobs']} | {row['seconds']:.0f} | {memory} |"
        )
    return "\n".join(rows)


def _stage(file: Path) -> str:
    """Return the stage of a job by its file; a stage that has one job has no folder."""
    return file.parts[0].removesuffix(".tsv")


if __name__ == "__main__":
    results, name = Path(sys.argv[1]), sys.argv[2]
    print(circuits(results, name), costs(results), sep="\n\n")
