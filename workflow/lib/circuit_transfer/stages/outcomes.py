"""Write into a page what the transfers of several studies came to."""

import logging
import re
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

import polars as pl

from circuit_transfer.artifacts.frames import read_frame
from circuit_transfer.artifacts.text import read_json, write_text
from circuit_transfer.models.lineage import CLOSENESS, relation
from circuit_transfer.tables.outcomes import outcomes, outcomes_text

log = logging.getLogger(__name__)

BEGIN, END = "<!-- outcomes: begin -->", "<!-- outcomes: end -->"


def collect_outcomes(
    results_paths: Iterable[Path | str],
    page_path: Path | str,
    *,
    maps: Mapping[str, Sequence[str]] | None = None,
    ablation: str = "counterfactual",
) -> None:
    """Write a row for every pair, level and map between two comments of a page.

    Args:
        results_paths: the folders with the results of the studies.
        page_path: a Markdown page with the comments `BEGIN` and `END`, which is
            replaced; what stands between them is written again.
        maps: by level those to list, see `outcomes.level_of`; by default all.
        ablation: of the circuits that are listed.

    Raises:
        ValueError: the page does not have the two comments once each.
    """
    page = Path(page_path).read_text(encoding="utf-8")
    if page.count(BEGIN) != 1 or page.count(END) != 1:
        raise ValueError(
            f"{page_path}: expected the comments {BEGIN} and {END} once each, between "
            "which the table is written"
        )
    frame = outcomes([_study(path, ablation) for path in results_paths], maps)
    block = f"{BEGIN}\n{outcomes_text(frame)}\n{END}"
    pattern = re.escape(BEGIN) + ".*" + re.escape(END)
    # A function, so that nothing in the block is read as a reference.
    write_text(re.sub(pattern, lambda _: block, page, flags=re.DOTALL), page_path)
    log.info("%d outcomes", len(frame))


def _study(
    folder: Path | str, ablation: str
) -> tuple[pl.DataFrame, dict[tuple[str, str], str]]:
    """Return the statistics of a study, and how its pairs are related."""
    path = Path(folder) / "tables/statistics.parquet"
    statistics = read_frame(path, ["ablation"]).filter(ablation=ablation)
    pairs = statistics.drop_nulls("source").select("source", "target")
    kinships = {
        (source, target): relation(*(_model(folder, name) for name in (source, target)))
        for source, target in pairs.unique(maintain_order=True).rows()
    }
    closest = sorted(kinships, key=lambda pair: CLOSENESS.index(kinships[pair]))
    return statistics, {pair: kinships[pair] for pair in closest}


def _model(folder: Path | str, name: str) -> dict:
    return read_json(Path(folder) / "models" / name / "model.json")
