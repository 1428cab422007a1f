"""Test over families of tasks whether transfers use their source."""

import logging
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

from circuit_transfer.artifacts.files import atomic
from circuit_transfer.artifacts.frames import read_frame
from circuit_transfer.artifacts.scores import read_scores
from circuit_transfer.artifacts.text import read_json
from circuit_transfer.jobs.stage import run_stage
from circuit_transfer.models.lineage import relation
from circuit_transfer.tables.curves import named_rows
from circuit_transfer.tables.measures import AREAS
from circuit_transfer.tables.source_use import DOCUMENTATION, source_use
from circuit_transfer.tables.source_use_table import source_use_table
from circuit_transfer.tables.task_correlation import task_similarity
from circuit_transfer.tables.typesetting import write_table
from circuit_transfer.transfer.maps import transformed

log = logging.getLogger(__name__)


def summarise_source_use(
    cpr_path: Path | str,
    models_paths: Iterable[Path | str],
    scores_paths: Iterable[Path | str],
    source_use_path: Path | str,
    tables_paths: Sequence[Path | str],
    *,
    pairs: Sequence[Sequence[str]],
    tasks: Sequence[str],
    methods: Sequence[str],
    maps: Sequence[str],
    families: Mapping[str, Sequence[str]],
    ablation: str,
    transform: str,
) -> None:
    """Write all differences to controls as a frame, and as a table.

    Args:
        cpr_path: the areas of all circuits.
        models_paths: the descriptions of all models, whose lineages relate them.
        scores_paths: the node scores of every model, task and method.
        source_use_path: the frame, see `tables.source_use`.
        tables_paths: one path per format.
        pairs: source and target of every transfer.
        tasks: of the study.
        methods: that score nodes.
        maps: all of them.
        families: of the tasks.
        ablation: of the circuits that are compared.
        transform: of scores, before they are correlated.
    """
    models = {each["model"]: each for each in map(read_json, models_paths)}
    relations = {
        (source, target): relation(models[source], models[target])
        for source, target in pairs
    }
    scores = {}
    for file in map(read_scores, scores_paths):
        place = tuple(file.metadata[key] for key in ("model", "method", "task"))
        scores[place] = transformed(file.scores, transform)
    similarities = {}
    for *pair, method in ((*pair, method) for pair in pairs for method in methods):
        of_models = ([scores.get((m, method, task)) for task in tasks] for m in pair)
        similarity = task_similarity(*of_models, tasks=tasks, families=families)
        similarities[*pair, method] = similarity
    cpr = read_frame(cpr_path, [*AREAS, "ablation"]).filter(ablation=ablation)
    frame = source_use(
        named_rows(cpr, families),
        relations=relations,
        similarities=similarities,
        families=families,
        methods=methods,
        maps=maps,
    )
    log.info("%d differences of %d pairs", len(frame), len(pairs))
    with atomic(source_use_path) as partial:
        frame.write_parquet(partial, metadata=DOCUMENTATION)
    title = "Whether transfers use their source, over families"
    write_table(source_use_table(frame), *tables_paths, title=title)


if __name__ == "__main__":
    run_stage(summarise_source_use, snakemake)
