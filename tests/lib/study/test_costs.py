from contextlib import contextmanager
from dataclasses import replace
from itertools import product
from pathlib import Path

import numpy as np
import polars as pl
import pytest
import torch
from torch.autograd.graph import saved_tensors_hooks
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils.flop_counter import flop_registry
from transformers import AutoConfig

from circuit_transfer.artifacts.alignments import write_alignment
from circuit_transfer.circuits.attribution import attribute, attribute_by_steps
from circuit_transfer.circuits.baseline import measure_baseline
from circuit_transfer.circuits.faithfulness import evaluate_ablations, evaluate_circuits
from circuit_transfer.circuits.masked_runs import masked_logits
from circuit_transfer.circuits.methods import Nodes, method_passes, node_methods
from circuit_transfer.circuits.passes import measured
from circuit_transfer.circuits.prepared import prepare
from circuit_transfer.interventions import answer_logits, captured
from circuit_transfer.models.architectures import node_sites
from circuit_transfer.models.nodes import node_names
from circuit_transfer.models.shape import model_shape
from circuit_transfer.prompts.batches import pair_batches
from circuit_transfer.study.costs import (
    BYTES_PER_SECOND,
    STARTING_SECONDS,
    estimate,
    makespan,
    pass_counts,
    schedule,
    work_flops,
    work_memory,
)
from circuit_transfer.study.rankings import count_circuits, count_rankings
from circuit_transfer.study.work import prompt_tokens
from circuit_transfer.study.workload import study_work
from circuit_transfer.tables.costs import COST_SCHEMA, with_flops
from circuit_transfer.transfer.alignment import fit_maps
from circuit_transfer.transfer.carried_gradients import carried_scores, stream_gradients
from circuit_transfer.transfer.changes import run_both
from circuit_transfer.transfer.cka import node_changes, node_outputs
from circuit_transfer.transfer.controls import CONTROLS, TARGET_ONLY, trained_controls
from circuit_transfer.transfer.gradient_controls import other_gradients
from circuit_transfer.transfer.maps import fits, fitted_maps
from circuit_transfer.transfer.objectives import FitSettings
from circuit_transfer.transfer.shared_prompts import shorten_both
from circuit_transfer.transfer.stitching import stitched_alignment
from circuit_transfer.transfer.training_sets import (
    leaves_out,
    training_sets,
    training_tasks,
)

ROOT = Path(__file__).parents[3]
# What the model cards say; nodes as in the DFA paper, where it has the model.
PUBLISHED = {
    "meta-llama/Llama-3.2-1B": (1_235_814_400, 528),
    "meta-llama/Llama-3.2-3B": (3_212_749_824, 700),
    "meta-llama/Llama-3.1-8B": (8_030_261_248, 1056),
    "Qwen/Qwen2.5-0.5B": (494_032_768, 360),
    "Qwen/Qwen2.5-1.5B": (1_543_714_304, 364),
    "Qwen/Qwen2.5-3B": (3_085_938_688, 612),
    "openai-community/gpt2": (124_439_808, 156),
    "openai-community/gpt2-medium": (354_823_168, 408),
    "openai-community/gpt2-large": (774_030_080, 756),
}
METHODS = node_methods()
TASKS = ["a", "b", "c"]
FAMILIES = {"first": ["a", "b"]}
MAPS = ["free", "depth-prior", "cka-prior", "prior-residual"]
TOKENS = {"a": 5, "b": 5, "c": 5}
SEEDS = [0, 1]
EXAMPLES = 7
LATER = ("fit_alignment", "evaluate_gold", "evaluate_aligned")
CONFIG = {
    "study": {
        "tasks": TASKS,
        "methods": list(METHODS),
        "edge_methods": [],
        "transfers": [{"source": "small", "target": "large"}],
        "models": [],
        "seeds": SEEDS,
        "families": FAMILIES,
    },
    "models": {"small": {"path": "small"}, "large": {"hub": "owner/large"}},
    "tasks": {task: {"file": f"{task}.csv"} for task in TASKS},
    "attribution": {
        "ig_steps": 3,
        "examples": EXAMPLES,
        "batch_size": 4,
        "ablation": "counterfactual",
        "kv": "query-head",
        "verify": 0,
    },
    "sensitivity": {},
    "alignment": {
        "map": "free",
        "compare": [*MAPS[1:], "stitched", "carried-gradients"],
        "prior": {"correspondence": "cka"},
        "edges": {"methods": []},
        "objective": "divergence",
        "transform": "max",
        "intervention": "circuit",
        "epochs": 2,
        "batch_size": 2,
        "examples": EXAMPLES,
        "controls": list(CONTROLS),
    },
    "evaluation": {
        "proportions": [0.05, 0.3, 0.32, 0.6, 1.0],
        "examples": EXAMPLES,
        "batch_size": 4,
        "random_rankings": 4,
        "ablations": ["counterfactual"],
        "circuits": {},
        "heads": {},
    },
}


