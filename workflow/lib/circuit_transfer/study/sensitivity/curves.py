"""Rankings of the target's nodes and their faithfulness curves, under every variant.

Gold is what attribution finds on the target itself; the other rankings are random, or
source scores projected by alignments.
"""

import logging
from collections.abc import Mapping, Sequence

import polars as pl

from circuit_transfer.artifacts.alignments import Alignment
from circuit_transfer.circuits.faithfulness import evaluate_circuits
from circuit_transfer.jobs.progress import progress
from circuit_transfer.prompts.batches import fitting_batches
from circuit_transfer.prompts.pairs import select_pairs
from circuit_transfer.study.sensitivity.scores import Scores
from circuit_transfer.study.sensitivity.settings import (
    Settings,
    Variants,
    first,
    groups,
)
from circuit_transfer.study.sensitivity.subjects import Study
from circuit_transfer.transfer.controls import random_scores
from circuit_transfer.transfer.family_draws import ALL
from circuit_transfer.transfer.projection import projected_rankings
from circuit_transfer.transfer.training_sets import zero_shot_sets

log = logging.getLogger(__name__)

# The settings that a measurement of a ranking depends on.
MEASURED_BY = ("proportions", "evaluation_ablation")


def node_rankings(
    study: Study,
    settings: Settings,
    sources: Scores,
    gold: Scores,
    alignments: Sequence[Alignment],
    controls: Sequence[str],
) -> dict[str, pl.DataFrame]:
    """Rank the target's nodes by gold, random and projected scores, by task.

    Args:
        study: the models and the tasks.
        settings: of them, the number of random rankings, and whether families are
            drawn.
        sources: the source's scores, by task.
        gold: the target's own scores, by task.
        alignments: of all training sets and seeds.
        controls: of the alignments.
    """
    n_nodes = len(study.target.nodes)
    random = [
        {"kind": "random", "seed": s, "scores": random_scores(n_nodes, seed=s).tolist()}
        for s in range(settings.random_rankings)
    ]
    rankings = {}
    for task in study.tasks:
        known = [{"kind": "gold", "seed": None, "scores": gold[task].tolist()}, *random]
        data = (sources, gold, alignments, controls)
        if settings.training_families == ALL:
            aligned = _aligned_rankings(study, task, *data)
        else:
            aligned = _of_every_draw(study, task, *data)
        schema = {"kind": pl.String} | {
            k: aligned.schema[k] for k in ("seed", "scores")
        }
        frames = [
            pl.DataFrame(known, schema=schema),
            aligned.with_columns(kind=pl.lit("aligned")),
        ]
        rankings[task] = pl.concat(frames, how="diagonal")
    return rankings


def faithfulness_curves(
    study: Study,
    variants: Variants,
    rankings: Mapping[str, Mapping[str, pl.DataFrame]],
) -> dict[str, pl.DataFrame]:
    """Measure all rankings, by variant; circuits that variants share run once.

    Args:
        study: the models, the tasks and the method.
        variants: settings by name.
        rankings: by variant and task, see `node_rankings`.
    """
    curves: dict[str, list[pl.DataFrame]] = {name: [] for name in variants}
    model = study.target.model
    tasks = study.target.pairs.items()
    for task, pairs in progress(tasks, len(tasks), "task"):
        for group in groups(variants, MEASURED_BY):
            settings = first(group)
            chosen = select_pairs(pairs, "test", settings.measured_examples)
            together = pl.concat(
                _labelled(rankings[name][task], study, settings, task, name)
                for name in group
            )
            log.info("evaluating %d rankings on %s", len(together), task)
            measures = evaluate_circuits(
                model,
                fitting_batches(model, chosen, settings.measuring_batch_size),
                together,
                settings.proportions,
                ablation=settings.evaluation_ablation,
            )
            for name in group:
                curves[name].append(measures.filter(variant=name))
    return {name: pl.concat(frames) for name, frames in curves.items()}


def _aligned_rankings(
    study: Study,
    task: str,
    sources: Scores,
    gold: Scores,
    alignments: Sequence[Alignment],
    controls: Sequence[str],
) -> pl.DataFrame:
    """Project a task's source scores by the alignments of its own training sets.

    Those trained on the task alone, and those that leave out it or its family.
    """
    zero_shot = zero_shot_sets(task, study.tasks, study.families)
    own_sets = {f"only-{task}", *zero_shot}
    fitted = [each for each in alignments if each.metadata["training_set"] in own_sets]
    return projected_rankings(
        task,
        sources,
        gold,
        fitted,
        [],
        controls=controls,
        families=study.families,
    )


def _of_every_draw(
    study: Study,
    task: str,
    sources: Scores,
    gold: Scores,
    alignments: Sequence[Alignment],
    controls: Sequence[str],
) -> pl.DataFrame:
    """Project a task's source scores by alignments that have families of their own.

    What else is the same for all seeds then depends on the seed, since that draws the
    families.
    """
    by_seed: dict[int, list[Alignment]] = {}
    for each in alignments:
        by_seed.setdefault(each.metadata["seed"], []).append(each)
    return pl.concat(
        _aligned_rankings(study, task, sources, gold, fitted, controls).with_columns(
            pl.col("seed").fill_null(seed)
        )
        for seed, fitted in by_seed.items()
    )


def _labelled(
    rankings: pl.DataFrame, study: Study, settings: Settings, task: str, variant: str
) -> pl.DataFrame:
    labels = {"variant": variant, "task": task, "method": study.method}
    labels |= {"source": study.source.name, "target": study.target.name}
    labels |= {"ablation": settings.evaluation_ablation}
    return rankings.with_columns(
        pl.lit(text).alias(label) for label, text in labels.items()
    )
