"""Resample the attribution examples of one pair's circuits; draw what stays of them."""

import logging
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from itertools import product
from pathlib import Path

import numpy as np
import polars as pl

from circuit_transfer.artifacts.alignments import Alignment, read_alignment
from circuit_transfer.artifacts.frames import write_frame
from circuit_transfer.artifacts.scores import read_scores
from circuit_transfer.artifacts.text import write_text
from circuit_transfer.circuits.similarity import STABILITY_SCHEMA, bootstrap_jaccard
from circuit_transfer.figures.similarity import stability_figure
from circuit_transfer.figures.style import save
from circuit_transfer.jobs.stage import run_stage
from circuit_transfer.transfer.correlation import REGIMES, compared_sets
from circuit_transfer.transfer.maps import transformed

log = logging.getLogger(__name__)

Projection = Callable[[np.ndarray], np.ndarray]
LABELS = {
    "task": pl.String,
    "circuit": pl.String,
    "training_set": pl.String,
    "seed": pl.Int64,
}


def plot_stability(
    source_paths: Iterable[Path | str],
    gold_paths: Iterable[Path | str],
    alignments_paths: Iterable[Path | str],
    tables_paths: Sequence[Path | str],
    figures_paths: Iterable[Path | str],
    *,
    source: str,
    target: str,
    method: str,
    tasks: Sequence[str],
    proportions: Sequence[float],
    families: Mapping[str, Sequence[str]],
) -> None:
    """Write and draw the stability of direct and transferred circuits by one method.

    Args:
        source_paths: the source's scores of every task.
        gold_paths: the target's scores of every task.
        alignments_paths: alignments of the pair; of each task, those trained on it
            alone, on all but it, and on all but its family are used.
        tables_paths: where the numbers go, as Parquet and as CSV.
        figures_paths: one path per format.
        source: name of the source model.
        target: name of the target model.
        method: the attribution method of the scores.
        tasks: in the order of the panels.
        proportions: sizes of the circuits.
        families: of the study's tasks.
    """
    fits = [read_alignment(path) for path in alignments_paths]
    stability = pl.concat(
        [
            pl.DataFrame(schema=LABELS | STABILITY_SCHEMA),
            *_resampled("source", source_paths, proportions, fits, families),
            *_resampled("gold", gold_paths, proportions, [], families),
        ]
    )
    pair = {"source": source, "target": target, "method": method}
    labels = [pl.lit(name).alias(role) for role, name in pair.items()]
    _write(stability.select(*labels, pl.all()), *tables_paths)
    names = {name: f"transferred, {name}" for name in REGIMES}
    names |= {"source": f"source {source}", "gold": f"gold {target}"}
    title = f"{source} → {target}, {method}"
    figure = stability_figure(stability, title=title, names=names, tasks=tasks)
    save(figure, *figures_paths)


def _write(
    stability: pl.DataFrame, parquet_path: Path | str, csv_path: Path | str
) -> None:
    write_frame(stability, parquet_path)
    write_text(stability.write_csv(), csv_path)


def _resampled(
    kind: str,
    paths: Iterable[Path | str],
    proportions: Sequence[float],
    fits: Sequence[Alignment],
    families: Mapping[str, Sequence[str]],
) -> Iterator[pl.DataFrame]:
    """Yield the stability of the circuits of every task, and of their projections."""
    for scores in map(read_scores, paths):
        task = scores.metadata["task"]
        if scores.by_example is None or not len(scores.by_example):
            log.warning("%s: no scores by example, an empty cell", task)
            continue
        clusters = np.array(scores.metadata["prompt_numbers"])
        if len(np.unique(clusters)) == 1:
            log.warning("%s: one distinct prompt, so no resamples: an empty cell", task)
            continue
        projections = _projections(fits, compared_sets(task, families))
        for labels, project in {(kind, None, None): _unchanged, **projections}.items():
            sizes = bootstrap_jaccard(
                scores.by_example, proportions, clusters=clusters, project=project
            )
            yield _labelled(sizes, (task, *labels))


def _unchanged(scores: np.ndarray) -> np.ndarray:
    return scores


def _projections(
    fits: Sequence[Alignment], regimes: Mapping[str, str]
) -> dict[tuple, Projection]:
    """Return the first map of every fit of some training sets, by regime and seed."""
    return {
        (regime, name, fit.metadata["seed"]): _projection(fit)
        for fit, (regime, name) in product(fits, regimes.items())
        if name == fit.metadata["training_set"] and np.isfinite(fit.alignment).all()
    }


def _projection(fit: Alignment) -> Projection:
    transform = fit.metadata["transform"]
    return lambda scores: fit.project(transformed(scores, transform))


def _labelled(sizes: pl.DataFrame, labels: Sequence[object]) -> pl.DataFrame:
    columns = zip(LABELS.items(), labels, strict=True)
    return sizes.select(
        *(pl.lit(value, dtype).alias(name) for (name, dtype), value in columns),
        pl.all(),
    )


if __name__ == "__main__":
    run_stage(plot_stability, snakemake)
