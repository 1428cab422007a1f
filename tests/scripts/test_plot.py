"""The stages that draw: files in, whole figures out."""

import numpy as np
import pytest
import synthetic_study as study
from matplotlib.image import imread
from plot_alignment_matrix import plot_alignment_matrix
from plot_completeness import plot_completeness
from plot_controls import plot_controls
from plot_curves_by_pair import plot_curves_by_pair
from plot_curves_by_task import plot_curves_by_task
from plot_gold_node_map import plot_gold_node_map
from plot_losses import plot_losses
from plot_maps import plot_maps
from plot_node_map import plot_node_map
from plot_recovery import plot_recovery
from plot_task_correlation import plot_task_correlation
from plot_transfer_matrix import plot_transfer_matrix

from circuit_transfer.artifacts.alignments import write_alignment
from circuit_transfer.artifacts.frames import write_frame
from circuit_transfer.artifacts.scores import write_scores
from circuit_transfer.models.nodes import node_names

MODELS = {"source": study.SOURCE, "target": study.TARGET}
PAIR = MODELS | {"map_name": "free"}
SOURCE_NODES, TARGET_NODES = node_names(2, 2), node_names(3, 4)


@pytest.fixture(scope="module")
def study_folder(tmp_path_factory):
    """A folder with all that the figures of a small study are drawn from."""
    folder = tmp_path_factory.mktemp("study")
    curves, cpr = study.summary()
    statistics, intervals = study.statistics()
    write_frame(curves, folder / "curves.parquet")
    write_frame(cpr, folder / "cpr.parquet")
    write_frame(statistics, folder / "statistics.parquet")
    write_frame(intervals, folder / "curve-intervals.parquet")
    random = np.random.default_rng(0)
    for model, names in (("source", SOURCE_NODES), ("target", TARGET_NODES)):
        for task in study.TASKS:
            path = folder / model / f"{task}.safetensors"
            labels = {"model": model, "task": task, "method": "nap"}
            write_scores(path, random.normal(size=len(names)), nodes=names, **labels)
    for training_set in ("all", "only-ioi", "without-ioi"):
        tensors = {
            "alignment": random.normal(size=(len(SOURCE_NODES), len(TARGET_NODES))),
            "loss": np.linspace(2, 1, 20),
            "kl": np.linspace(1.9, 0.9, 20),
        }
        metadata = {
            "source_nodes": SOURCE_NODES,
            "target_nodes": TARGET_NODES,
            "training_set": training_set,
            "maps": ["free"],
            "transform": "max",
            "seed": 0,
        }
        path = folder / "alignments" / f"{training_set}.safetensors"
        write_alignment(path, tensors, metadata)
    return folder


def scores_of(folder, model):
    return [folder / model / f"{task}.safetensors" for task in study.TASKS]


def alignments_of(folder):
    return sorted((folder / "alignments").iterdir())


ABLATION = {"ablation": "counterfactual"}


def draw_curves_by_pair(folder, paths):
    plot_curves_by_pair(
        curves_path=folder / "curve-intervals.parquet",
        statistics_path=folder / "statistics.parquet",
        figure_paths=paths,
        transfers=[MODELS],
        maps=study.by_method(),
        **ABLATION,
    )


def draw_curves_by_task(folder, paths):
    plot_curves_by_task(
        curves_path=folder / "curve-intervals.parquet",
        statistics_path=folder / "statistics.parquet",
        figure_paths=paths,
        **PAIR,
        method="nap",
        tasks=study.TASKS,
        **ABLATION,
    )


def draw_completeness(folder, paths):
    plot_completeness(
        curves_path=folder / "curves.parquet",
        figure_paths=paths,
        **MODELS,
        maps=study.by_method(),
        families=study.FAMILIES,
        **ABLATION,
    )


def draw_recovery(folder, paths):
    plot_recovery(
        statistics_path=folder / "statistics.parquet",
        figure_paths=paths,
        transfers=[MODELS],
        maps=study.by_method(),
        **ABLATION,
    )


def draw_transfer_matrix(folder, paths):
    plot_transfer_matrix(
        cpr_path=folder / "cpr.parquet",
        figure_paths=paths,
        **MODELS,
        maps=study.by_method(),
        tasks=study.TASKS,
        families=study.FAMILIES,
        **ABLATION,
    )


def draw_controls(folder, paths):
    plot_controls(
        statistics_path=folder / "statistics.parquet",
        figure_paths=paths,
        **MODELS,
        maps=study.by_method(),
        controls=study.by_method(study.CONTROLS),
        **ABLATION,
    )


def draw_maps(folder, paths):
    plot_maps(
        statistics_path=folder / "statistics.parquet",
        figure_paths=paths,
        source=MODELS["source"],
        target=MODELS["target"],
        maps=study.by_method(study.MAPS, study.METHODS),
        **ABLATION,
    )


def draw_task_correlation(folder, paths):
    scores = scores_of(folder, "target")
    lists = {"methods": ["nap"], "tasks": study.TASKS}
    plot_task_correlation(scores, [], paths, model="target", **lists)


def draw_gold_node_map(folder, paths):
    scores = scores_of(folder, "target")
    plot_gold_node_map(scores, paths, target="target", method="nap", tasks=study.TASKS)


def draw_node_map(folder, paths):
    plot_node_map(
        scores_of(folder, "source"),
        scores_of(folder, "target"),
        alignments_of(folder),
        paths,
        **MODELS,
        method="nap",
        tasks=study.TASKS,
    )


def draw_alignment_matrix(folder, paths):
    path = folder / "alignments" / "all.safetensors"
    plot_alignment_matrix(path, paths, **MODELS, method="nap")


def draw_losses(folder, paths):
    plot_losses(alignments_of(folder), paths, **MODELS, method="nap")


@pytest.mark.parametrize(
    "draw",
    [
        draw_alignment_matrix,
        draw_completeness,
        draw_controls,
        draw_maps,
        draw_curves_by_pair,
        draw_curves_by_task,
        draw_gold_node_map,
        draw_losses,
        draw_node_map,
        draw_recovery,
        draw_task_correlation,
        draw_transfer_matrix,
    ],
)
def test_figures_are_whole(draw, study_folder, tmp_path):
    pdf, png = tmp_path / "figure.pdf", tmp_path / "figure.png"
    draw(study_folder, [pdf, png])
    assert pdf.read_bytes().startswith(b"%PDF")
    pixels = imread(png)[..., :3]
    assert pixels.std() > 0.02
    # Something that was cut off would reach the edge of the image.
    border = [pixels[0], pixels[-1], pixels[:, 0], pixels[:, -1]]
    assert all((edge == 1).all() for edge in border)
    assert sorted(path.name for path in tmp_path.iterdir()) == [
        "figure.pdf",
        "figure.png",
    ]


def test_a_node_map_refuses_an_alignment_of_another_source(study_folder, tmp_path):
    with pytest.raises(ValueError, match="do not fit the alignment's 6 source nodes"):
        plot_node_map(
            scores_of(study_folder, "target"),
            scores_of(study_folder, "target"),
            alignments_of(study_folder),
            [tmp_path / "figure.png"],
            **MODELS,
            method="nap",
            tasks=study.TASKS,
        )