@contextmanager
def counted(model):
    """Count the prompts that run through a model: forwards alone, and with backward."""
    passes = {"forward": 0, "backward": 0}

    def count_forward(_module, _args, output):
        logits = output.logits
        passes["forward"] += len(logits)
        if logits.requires_grad:
            logits.register_hook(count_backward)

    def count_backward(gradient):
        passes["backward"] += len(gradient)

    hook = model.register_forward_hook(count_forward)
    yield passes
    hook.remove()
    passes["forward"] -= passes["backward"]


class Flops(TorchDispatchMode):
    """Count FLOPs by torch's own formulas.

    `FlopCounterMode` itself follows modules, and cannot take a gradient of their input.
    """

    total = 0

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        out = func(*args, **(kwargs or {}))
        count = flop_registry.get(func._overloadpacket)
        self.total += count(*args, **(kwargs or {}), out_val=out) if count else 0
        return out


def shape_of(model):
    return model_shape(model.config)


def study_shapes(tiny_model):
    return {
        "small": shape_of(tiny_model("llama", layers=1)),
        "large": shape_of(tiny_model("llama", layers=2)),
    }


def nodes_of(shapes):
    return {name: Nodes(s.n_nodes, 2 * s.layers) for name, s in shapes.items()}


def jobs_of(tiny_model, stage, config=CONFIG):
    work = study_work(config, nodes_of(study_shapes(tiny_model)))
    return [each for each in work if each.stage == stage]


def expected(work):
    pairs = sum(work.pairs.values())
    return {
        "forward": work.forwards * pairs,
        "backward": work.forward_backwards * pairs,
    }


@pytest.mark.parametrize("name", PUBLISHED)
def test_published_models_have_the_parameters_and_nodes_that_are_known(name):
    path = ROOT / f"data/configurations/{name}.json"
    shape = model_shape(AutoConfig.from_pretrained(path))
    assert (shape.parameters, shape.n_nodes) == PUBLISHED[name]
    assert shape.n_nodes == len(node_names(shape.layers, shape.heads))
    width = 4 if "gpt2" in name else 2
    assert shape.weight_bytes == shape.stored_bytes == width * shape.parameters


@pytest.mark.parametrize("family", ["llama", "qwen2", "gpt2"])
def test_a_skeleton_counts_as_the_model_does(tiny_model, family):
    model = tiny_model(family)
    shape = shape_of(model)
    parameters = dict(model.named_parameters())
    assert shape.parameters == sum(each.numel() for each in parameters.values())
    in_layers = [each for name, each in parameters.items() if ".0." in name]
    matrices = sum(each.numel() for each in in_layers if each.dim() == 2)
    assert shape.matrices == 2 * matrices


def test_baseline_passes_are_those_that_run(tiny_model, tiny_pairs):
    model = tiny_model("llama").requires_grad_(False)
    jobs = jobs_of(tiny_model, "measure_baseline")
    assert len(jobs) == 2 * len(TASKS)
    with counted(model) as passes:
        measure_baseline(model, pair_batches(tiny_pairs(EXAMPLES), 4))
    assert passes == expected(jobs[0])


