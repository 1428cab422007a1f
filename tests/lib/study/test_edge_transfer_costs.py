"""What a transfer of edge scores costs, estimated before it runs, beside what runs."""

from contextlib import contextmanager
from pathlib import Path

import numpy as np
import polars as pl
import pytest
import yaml

from circuit_transfer.artifacts.alignments import tensor_name
from circuit_transfer.artifacts.edge_alignments import write_edge_alignment
from circuit_transfer.benchmarking.measure import peak_memory
from circuit_transfer.circuits.passes import measured
from circuit_transfer.circuits.prepared_edges import prepare_tasks
from circuit_transfer.models.edges import config_graph
from circuit_transfer.models.shape import model_shape
from circuit_transfer.prompts.batches import pair_batches
from circuit_transfer.study.costs import nodes_of, work_memory
from circuit_transfer.study.edge_transfer_work import edge_transfer_work
from circuit_transfer.study.edge_transfers import trained_edge_controls
from circuit_transfer.study.rankings import count_edge_rankings
from circuit_transfer.study.study import Study
from circuit_transfer.study.validation import validate_config
from circuit_transfer.transfer.changes import run_both
from circuit_transfer.transfer.cka import node_changes, node_outputs
from circuit_transfer.transfer.edge_alignment import fit_edge_maps
from circuit_transfer.transfer.edge_reads import run_reads
from circuit_transfer.transfer.edge_stitching import stitched_edges
from circuit_transfer.transfer.maps import fits, fitted_maps
from circuit_transfer.transfer.objectives import FitSettings
from circuit_transfer.transfer.shared_prompts import shorten_both
from circuit_transfer.transfer.training_sets import training_sets, training_tasks

ROOT = Path(__file__).parents[3]
TASKS, SEEDS = ["ioi", "mcqa", "arc-easy"], [0, 1]
FAMILIES = {"ioi": ["ioi"], "choice": ["mcqa", "arc-easy"]}
SETS = training_sets(TASKS, FAMILIES)
MAPS = ["free", "depth-prior", "cka-prior", "matched", "stitched", "lifted-free"]
EXAMPLES, TOKENS = 7, dict.fromkeys(TASKS, 5)
EDGES = {"methods": ["eap"], "map": "prior-residual", "compare": MAPS, "nodes": "nap"}
EDGES |= {"epochs": 2, "examples": EXAMPLES, "batch_size": 2}


def study(**edges):
    """The default study of three tasks with scores of edges transferred."""
    config = yaml.safe_load((ROOT / "config.yaml").read_text())
    config["study"] |= {"tasks": TASKS, "seeds": SEEDS, "edge_methods": ["eap"]}
    config["study"] |= {"families": FAMILIES, "siblings": []}
    config["alignment"]["edges"] = EDGES | edges
    config["attribution"] |= {"examples": EXAMPLES, "batch_size": 4}
    validate_config(config, ROOT / "workflow/schemas/config.schema.yaml")
    return Study(config).config


def jobs(models, config):
    """Return the work of every stage, that on the source beside it."""
    names = ("llama-small", "llama-medium")
    shapes = {n: model_shape(m.config) for n, m in zip(names, models, strict=True)}
    found = {}
    for work in edge_transfer_work(config, nodes_of(config, shapes)):
        found.setdefault((work.stage, work.beside), []).append(work)
    return found


@pytest.fixture
def models(tiny_model):
    made = (tiny_model("llama", layers=layers) for layers in (1, 2))
    return [each.requires_grad_(False) for each in made]


@contextmanager
def passes(model, found):
    """Count how often a model runs a prompt, without and with a gradient."""
    with measured("all", "m", model) as cost:
        yield
    found += [cost["forwards"], cost["forward_backwards"]]


def fit(models, tasks, parts, maps, controls, seeds=SEEDS):
    """Fit maps of edges as the stage does, whatever the scores."""
    source, target = models
    graphs = tuple(config_graph(each.config) for each in models)
    generator = np.random.default_rng(0)
    sources = {task: generator.random(graphs[0].n_edges, np.float32) for task in tasks}
    shape = [len(graph.writers) - 1 for graph in graphs]
    prior = generator.random(shape, np.float32)
    return fit_edge_maps(
        target,
        prepare_tasks(target, parts, graphs[1]),
        sources,
        FitSettings(epochs=2, learning_rate=0.1, sparsity=0.1),
        fits(maps, controls),
        graphs=graphs,
        seeds=seeds,
        priors={name: prior for name in maps if name != "free"},
    )


def unshared(tiny_pairs, examples):
    """Return pairs of equally many tokens that share no first one."""
    pairs = tiny_pairs(4 * examples, shared=0)
    return pairs.filter(pl.col("clean_ids").list.len() == 5).head(examples)


@pytest.mark.parametrize("training_set", SETS)
def test_passes_of_fits_are_those_that_run(models, tiny_pairs, training_set):
    config = study()
    found = jobs(models, config)
    index = SETS.index(training_set)
    work = found["fit_edge_alignment", False][index]
    beside = found["fit_edge_alignment", True][index]
    tasks = training_tasks(training_set, TASKS, FAMILIES)
    assert list(work.pairs) == list(beside.pairs) == tasks
    assert EXAMPLES <= sum(work.pairs.values()) < EXAMPLES + len(tasks)
    parts = {
        task: pair_batches(unshared(tiny_pairs, work.pairs[task]), 2) for task in tasks
    }
    maps = fitted_maps(training_set, "prior-residual", MAPS)
    controls = trained_edge_controls(training_set, Study(config).edge_controls)
    ran = []
    with passes(models[1], ran):
        batches = [each for part in parts.values() for each in part]
        # By the similarity that residual maps begin with, and where both are compared.
        node_outputs(models[1], [each.clean for each in batches], slice(None))
        if "matched" in maps:
            node_changes(models[1], [(each, each.clean >= 0) for each in batches])
        fit(models, tasks, parts, maps, controls)
    pairs = sum(work.pairs.values())
    counted = [pairs * each for each in (work.forwards, work.forward_backwards)]
    assert ran == counted
    compared = 3 if "matched" in maps else 1
    assert (beside.forwards, beside.forward_backwards) == (compared, 0)


