"""The paths of all artefacts of a study: every path pattern once, by name.

Wildcards are in braces. A new stage takes one row per artefact in `PATTERNS` and one
in `JOBS`; figures and tables that the report shows are in `shown`.
"""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from itertools import product

PATTERNS = {
    "split-prompts": "results/prompts/{task}/{split}.parquet",
    "split-prompts-rejects": "results/prompts/{task}/{split}.rejects.parquet",
    "prompts": "results/prompts/{task}.parquet",
    "prompts-rejects": "results/prompts/{task}.rejects.parquet",
    "download": "results/models/{model}/download.json",
    "checkpoint": "results/models/{model}/checkpoint/{file}",
    "model": "results/models/{model}/model.json",
    "split-pairs": "results/pairs/{model}/{task}/{split}.parquet",
    "split-pairs-rejects": "results/pairs/{model}/{task}/{split}.rejects.parquet",
    "pairs": "results/pairs/{model}/{task}.parquet",
    "pairs-rejects": "results/pairs/{model}/{task}.rejects.parquet",
    "baseline": "results/baselines/{model}/{task}.json",
    "scores": "results/scores/{model}/{task}/{method}.safetensors",
    "alignment": "results/alignments/{source}/{target}/{method}/{training_set}/"
    "seed-{seed}.safetensors",
    "mask": "results/masks/{target}/{task}/seed-{seed}.safetensors",
    "stitched": "results/stitched/{source}/{target}/{task}.safetensors",
    "edge-alignment": "results/edge-alignments/{source}/{target}/{edge_method}/"
    "{training_set}/seed-{seed}.safetensors",
    "stitched-edges": "results/stitched-edges/{source}/{target}/{task}.safetensors",
    "carried": "results/carried/{source}/{target}/{task}/{method}.safetensors",
    "gold": "results/faithfulness/gold/{target}/{task}/{method}.parquet",
    "random": "results/faithfulness/random/{target}/{task}.parquet",
    "edge-scores": "results/edge-scores/{model}/{task}/{edge_method}.safetensors",
    "edge-masks": "results/edge-masks/{model}/{task}/{learned_method}/"
    "seed-{seed}.safetensors",
    "resampled-masks": "results/edge-masks/{model}/{task}/{learned_method}/"
    "resample-{resample}.safetensors",
    "critical-heads": "results/critical-heads/{model}/{task}.parquet",
    "matched-heads": "results/matched-heads/{teacher}/{student}/{task}/"
    "{matching}.parquet",
    "distilled": "results/distilled/{teacher}/{student}/{task}/{variant}/"
    "seed-{seed}/{file}",
    "distilled-measures": "results/distilled/{teacher}/{student}/{task}/"
    "{variant}.parquet",
    "heads": "results/heads/{model}/{task}.parquet",
    "verified": "results/verified/{model}/{task}/{edge_method}.parquet",
    "edge-faithfulness": "results/faithfulness/edges/{target}/{task}/"
    "{edge_method}.parquet",
    "learned-faithfulness": "results/faithfulness/edges/{target}/{task}/"
    "{learned_method}.parquet",
    "sized-faithfulness": "results/faithfulness/sizes/{target}/{task}.parquet",
    "weight-measures": "results/faithfulness/weights/{target}/{task}.parquet",
    "random-edges": "results/faithfulness/edges/{target}/{task}/random.parquet",
    "lifted": "results/faithfulness/lifted/{target}/{task}/{method}.parquet",
    "aligned": "results/faithfulness/aligned/{source}/{target}/{task}/{method}.parquet",
    "aligned-edges": "results/faithfulness/aligned-edges/{source}/{target}/{task}/"
    "{edge_method}.parquet",
    "imported": "results/faithfulness/imported/{target}/{task}/{circuit}.parquet",
    "projections": "results/projections/{source}/{target}/{task}/{method}.parquet",
    "edge-projections": "results/edge-projections/{source}/{target}/{task}/"
    "{edge_method}.parquet",
    "edge-importances": "results/mib/{edge_method}/{task}_{model}/importances.{suffix}",
    "importances": "results/mib/{method}/{task}_{model}/importances.{suffix}",
    "sensitivity": "results/sensitivity/{source}/{target}/{method}/{setting}.parquet",
    "convergence": "results/convergence/{model}/{task}/{method}.parquet",
    "ratios": "results/measurements/{benchmark}/ratios.parquet",
    "scaling": "results/measurements/{benchmark}/scaling.parquet",
    "summary": "results/summary.html",
    "cpr": "results/tables/cpr.parquet",
    "edge-cpr": "results/tables/edge-cpr.parquet",
    "edge-statistics": "results/tables/edge-statistics.parquet",
    "edge-curve-intervals": "results/tables/edge-curve-intervals.parquet",
    "head-survival": "results/tables/head-survival/{model}.parquet",
    "distillation-statistics": "results/tables/distillation/{teacher}/"
    "{student}.parquet",
    "method-statistics": "results/tables/methods/{target}.parquet",
    "curves": "results/tables/curves.parquet",
    "curve-intervals": "results/tables/curve-intervals.parquet",
    "statistics": "results/tables/statistics.parquet",
    "correlations": "results/tables/correlations.parquet",
    "source-use": "results/tables/source-use.parquet",
    "break-even": "results/tables/break-even.parquet",
    "stability": "results/tables/stability/{source}/{target}/{method}.{suffix}",
    "planted": "results/tables/planted.parquet",
    "cost-estimate": "results/tables/cost-estimate.{suffix}",
    "cost-schedule": "results/tables/cost-schedule.{suffix}",
}