@pytest.mark.parametrize("method", METHODS)
def test_attribution_passes_are_those_that_run(tiny_model, tiny_pairs, method):
    model = tiny_model("llama").requires_grad_(False)
    jobs = jobs_of(tiny_model, "attribute_nodes")
    assert len(jobs) == 2 * len(METHODS) * len(TASKS)
    work = next(
        job
        for job, (model_name, name, _) in zip(
            jobs, product(["small", "large"], METHODS, TASKS), strict=True
        )
        if (model_name, name) == ("large", method)
    )
    with counted(model) as passes:
        attribute(model, pair_batches(tiny_pairs(7), 4), method=method, ig_steps=3)
    assert passes == expected(work)


@pytest.mark.parametrize("method", ["nap-ig-inputs", "nap-ig-activations"])
def test_passes_of_compared_steps_are_those_that_run(tiny_model, tiny_pairs, method):
    model = tiny_model("llama").requires_grad_(False)
    study = CONFIG["study"] | {"methods": ["nap", method], "transfers": []}
    config = CONFIG | {"study": study, "sensitivity": {"ig_steps": [6, 4]}}
    (*others, work) = jobs_of(tiny_model, "compare_steps", config)
    assert len(others) + 1 == 2 * len(TASKS)
    with counted(model) as passes:
        batches = pair_batches(tiny_pairs(7), 4)
        attribute_by_steps(model, batches, method=method, counts=[3, 4, 6])
    assert passes == expected(work)


@pytest.mark.parametrize(
    "training_set", ["only-b", "without-b", "without-family-first", "all"]
)
def test_alignment_passes_are_those_that_run(tiny_model, tiny_pairs, training_set):
    model = tiny_model("llama").requires_grad_(False)
    tasks = training_tasks(training_set, TASKS, FAMILIES)
    sets = training_sets(TASKS, FAMILIES)
    maps = [*MAPS[1:], "matched"]
    config = CONFIG | {"alignment": CONFIG["alignment"] | {"compare": maps}}
    jobs = jobs_of(tiny_model, "fit_alignment", config)
    # For one method; where nodes are compared, the source runs beside the target.
    jobs = jobs[: len(sets) + sum(leaves_out(each) for each in sets)]
    of_target = [job for job in jobs if not job.beside]
    work = of_target[sets.index(training_set)]
    assert list(work.pairs) == tasks
    # Whatever the training set, it shares all pairs of a fit.
    assert EXAMPLES <= sum(work.pairs.values()) < EXAMPLES + len(tasks)
    parts = {t: pair_batches(tiny_pairs(work.pairs[t], shared=0), 2) for t in tasks}
    n_nodes = shape_of(model).n_nodes
    generator = np.random.default_rng(0)
    sources = {t: generator.random(n_nodes, np.float32) for t in tasks}
    settings = FitSettings(epochs=2, learning_rate=0.1, sparsity=0.1)
    maps = fitted_maps(training_set, "free", maps)
    with counted(model) as passes:
        prepared = prepare(model, parts)
        if len(maps) > 1:
            shared = [(batch, batch) for part in parts.values() for batch in part]
            node_outputs(model, [each.clean for each, _ in shared], slice(None))
            node_changes(model, [(each, each.clean >= 0) for each, _ in shared])
        for seed in SEEDS:
            fit_maps(
                model,
                prepared,
                sources,
                settings,
                fits(maps, trained_controls(training_set, CONTROLS)),
                shape=(n_nodes, n_nodes),
                seed=seed,
                priors=dict.fromkeys(maps, np.eye(n_nodes, dtype=np.float32)),
            )
    assert passes == expected(work)
    beside = [job for job in jobs if job.beside and list(job.pairs) == tasks]
    assert bool(beside) == leaves_out(training_set)
    # Of clean prompts, and of clean and corrupted ones.
    assert all((job.forwards, job.forward_backwards) == (3, 0) for job in beside)


