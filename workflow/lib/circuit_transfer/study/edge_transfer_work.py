"""The jobs of a study that transfer scores of edges, counted from its configuration."""

from collections.abc import Iterator, Mapping
from dataclasses import replace
from itertools import product
from math import ceil

from circuit_transfer.circuits.methods import Nodes
from circuit_transfer.models.shape import FLOAT32_BYTES
from circuit_transfer.study.edge_transfers import (
    edge_controls,
    edge_maps,
    edge_transfers,
    trained_edge_controls,
)
from circuit_transfer.study.edge_work import measured_edges
from circuit_transfer.study.rankings import count_edge_rankings
from circuit_transfer.study.work import (
    EdgeWork,
    Work,
    available,
    in_a_pass,
    with_comparisons,
)
from circuit_transfer.transfer.edge_controls import EDGE_TARGET_ONLY
from circuit_transfer.transfer.maps import STITCHED, TRAINED_MAPS, fits, fitted_maps
from circuit_transfer.transfer.training_sets import (
    study_families,
    training_sets,
    training_tasks,
)


def edge_transfer_work(config: Mapping, nodes: Mapping[str, Nodes]) -> Iterator[Work]:
    """Yield the jobs that transfer scores of edges; arguments as in `study_work`."""
    if edge_transfers(config):
        yield from _fits(config, nodes)
        yield from _stitched(config, nodes)
        yield from _evaluations(config, nodes)


def _fits(config: Mapping, nodes: Mapping[str, Nodes]) -> Iterator[Work]:
    study, settings = config["study"], config["alignment"]["edges"]
    families = study_families(study["tasks"], study["families"])
    sets = training_sets(study["tasks"], families)
    kv, seeds = config["attribution"]["kv"], len(study["seeds"])
    main, *compared = edge_maps(config)
    every = product(study["transfers"], edge_transfers(config), sets)
    for pair, _, training_set in every:
        tasks = training_tasks(training_set, study["tasks"], families)
        share = ceil(settings["examples"] / len(tasks))
        maps = fitted_maps(training_set, main, compared)
        controls = trained_edge_controls(training_set, edge_controls(config))
        fitted = fits(maps, controls)
        trained = sum(each in TRAINED_MAPS for each, _ in fitted)
        source, target = nodes[pair["source"]], nodes[pair["target"]]
        of_map = _map_numbers(source, target)
        # Of trained maps, what training starts from too.
        written = len(fitted) + sum(each in TRAINED_MAPS for each in maps)
        of_target = Work(
            stage="fit_edge_alignment",
            model=pair["target"],
            pairs={task: available(config, task, "train", share) for task in tasks},
            forwards=2,
            forward_backwards=settings["epochs"] * seeds * trained,
            batch_size=in_a_pass(settings),
            copies=0,
            # Of both runs; the divergence takes as many again.
            logits=4,
            holds_all=True,
            written_bytes=seeds * written * of_map * FLOAT32_BYTES,
            # Those of all seeds, maps and controls share passes.
            circuits=max(1, seeds * trained),
            splits=True,
            edges=EdgeWork(kv, target.edges, 1, cached=2),
            learned=seeds * trained * of_map,
        )
        yield from with_comparisons(of_target, pair["source"], maps, config)


def _map_numbers(source: Nodes, target: Nodes) -> int:
    """Return how many numbers a map has: a matrix of writers and one of readers."""
    writers = (source.count + 1) * (target.count + 1)
    return writers + source.readers * target.readers


def _stitched(config: Mapping, nodes: Mapping[str, Nodes]) -> Iterator[Work]:
    """Yield the jobs that stitch two models; the source runs next to the target."""
    study, settings = config["study"], config["attribution"]
    wanted = study["tasks"] if STITCHED in edge_maps(config) else []
    for pair, task in product(study["transfers"], wanted):
        source, target = nodes[pair["source"]], nodes[pair["target"]]
        numbers = _map_numbers(source, target) + len(EDGE_TARGET_ONLY) * target.edges
        of_target = Work(
            stage="stitch_edges",
            model=pair["target"],
            pairs={task: available(config, task, "train", settings["examples"])},
            # Clean and corrupted.
            forwards=2,
            forward_backwards=0,
            batch_size=in_a_pass(settings),
            # As for nodes, and the stream of both runs besides, twice.
            copies=10,
            logits=2,
            holds_all=True,
            written_bytes=numbers * FLOAT32_BYTES,
        )
        yield of_target
        yield replace(of_target, model=pair["source"], written_bytes=0, beside=True)


def _evaluations(config: Mapping, nodes: Mapping[str, Nodes]) -> Iterator[Work]:
    study, sizes = config["study"], config["evaluation"]["proportions"]
    for task in study["tasks"]:
        # They are the same for every pair and method.
        rankings = [(sum(count_edge_rankings(task, config)), sizes)]
        for pair, _ in product(study["transfers"], edge_transfers(config)):
            target = pair["target"]
            how = (target, task, rankings, config, nodes[target])
            yield measured_edges("evaluate_aligned_edges", *how)