LOGS, BENCHMARKS = "results/logs", "results/benchmarks"

_PAIR = "{source}/{target}"
_FIT = "{source}/{target}/{method}"
# By rule, the wildcards that distinguish its jobs, in the order of their folders.
JOBS = {
    "write_prompts": "{task}/{split}",
    "join_prompts": "{task}",
    "train_model": "{model}",
    "plant_model": "{model}",
    "download_model": "{model}",
    "convert_gguf": "{model}",
    "describe_model": "{model}",
    "tokenize_pairs": "{model}/{task}/{split}",
    "join_pairs": "{model}/{task}",
    "measure_baseline": "{model}/{task}",
    "attribute_nodes": "{model}/{task}/{method}",
    "attribute_edges": "{model}/{task}/{edge_method}",
    "learn_edges": "{model}/{task}/{learned_method}",
    "learn_resampled": "{model}/{task}/{learned_method}/{resample}",
    "verify_edges": "{model}/{task}/{edge_method}",
    "find_heads": "{model}/{task}",
    "find_critical_heads": "{model}/{task}",
    "match_heads": "{teacher}/{student}/{task}/{matching}",
    "distil_student": "{teacher}/{student}/{task}/{variant}/{seed}",
    "evaluate_student": "{teacher}/{student}/{task}/{variant}",
    "fit_alignment": "{source}/{target}/{method}/{training_set}",
    "fit_free_mask": "{target}/{task}",
    "stitch_alignment": "{source}/{target}/{task}",
    "carry_gradients": "{source}/{target}/{task}/{method}",
    "fit_edge_alignment": "{source}/{target}/{edge_method}/{training_set}",
    "stitch_edges": "{source}/{target}/{task}",
    "evaluate_gold": "{target}/{task}/{method}",
    "evaluate_random": "{target}/{task}",
    "evaluate_edges": "{target}/{task}/{edge_method}",
    "evaluate_learned": "{target}/{task}/{learned_method}",
    "evaluate_at_sizes": "{target}/{task}",
    "evaluate_weights": "{target}/{task}",
    "evaluate_random_edges": "{target}/{task}",
    "evaluate_lifted": "{target}/{task}/{method}",
    "evaluate_aligned": "{source}/{target}/{task}/{method}",
    "evaluate_aligned_edges": "{source}/{target}/{task}/{edge_method}",
    "evaluate_imported": "{target}/{task}/{circuit}",
    "export_mib": "{model}/{task}/{method}",
    "export_mib_edges": "{model}/{task}/{edge_method}",
    "vary_setting": "{source}/{target}/{method}/{setting}",
    "compare_steps": "{model}/{task}/{method}",
    "measure_benchmark": "{benchmark}",
    "measure_scaling": "{benchmark}",
    "score_planted": "",
    "correlate_scores": "",
    "estimate_cost": "",
    "write_summary": "",
    "summarise_faithfulness": "",
    "summarise_statistics": "",
    "summarise_models": "",
    "summarise_imported": "",
    "summarise_costs": "",
    "summarise_sensitivity": "",
    "summarise_training_families": "",
    "summarise_convergence": "",
    "summarise_benchmark": "",
    "summarise_startup": "",
    "summarise_edges": "",
    "summarise_edge_circuits": "{target}",
    "summarise_methods": "{target}",
    "summarise_weights": "{target}",
    "summarise_head_survival": "{model}",
    "summarise_distillation": "{teacher}/{student}",
    "summarise_matched_heads": "{teacher}/{student}",
    "correlate_edges": "{model}",
    "resample_edges": "{model}",
    "summarise_gold": "{target}",
    "summarise_top_nodes": "{model}",
    "summarise_top_edges": "{model}",
    "summarise_scaling": "{task}",
    "summarise_maps": _PAIR,
    "summarise_tests": _PAIR,
    "summarise_levels": _PAIR,
    "summarise_source_use": "",
    "summarise_leaderboard": _PAIR,
    "summarise_controls": _PAIR,
    "plot_curves_by_pair": "",
    "plot_recovery": "",
    "plot_task_correlation": "{model}",
    "plot_transfer_matrix": _PAIR,
    "plot_controls": _PAIR,
    "plot_maps": _PAIR,
    "plot_source_use": "{method}",
    "plot_source_use_by_similarity": "{method}",
    "plot_completeness": _PAIR,
    "plot_correlations": _PAIR,
    "plot_break_even": _PAIR,
    "plot_curves_by_task": _FIT,
    "plot_gold_curves_by_task": "{target}/{method}",
    "plot_edge_curves": "{target}/{edge_method}",
    "plot_node_map": _FIT,
    "plot_gold_node_map": "{target}/{method}",
    "plot_circuit": "{model}/{task}/{edge_method}/{n}",
    "plot_transferred_circuits": "{source}/{target}/{task}/{edge_method}/{n}",
    "plot_edge_map": "{model}/{edge_method}",
    "plot_alignment_matrix": _FIT,
    "plot_methods": "{target}",
    "plot_head_survival": "{model}",
    "plot_learning_curves": "{model}",
    "plot_distillation": "{teacher}/{student}",
    "plot_matched_heads": "{teacher}/{student}",
    "plot_losses": _FIT,
    "plot_stability": _FIT,
    "plot_sensitivity": "{source}/{target}/{method}/{setting}",
    "plot_training_families": "",
    "plot_convergence": "{model}",
    "plot_benchmark": "{benchmark}",
    "plot_benchmark_scaling": "{benchmark}",
}