def test_stitching_passes_are_those_that_run(tiny_model, tiny_pairs):
    source, target = (
        tiny_model(name, layers=layers).requires_grad_(False)
        for name, layers in (("llama", 1), ("llama", 2))
    )
    batches = pair_batches(tiny_pairs(EXAMPLES), 4)
    jobs = jobs_of(tiny_model, "stitch_alignment")[:2]
    with counted(source) as of_source, counted(target) as of_target:
        prompts = shorten_both(source, target, [(each, each) for each in batches])
        stitched_alignment(source, target, *run_both(source, target, prompts))
    assert [of_target, of_source] == list(map(expected, jobs))
    # By `nap-ig-inputs`, after the jobs of `nap`.
    jobs = jobs_of(tiny_model, "carry_gradients")[2 * len(TASKS) :][:2]
    with counted(source) as of_source, counted(target) as of_target:
        changes = run_both(source, target, prompts)
        own = [stream_gradients(source, batch, 3) for batch, _ in prompts]
        rest = [batch for _, batch in prompts]
        carried_scores(target, rest, *changes, [own])
        # All controls together: for every seed two sets of gradients, of which those of
        # another family are of the one task that there is.
        carried_scores(target, rest, *changes, 2 * len(SEEDS) * [own])
        other_gradients(source, own, batches, 3)
    assert [of_target, of_source] == list(map(expected, jobs))


def test_free_mask_passes_are_those_of_a_fit_of_its_own(tiny_model, tiny_pairs):
    model = tiny_model("llama").requires_grad_(False)
    work = jobs_of(tiny_model, "fit_free_mask")[0]
    settings = FitSettings(epochs=2, learning_rate=0.1, sparsity=0.1)
    with counted(model) as passes:
        prepared = prepare(
            model, {"a": pair_batches(tiny_pairs(EXAMPLES, shared=0), 2)}
        )
        for seed in SEEDS:
            fit_maps(
                model,
                prepared,
                {"a": np.ones(1, np.float32)},
                settings,
                [("free", "none")],
                shape=(1, shape_of(model).n_nodes),
                seed=seed,
                priors={},
            )
    assert passes == expected(work)


@pytest.mark.parametrize(
    "stage", ["evaluate_gold", "evaluate_random", "evaluate_aligned"]
)
@pytest.mark.parametrize("ablations", [["counterfactual"], ["zero", "mean"]])
def test_evaluation_passes_are_those_that_run(tiny_model, tiny_pairs, stage, ablations):
    model = tiny_model("llama").requires_grad_(False)
    config = CONFIG | {"evaluation": CONFIG["evaluation"] | {"ablations": ablations}}
    work = jobs_of(tiny_model, stage, config)[0]
    counts = {"evaluate_gold": (1, 1), "evaluate_random": (4, 0)}
    rankings, aligned = counts.get(stage) or count_rankings("a", "nap", CONFIG)
    n_nodes = shape_of(model).n_nodes
    generator = np.random.default_rng(0)
    # Rankings that share no circuit: all sets of 3 and 6 of 10 nodes are different, and
    # so are their complements.
    scores = distinct_rankings(generator, rankings, n_nodes, sizes=(3, 6))
    frame = pl.DataFrame({"scores": scores}).with_row_index("number")
    batches = pair_batches(tiny_pairs(EXAMPLES, shared=0), 4)
    proportions = CONFIG["evaluation"]["proportions"]
    settings = {"ablations": ablations, "model_name": "large"}
    settings["complement_of"] = pl.col("number") < aligned
    with counted(model) as passes:
        evaluate_ablations(model, batches, frame, proportions, **settings)
    assert passes == expected(work)
    same = frame.with_columns(scores=pl.lit(pl.Series([scores[0]])).first())
    with counted(model) as fewer:
        evaluate_circuits(model, batches, same, proportions)
    assert fewer["forward"] == EXAMPLES * (2 + 1 + 2)


def distinct_rankings(generator, rankings, n_nodes, sizes):
    seen, found = set(), []
    while len(found) < rankings:
        scores = generator.random(n_nodes)
        order = (-scores).argsort()
        circuits = {frozenset(order[:size].tolist()) for size in sizes}
        if not circuits & seen:
            seen |= circuits
            found.append(scores.tolist())
    return found


def test_no_random_rankings_run_nothing(tiny_model):
    evaluation = CONFIG["evaluation"] | {"random_rankings": 0}
    config = CONFIG | {"evaluation": evaluation}
    assert {job.forwards for job in jobs_of(tiny_model, "evaluate_random", config)} == {
        0
    }


