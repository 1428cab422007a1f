"""Reduce all faithfulness curves of a study to the frames that tables are made from."""

import logging
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

import polars as pl

from circuit_transfer.artifacts.frames import read_frame, write_frame
from circuit_transfer.jobs.stage import run_stage
from circuit_transfer.stages.measured import edge_files
from circuit_transfer.tables.curves import CURVE, TRAINED, summarise
from circuit_transfer.tables.edge_curves import ABSOLUTE

log = logging.getLogger(__name__)

GOLD_COLUMNS = ("target", "task", "method", "ablation", *CURVE, "logit_diffs")
RANDOM_COLUMNS = (*GOLD_COLUMNS, "seed")
ALIGNED_COLUMNS = (
    *GOLD_COLUMNS,
    "source",
    "training_set",
    "map",
    "control",
    "seed",
    *TRAINED,
)
COLUMNS = {"gold": GOLD_COLUMNS, "random": RANDOM_COLUMNS, "aligned": ALIGNED_COLUMNS}


def summarise_faithfulness(
    gold_paths: Iterable[Path | str],
    random_paths: Iterable[Path | str],
    aligned_paths: Iterable[Path | str],
    imported_paths: Iterable[Path | str],
    curves_path: Path | str,
    cpr_path: Path | str,
    gold_edges_paths: Iterable[Path | str] = (),
    random_edges_paths: Iterable[Path | str] = (),
    aligned_edges_paths: Iterable[Path | str] = (),
    *,
    siblings: Iterable[Sequence[str]],
    families: Mapping[str, Sequence[str]],
    edge_ranking: str = ABSOLUTE,
) -> None:
    """Read every curve, write all of them in one frame and their areas in another.

    Circuits of edges, where their scores are transferred, are further methods.
    """
    gold_paths = list(gold_paths)
    measured = {"gold": gold_paths, "random": random_paths, "aligned": aligned_paths}
    frames = {
        kind: [read_frame(path, COLUMNS[kind]) for path in paths]
        for kind, paths in measured.items()
    }
    edges = (gold_edges_paths, random_edges_paths, aligned_edges_paths)
    for file in edge_files(*edges, ranking=edge_ranking):
        frames[file.kind].append(file.read(COLUMNS[file.kind]))
    curves, cpr = summarise(
        **frames,
        siblings=siblings,
        families=families,
        imported=[read_frame(path, GOLD_COLUMNS) for path in imported_paths],
    )
    if cpr.filter(pl.col("kind") != "random").is_empty() and gold_paths:
        raise ValueError(
            "no circuit was measured: no task of this study has usable train and test "
            "pairs for its models. The log of write_prompts says where all rows of a "
            "task are in one split and what to change, that of tokenize_pairs why a "
            "model can use none"
        )
    log.info("%d circuits, %d rows of curves", cpr.height, curves.height)
    _warn_of_undefined(curves)
    write_frame(curves, curves_path)
    write_frame(cpr, cpr_path)


def _warn_of_undefined(curves: pl.DataFrame) -> None:
    undefined = curves.filter(pl.col("faithfulness").is_null())
    places = undefined.select("target", "task", "ablation").unique(maintain_order=True)
    for place in places.iter_rows():
        log.warning(
            "%s on %s, %s ablation: the whole model and the empty circuit do equally "
            "well, so faithfulness is undefined: empty cells",
            *place,
        )


if __name__ == "__main__":
    run_stage(summarise_faithfulness, snakemake)