@dataclass(frozen=True)
class Job:
    """The files that belong to a job in addition to its outputs.

    Attributes:
        name: its rule, then its wildcards, as in the paths of its files.
    """

    name: str

    @property
    def log(self) -> str:
        """The messages of the job."""
        return f"{LOGS}/{self.name}.log"

    @property
    def benchmark(self) -> str:
        """The time and memory that Snakemake measures."""
        return f"{BENCHMARKS}/{self.name}.tsv"

    @property
    def cost(self) -> str:
        """The passes that the job counts itself."""
        return f"results/costs/{self.name}.json"

    @property
    def state(self) -> str:
        """The folder of the partial progress that the job resumes from."""
        return f"results/resume/{self.name}"


def path(name: str, **values: str) -> str:
    """Return a path pattern with some of its wildcards filled in.

    Args:
        name: of the pattern.
        values: by wildcard; another wildcard in braces renames it.
    """
    return filled(PATTERNS[name], values)


def paths(name: str, **values: str | Sequence[str | int]) -> list[str]:
    """Return the paths for every combination of values; other wildcards stay.

    Args:
        name: of the pattern.
        values: by wildcard one or several; those of the last wildcard change fastest.
    """
    return expanded(PATTERNS[name], **values)


def job(rule: str, **values: str) -> Job:
    """Return the files of a rule's jobs, with some of their wildcards filled in."""
    return Job(filled(f"{rule}/{JOBS[rule]}".removesuffix("/"), values))


def jobs(rule: str, **values: str | Sequence[str]) -> list[Job]:
    """Return the files of a rule's jobs for every combination of values."""
    return [Job(name) for name in expanded(job(rule).name, **values)]


def expanded(pattern: str, **values: str | Sequence[str | int]) -> list[str]:
    """Return a pattern for every combination of values; see `paths`."""
    lists = [[each] if isinstance(each, str) else each for each in values.values()]
    combined = (dict(zip(values, each, strict=True)) for each in product(*lists))
    return [filled(pattern, each) for each in combined]


def filled(pattern: str, values: Mapping[str, str | int]) -> str:
    """Return a pattern with values in place of their wildcards; others stay.

    Raises:
        ValueError: the pattern has no such wildcard.
    """
    if unknown := values.keys() - set(wildcards(pattern)):
        raise ValueError(f"no wildcard {min(unknown)!r} in {pattern}")
    return pattern.format_map(_Filled(values))


@cache
def wildcards(pattern: str) -> tuple[str, ...]:
    """Return the names of a pattern's wildcards in their order."""
    return tuple(re.findall(r"{(\w+)}", pattern))


class _Filled(dict):
    """Values by wildcard; a wildcard without one stays as it is."""

    def __missing__(self, name: str) -> str:
        return f"{{{name}}}"