def test_an_imported_circuit_costs_what_a_gold_one_does(tiny_model):
    circuits = {"x": {"importances": "x.json", "target": "large", "task": "b"}}
    config = CONFIG | {"evaluation": CONFIG["evaluation"] | {"circuits": circuits}}
    (imported,) = jobs_of(tiny_model, "evaluate_imported", config)
    gold = jobs_of(tiny_model, "evaluate_gold", config)[len(METHODS)]
    assert replace(imported, stage="evaluate_gold") == gold


def test_a_task_with_fewer_rows_costs_less(tiny_model):
    config = CONFIG | {"tasks": CONFIG["tasks"] | {"a": {"generator": "a", "train": 2}}}
    first = jobs_of(tiny_model, "attribute_nodes", config)[0]
    assert first.pairs == {"a": 2}


def test_study_without_transfers_is_direct_attribution(tiny_model):
    config = CONFIG | {"study": CONFIG["study"] | {"transfers": []}}
    work = study_work(config, nodes_of(study_shapes(tiny_model)))
    stages = {"attribute_nodes", "evaluate_gold", "evaluate_random"}
    stages.add("measure_baseline")
    assert {each.stage for each in work} == stages
    assert {each.model for each in work} == {"small", "large"}


def test_rankings_are_counted_as_a_run_evaluates_them():
    # Of three tasks in two families a task has five sets of its own tasks and two that
    # left it out, each with four further maps, three of which have no seeds.
    aligned = 6 * len(SEEDS) + 2 * (len(SEEDS) + 3)
    # Of every seed: a scrambled source and a permuted alignment of both sets, the
    # untrained matrix, and the free mask; the depth heuristic and the guess once; the
    # mean of gold scores, the regression and two of the target alone of both sets.
    once = (4 + 2) * len(SEEDS) + 2 + 2 * 4
    # Of five maps and both sets: permuted scores and another family's of every seed, a
    # constant of every seed where it was trained.
    of_maps = 2 * (5 * 2 * len(SEEDS) + 2 * len(SEEDS) + 3)
    plain_rankings = (aligned + once + of_maps, aligned)
    assert count_rankings("b", "exact", CONFIG) == plain_rankings

    # Carried gradients and their controls under both protocols, two of them by seed.
    carried = (2 * (2 + 2 * len(SEEDS)), 2)
    with_gradients = tuple(map(sum, zip(plain_rankings, carried, strict=True)))
    assert count_rankings("b", "nap", CONFIG) == with_gradients

    def without(**alignment):
        return CONFIG | {"alignment": CONFIG["alignment"] | alignment}

    plain = without(controls=[], compare=[])
    assert count_rankings("b", "nap", plain) == (6 * len(SEEDS), 6 * len(SEEDS))
    # A single task has no zero-shot set, hence no controls of one.
    alone = CONFIG | {"study": CONFIG["study"] | {"tasks": ["b"]}}
    aligned = 2 * len(SEEDS)
    assert count_rankings("b", "nap", alone) == (aligned + len(SEEDS) + 2, aligned)


def test_equal_sizes_and_the_whole_model_are_not_counted():
    assert count_circuits(4, 10, [0.05, 0.3, 0.32, 0.6, 1.0]) == 1 + 4 * 2


def test_unknown_method_is_named():
    with pytest.raises(ValueError, match="method 'nip' is not one of nap, "):
        method_passes("nip", Nodes(10, 4), 5)


@pytest.mark.parametrize("family", ["llama", "qwen2", "gpt2"])
@pytest.mark.parametrize("method", ["nap", "nap-ig-inputs"])
def test_flops_are_those_that_torch_counts(tiny_model, tiny_pairs, family, method):
    # Eager attention, whose products the counter sees.
    model = tiny_model(family).requires_grad_(False)
    model.set_attn_implementation("eager")
    shape = shape_of(model)
    pairs = tiny_pairs(8)
    pairs = pairs.filter(pl.col("clean_ids").list.len() == 5)
    forwards, forward_backwards = method_passes(
        method, Nodes(shape.n_nodes, 2 * shape.layers), 3
    )
    (work, *_) = study_work(CONFIG, nodes_of(study_shapes(tiny_model)))
    work = replace(
        work,
        pairs={"a": len(pairs)},
        forwards=forwards,
        forward_backwards=forward_backwards,
    )
    with Flops() as counter:
        attribute(model, pair_batches(pairs, 4), method=method, ig_steps=3)
    # Not exact: the angles of rotary embeddings are a product too, a tiny one.
    assert counter.total == pytest.approx(work_flops(work, shape, TOKENS), rel=0.005)