def test_maps_without_similarity_run_the_target_alone(models):
    found = jobs(models, study(map="depth-prior", compare=["free"]))
    assert ("fit_edge_alignment", True) not in found
    assert ("stitch_edges", False) not in found
    trained = [each.forward_backwards for each in found["fit_edge_alignment", False]]
    # With three controls; of one seed and epoch each.
    zero_shot = ["without" in name for name in SETS]
    assert trained == [2 * len(SEEDS) * 4 * each for each in zero_shot]


def test_memory_of_fits_is_bounded_from_above(tiny_model, tiny_pairs):
    large = {"layers": 6, "intermediate_size": 128}
    models = [tiny_model("llama", layers=1), tiny_model("llama", **large)]
    models = [each.requires_grad_(False) for each in models]
    config = study(batch_size=16, examples=16, compare=[])
    work = jobs(models, config)["fit_edge_alignment", False][0]
    parts = {"ioi": pair_batches(unshared(tiny_pairs, 16), 16)}
    how = (["prior-residual"], [])
    found = peak_memory(lambda: fit(models, ["ioi"], parts, *how), models[1].device)
    shape = model_shape(models[1].config)
    estimate = work_memory(work, shape, TOKENS) - shape.weight_bytes
    assert found < estimate < 3 * found


def test_written_bytes_are_those_of_the_files(models, tmp_path):
    config = study()
    work = jobs(models, config)["fit_edge_alignment", False]
    graphs = tuple(config_graph(each.config) for each in models)
    shapes = {
        ends: [len(getattr(graph, ends)) for graph in graphs]
        for ends in ("writers", "readers")
    }
    for name, each in zip(SETS, work, strict=True):
        maps = fitted_maps(name, "prior-residual", MAPS)
        controls = trained_edge_controls(name, Study(config).edge_controls)
        tensors = {}
        for kind, of_map in (("", "none"), ("initial_", None)):
            for one in fits(maps, controls if of_map else []):
                if of_map or one[0] in ("prior-residual", "free"):
                    for ends, shape in shapes.items():
                        key = tensor_name(f"{kind}{ends}", *one, maps)
                        tensors[key] = np.zeros(shape, np.float32)
        write_edge_alignment(tmp_path / name, tensors, {"maps": maps})
        size = len(SEEDS) * (tmp_path / name).stat().st_size
        # Without names of tensors, which are long for so few numbers.
        numbers = sum(each.nbytes for each in tensors.values())
        assert each.written_bytes == len(SEEDS) * numbers < size


def test_passes_of_stitching_are_those_that_run(models, tiny_pairs):
    found = jobs(models, study())
    batches = pair_batches(tiny_pairs(EXAMPLES), 4)
    ran = [], []
    with passes(models[0], ran[0]), passes(models[1], ran[1]):
        prompts = shorten_both(*models, [(each, each) for each in batches])
        graphs = tuple(config_graph(each.config) for each in models)
        stitched_edges(tuple(models), graphs, run_both(*models, prompts, run_reads))
    for passed, beside in zip(ran, (True, False), strict=True):
        work = found["stitch_edges", beside][0]
        assert work.pairs == {"ioi": EXAMPLES}
        assert passed == [EXAMPLES * work.forwards, 0]


# Of `ioi`, a family by itself: trained on every task, on the others, and on all. The
# main map has two seeds each; others, `free` and what is lifted of it with two seeds
# too, are compared without the task. Complements are measured of the main map alone.
MAIN = 5 * 2
ALONE = MAIN + 2 + 3 + 1 + 2
ADDED = {
    # Without the task alone, as what is trained with it has no controls.
    "random-effective": 3,
    # By two trained maps of two seeds, three untrained ones, stitched and lifted.
    "source-free": 2 * 2 + 3 + 1 + 2,
    "random-source": 2 * (2 + 3 + 1 + 1),
    "degree-source": 2 * 2 + 3 + 1,
    "scrambled-source": 2,
    "random-alignment": 2,
    "depth-heuristic": 1,
    "mean-gold": 1,
    "edge-changes": 1,
    "free-mask": 2,
}


@pytest.mark.parametrize("control", ADDED)
def test_rankings_are_counted_by_maps_seeds_and_controls(control):
    assert count_edge_rankings("ioi", study(controls=[])) == (ALONE, MAIN)
    config = study(controls=[control])
    assert count_edge_rankings("ioi", config) == (ALONE + ADDED[control], MAIN)


def test_circuits_of_another_family_are_measured_under_both_protocols():
    # Once more without the family: main and `free`, three untrained ones, stitched.
    one_more = 2 + 2 + 3 + 1 + 2
    expected = (ALONE + one_more, MAIN + 2)
    assert count_edge_rankings("mcqa", study(controls=[])) == expected


def test_every_ranking_is_measured_at_every_size(models):
    config = study()
    work = jobs(models, config)["evaluate_aligned_edges", False]
    assert [list(each.pairs) for each in work] == [[task] for task in TASKS]
    edges = config_graph(models[1].config).n_edges
    kept = {int(each * edges) for each in config["evaluation"]["proportions"]}
    for each in work:
        rankings = sum(count_edge_rankings(*each.pairs, config))
        # The empty circuit, the whole model, and the corrupted prompts.
        assert each.forwards == rankings * len(kept - {0, edges}) + 3
