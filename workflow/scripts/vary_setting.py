"""Run a study of one pair and method with every value of one setting."""

import logging
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from circuit_transfer.artifacts.descriptions import read_description
from circuit_transfer.artifacts.frames import read_frame, write_frame
from circuit_transfer.artifacts.text import write_json
from circuit_transfer.jobs.stage import run_stage
from circuit_transfer.models.loading import load_described
from circuit_transfer.study.sensitivity import Settings, Study, Subject, run
from circuit_transfer.transfer.objectives import FitSettings

log = logging.getLogger(__name__)


def vary_setting(
    source_path: Path | str,
    target_path: Path | str,
    source_pairs_paths: Iterable[Path | str],
    target_pairs_paths: Iterable[Path | str],
    areas_path: Path | str,
    cost_path: Path | str,
    *,
    method: str,
    setting: str,
    tasks: Sequence[str],
    values: Sequence[float | str] | Mapping[str, Sequence[float]],
    settings: Mapping[str, Any],
    siblings: Sequence[Sequence[str]],
    families: Mapping[str, Sequence[str]],
) -> None:
    """Read both models and their pairs by task, write the areas of all circuits.

    Args:
        source_path: description of the source model.
        target_path: description of the target model.
        source_pairs_paths: the source's pairs of every task.
        target_pairs_paths: the target's.
        areas_path: where the areas go.
        cost_path: where the costs go.
        method: how nodes are scored.
        setting: what is varied.
        tasks: in the study's order.
        values: its values; circuit sizes by the names of their grids.
        settings: all as configured, see `sensitivity.Settings`.
        siblings: pairs of tasks that are near each other.
        families: tasks that share a circuit.
    """
    study = Study(
        source=_subject(source_path, tasks, source_pairs_paths),
        target=_subject(target_path, tasks, target_pairs_paths),
        method=method,
        siblings=siblings,
        families=families,
    )
    fit = _hashable(FitSettings, settings["fit"])
    configured = _hashable(Settings, {**settings, "fit": fit})
    named = values if isinstance(values, Mapping) else {_name(v): v for v in values}
    areas, costs = run(study, configured, setting, named)
    log.info("%s: %s, %d circuits", setting, ", ".join(named), len(areas))
    write_frame(areas, areas_path)
    write_json(costs, cost_path)


def _subject(
    path: Path | str, tasks: Sequence[str], pairs_paths: Iterable[Path | str]
) -> Subject:
    description = read_description(path)
    pairs = dict(zip(tasks, map(read_frame, pairs_paths), strict=True))
    model = load_described(description)
    known = (description["nodes"], pairs, description.get("lineage"))
    return Subject(description["model"], model, *known)


def _hashable(kind: type, settings: Mapping[str, Any]) -> Any:
    """Make settings of a kind, whose lists become tuples."""
    parts = {k: tuple(v) if isinstance(v, list) else v for k, v in settings.items()}
    return kind(**parts)


def _name(value: float | str) -> str:
    return value if isinstance(value, str) else f"{value:g}"


if __name__ == "__main__":
    run_stage(vary_setting, snakemake)