@pytest.mark.parametrize("family", ["llama", "qwen2", "gpt2"])
def test_flops_of_trained_weights_are_those_that_torch_counts(
    tiny_model, tiny_pairs, family
):
    model = tiny_model(family, tie_word_embeddings=False)
    model.lm_head.requires_grad_(False)
    model.set_attn_implementation("eager")
    pairs = tiny_pairs(8).filter(pl.col("clean_ids").list.len() == 5)
    (batch,) = pair_batches(pairs, 4)
    with Flops() as counter, measured("training", "m", model) as cost:
        answer_logits(model, batch.clean).sum().backward()
    rows = pl.DataFrame([cost], COST_SCHEMA)
    found = with_flops(rows, {"m": shape_of(model)})["flop"].item()
    assert counter.total == pytest.approx(found, rel=0.005)
    assert cost["weight_tokens"] == cost["backward_tokens"] == 4 * 5
    # Of one layer's attention, as much as its share of the weights.
    model.requires_grad_(False)
    writer, *_ = node_sites(model)[0]
    writer.weight.requires_grad_()
    with measured("training", "m", model) as cost:
        answer_logits(model, batch.clean).sum().backward()
    own = writer.weight.numel()
    assert cost["weight_tokens"] == round(20 * own / shape_of(model).matrices)


def test_flops_of_one_moved_site_are_an_upper_bound(tiny_model, tiny_pairs):
    model = tiny_model("llama", layers=4).requires_grad_(False)
    model.set_attn_implementation("eager")
    shape = shape_of(model)
    pairs = tiny_pairs(8).filter(pl.col("clean_ids").list.len() == 5)
    nodes = {"small": Nodes(10, 4), "large": Nodes(shape.n_nodes, 2 * shape.layers)}
    method = "nap-ig-activations"
    config = CONFIG | {"study": CONFIG["study"] | {"methods": [method]}}
    config["attribution"] = CONFIG["attribution"] | {"examples": len(pairs)}
    jobs = study_work(config, nodes)
    work = next(j for j in jobs if (j.stage, j.model) == ("attribute_nodes", "large"))
    with Flops() as counter:
        attribute(model, pair_batches(pairs, 4), method=method, ig_steps=3)
    # A pass begins at the moved site, half of the way on average.
    assert work.layers == 0.5
    estimated = work_flops(work, shape, TOKENS)
    assert 0.8 * estimated < counter.total < estimated


def bytes_saved(model, run):
    """Return the bytes that autograd keeps of a forward pass beside the weights."""
    own = {each.untyped_storage().data_ptr() for each in model.parameters()}
    sizes, alive = {}, []

    def keep(tensor):
        storage = tensor.untyped_storage()
        alive.append(tensor)
        if storage.data_ptr() not in own:
            sizes[storage.data_ptr()] = storage.nbytes()
        return tensor

    with saved_tensors_hooks(keep, lambda tensor: tensor):
        run()
    return sum(sizes.values())


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize("family", ["llama", "qwen2", "gpt2"])
def test_kept_activations_are_bounded_from_above(tiny_model, family, dtype):
    # Shaped like the published ones: an MLP four times as wide as the residual stream.
    wide = {"n_inner": None} if family == "gpt2" else {"intermediate_size": 128}
    model = tiny_model(family, layers=6, dtype=dtype, **wide).requires_grad_(False)
    shape = model_shape(model.config, dtype=str(dtype).removeprefix("torch."))
    assert shape.d_mlp == 128
    ids = torch.randint(4, 40, (3, 16))
    embeddings = model.get_input_embeddings()(ids).requires_grad_()

    def run():
        with captured(model):
            answer_logits(model, embeddings=embeddings)

    kept = bytes_saved(model, run)
    assert kept < shape.saved_bytes * ids.numel() < 1.6 * kept


@pytest.mark.parametrize("intervention", ["circuit", "interpolation", "release"])
def test_kept_activations_of_a_fit_are_bounded_too(
    tiny_model, tiny_pairs, intervention
):
    model = tiny_model("llama", layers=6, intermediate_size=128).requires_grad_(False)
    shape = shape_of(model)
    pairs = tiny_pairs(8).filter(pl.col("clean_ids").list.len() == 5)
    (prepared,) = prepare(model, {"a": pair_batches(pairs, 8)})
    mask = torch.full((shape.n_nodes,), 0.5, requires_grad=True)
    cached = sum(each.nbytes for each in (*prepared.clean, *prepared.corrupted))

    def run():
        masked_logits(model, prepared, mask, intervention)

    bound = shape.saved_bytes * 5 * len(pairs) + cached
    assert bytes_saved(model, run) < bound


def test_a_fit_holds_the_activations_of_all_pairs(tiny_model, tiny_pairs):
    model = tiny_model("llama").requires_grad_(False)
    shape = shape_of(model)
    work = next(
        job for job in jobs_of(tiny_model, "fit_alignment") if len(job.pairs) == 3
    )
    pairs = tiny_pairs(20).filter(pl.col("clean_ids").list.len() == 5)
    parts = {t: pair_batches(pairs[:count], 2) for t, count in work.pairs.items()}
    held = sum(
        tensor.nbytes
        for each in prepare(model, parts, intervention="circuit")
        for tensor in (each.full, each.empty, *each.corrupted)
    )
    batch = 2
    loss = 4 * batch * shape.vocabulary * 4
    kept = batch * 5 * shape.saved_bytes
    whole = shape.weight_bytes + held + kept + loss
    assert work_memory(work, shape, TOKENS) == whole


def test_written_bytes_are_those_of_the_files(tiny_model, tmp_path):
    shapes = study_shapes(tiny_model)
    size = (shapes["small"].n_nodes, shapes["large"].n_nodes)
    written = {job.written_bytes for job in jobs_of(tiny_model, "fit_alignment")}
    sizes = set()
    # A file of the free map alone, and one of all maps with two trained controls.
    for matrices in (2, 2 * (1 + 3) + 2):
        tensors = {str(n): np.zeros(size, np.float32) for n in range(matrices)}
        sizes.add(len(SEEDS) * sum(each.nbytes for each in tensors.values()))
        write_alignment(tmp_path / "fit", tensors, {"seed": 0})
        overhead = (tmp_path / "fit").stat().st_size - max(sizes) / len(SEEDS)
        assert 0 < overhead < 1000
    assert written == sizes | {0}


def test_pass_counts_add_up_jobs_and_tokens(tiny_model):
    work = study_work(CONFIG, nodes_of(study_shapes(tiny_model)))
    frame = pass_counts(work, TOKENS)
    gold = frame.row(by_predicate=pl.col("stage") == "evaluate_gold", named=True)
    # Clean, corrupted and empty run, two circuits and their complements.
    passes = len(METHODS) * len(TASKS) * EXAMPLES * (3 + 2 + 2)
    assert gold == {
        "stage": "evaluate_gold",
        "model": "large",
        "jobs": len(METHODS) * len(TASKS),
        "forwards": passes,
        "forward_backwards": 0,
        "tokens": 5 * passes,
    }


def test_estimate_ends_with_the_whole_study(tiny_model):
    shapes = study_shapes(tiny_model)
    costs = estimate(CONFIG, shapes, TOKENS, utilisation=0.5)
    parts, whole = costs[:-1], costs.row(-1, named=True)
    assert whole["stage"] == "all"
    for column in ("jobs", "forward_backwards", "tokens", "gpu_hours", "disk_gb"):
        assert whole[column] == pytest.approx(parts[column].sum())
    assert whole["peak_memory_gb"] == parts["peak_memory_gb"].max()
    # float32 reaches half of 19.5e12 FLOP/s.
    seconds = whole["petaflop"] * 1e15 / (0.5 * 19.5e12)
    assert whole["gpu_hours"] == pytest.approx(seconds / 3600)
    (download,) = parts.filter(stage="download_model").rows(named=True)
    assert download["model"] == "large"
    assert download["disk_gb"] == shapes["large"].stored_bytes / 1e9
    assert download["gpu_hours"] is None


def test_weights_are_moved_for_every_job(tiny_model):
    shapes = study_shapes(tiny_model)
    costs = estimate(CONFIG, shapes, TOKENS)
    gold = costs.row(by_predicate=pl.col("stage") == "evaluate_gold", named=True)
    weights = shapes["large"].stored_bytes
    assert gold["moved_gb"] == pytest.approx(gold["jobs"] * weights / 1e9)
    # Both models run, and the alignment and what stands in for the target are written.
    stitched = costs.filter(stage="stitch_alignment")
    n_source, n_target = shapes["small"].n_nodes, shapes["large"].n_nodes
    written = 4 * n_target * (n_source + len(TARGET_ONLY))
    both = weights + shapes["small"].stored_bytes
    assert stitched["moved_gb"].sum() == pytest.approx(3 * (both + written) / 1e9)
    whole = costs.row(-1, named=True)
    assert whole["moved_gb"] == pytest.approx(costs["moved_gb"][:-1].sum())
    assert whole["longest_job_hours"] == costs["longest_job_hours"][:-1].max()
    assert gold["gpu_hours"] / gold["jobs"] <= gold["longest_job_hours"]


@pytest.mark.parametrize(
    ("durations", "workers", "end"),
    [
        ([], 2, 0),
        ([5], 4, 5),
        ([1, 2, 3], 1, 6),
        ([1, 2, 3], 2, 3),
        # 3 + 2 + 2 beside 3 + 2: the best would be 3 + 3 beside 2 + 2 + 2.
        ([2, 3, 2, 3, 2], 2, 7),
        ([1] * 10, 4, 3),
    ],
)
def test_jobs_go_to_the_gpu_that_is_free_first(durations, workers, end):
    assert makespan(durations, workers) == end


def test_one_gpu_takes_all_that_jobs_take_and_many_the_longest_of_each_level(
    tiny_model,
):
    # Weights that take as long to read as a job takes to start.
    size = round(STARTING_SECONDS * BYTES_PER_SECOND / 4)
    shapes = study_shapes(tiny_model)
    shapes = {name: replace(each, parameters=size) for name, each in shapes.items()}
    costs = estimate(CONFIG, shapes, TOKENS)
    times = schedule(CONFIG, shapes, TOKENS, gpus=[1, 2])
    one, two, most = times.rows(named=True)
    whole = costs.row(-1, named=True)
    downloads = costs.filter(stage="download_model")
    assert set(times["jobs"]) == {whole["jobs"] - len(downloads)}
    # Written tensors are not waited for; weights are read by the models beside, too.
    work = study_work(CONFIG, nodes_of(shapes))
    weights = sum(shapes[each.model].stored_bytes for each in work)
    seconds = one["jobs"] * STARTING_SECONDS + weights / BYTES_PER_SECOND
    assert one["hours"] == pytest.approx(whole["gpu_hours"] + seconds / 3600)
    assert one["busy_percent"] == pytest.approx(100)
    assert most["hours"] < two["hours"] < one["hours"]
    assert two["busy_percent"] == pytest.approx(50 * one["hours"] / two["hours"])
    # Scores, then fits and gold circuits, then transferred ones.
    assert most["hours"] > 3 * STARTING_SECONDS / 3600
    first = [job for job in work if job.stage not in LATER and not job.beside]
    second = [job for job in work if job.stage in LATER[:2] and not job.beside]
    assert most["gpus"] == max(len(first), len(second))


def test_prompt_lengths_come_from_the_task_behind_the_name():
    tasks = {
        "x": {"mib": "ioi", "hub": "mib-bench/ioi"},
        "y": {"generator": "ioi"},
        "z": {"file": "z.csv"},
    }
    tokens = prompt_tokens(tasks)
    assert tokens["x"] == tokens["y"] != tokens["z"]


@pytest.mark.parametrize("mib", ["ioi", "copycolors_mcqa", "arc_easy", "arc_challenge"])
def test_every_mib_task_has_a_length_of_its_own(mib):
    other = prompt_tokens({"x": {"file": "x.csv"}})["x"]
    assert prompt_tokens({"x": {"mib": mib}})["x"] != other
