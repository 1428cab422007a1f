"""Costs of a study, estimated before it runs: passes, FLOPs, hours, memory and disk.

Passes are counted, stage by stage (`workload`): one pass is one prompt through the
model. FLOPs follow from them: two per parameter and token in the forward pass, two more
in the backward pass for the gradients of activations, two more for those of weights
where a student is trained, and the products of queries, keys and values. Hours and
memory are estimates; their formulas are in the docstrings.
"""

from collections.abc import Iterable, Mapping, Sequence
from heapq import heapreplace
from math import ceil

import polars as pl

from circuit_transfer.circuits.methods import Nodes
from circuit_transfer.distillation.variants import EVERYTHING
from circuit_transfer.models.shape import FLOAT32_BYTES, ModelShape
from circuit_transfer.pruning.memory import LOSS_LOGITS, fitting_circuits
from circuit_transfer.study.edge_costs import cached_bytes, edge_flops, edge_memory
from circuit_transfer.study.work import Work
from circuit_transfer.study.workload import study_work

# FLOP/s of one A100 80GB, in the formats a model may compute in (without TF32).
PEAK_FLOPS = {"bfloat16": 312e12, "float16": 312e12, "float32": 19.5e12}
UTILISATION = 0.3  # the share of the peak reached on short prompts in small batches
GIGA, PETA, HOUR = 1e9, 1e15, 3600
KEYS = ("stage", "model")
PASSES = dict.fromkeys(("jobs", "forwards", "forward_backwards", "tokens"), pl.Int64)
COSTS = dict.fromkeys(
    (
        "petaflop",
        "gpu_hours",
        "longest_job_hours",
        "peak_memory_gb",
        "moved_gb",
        "disk_gb",
    ),
    pl.Float64,
)
PEAKS = ("longest_job_hours", "peak_memory_gb")
# Added to the computing time of every job: its start, and its weights from a fast disk.
STARTING_SECONDS, BYTES_PER_SECOND = 30, 1e9
# Of every trained weight: its gradient and two moments.
TRAINED_NUMBERS = 3
# Of every number beside those of the model: itself too, its start and its prior.
LEARNED_NUMBERS = 6
# Stages that write the weights of a model, by the key of its entry.
MADE_BY = {"hub": "download_model", "gguf": "convert_gguf"}
# Stages that wait for another one, by the number of stages before; all others have 0.
AFTER = {
    "fit_alignment": 1,
    "evaluate_gold": 1,
    "verify_edges": 1,
    "evaluate_edges": 1,
    "learn_edges": 1,  # of which some need edge scores
    "learn_resampled": 1,
    "evaluate_learned": 2,
    "evaluate_at_sizes": 1,
    "evaluate_weights": 2,
    "evaluate_lifted": 1,
    "evaluate_aligned": 2,
    "fit_edge_alignment": 1,
    "evaluate_aligned_edges": 3,  # of which some need projected scores of nodes
    "find_critical_heads": 1,  # of which some need scores
    "match_heads": 2,
    "distil_student": 3,
    "evaluate_student": 4,
}
SCHEDULE = dict.fromkeys(("gpus", "jobs"), pl.Int64) | dict.fromkeys(
    ("hours", "busy_percent"), pl.Float64
)


def pass_counts(work: Iterable[Work], tokens: Mapping[str, int]) -> pl.DataFrame:
    """Return `jobs`, `forwards`, `forward_backwards`, `tokens` by stage and model.

    Passes are of one prompt each, tokens are those of all passes, weighted by the share
    of the layers that they go through. These are upper bounds: the first tokens that
    the prompts of a pair share run once, and sites without a node in any circuit of a
    pass do not run at all.

    Args:
        work: the jobs of a study, see `workload.study_work`.
        tokens: of a prompt, by task.
    """
    rows = [
        (
            each.stage,
            each.model,
            0 if each.beside else 1,
            each.forwards * sum(each.pairs.values()),
            each.forward_backwards * sum(each.pairs.values()),
            round(
                each.layers
                * (each.forwards + each.forward_backwards)
                * _prompt_tokens(each, tokens)
            ),
        )
        for each in work
    ]
    return _summed(rows, PASSES)


def work_flops(work: Work, shape: ModelShape, tokens: Mapping[str, int]) -> int:
    """Return the FLOPs of a job; `tokens` as in `pass_counts`."""
    passes = work.forwards + work.forward_backwards
    of_edges, trained = edge_flops(work.edges, shape), _trained_share(work, shape)
    whole = sum(
        pairs
        * (
            passes * (shape.forward_flops(tokens[task]) + of_edges * tokens[task])
            + work.forward_backwards * shape.backward_flops(tokens[task])
            + work.forward_backwards * trained * shape.weight_flops(tokens[task])
        )
        for task, pairs in work.pairs.items()
    )
    return round(work.layers * whole)


def work_memory(work: Work, shape: ModelShape, tokens: Mapping[str, int]) -> int:
    """Return the bytes of GPU memory that a job needs at its peak, estimated.

    The weights; node outputs and logits, as many copies as the stage holds, of a batch
    or of all pairs; and for a batch of the longest prompts the activations stored for
    its backward pass (of one layer, where there is none) and the logits of the loss,
    for every circuit; what edges take (`edge_costs`), trained masks, and gradients and
    moments of trained weights. CUDA itself
    takes about half a gigabyte more.
    """
    examples = min(work.batch_size, max(work.pairs.values()))
    longest, circuits = max(tokens[task] for task in work.pairs), work.circuits
    if work.splits:
        fitting = fitting_circuits(shape, work.edges.kv, examples, longest)
        circuits = min(circuits, fitting)
    batch = circuits * examples
    batch_tokens = batch * longest
    held_tokens, held = batch_tokens, batch
    if work.holds_all:
        held_tokens, held = _prompt_tokens(work, tokens), sum(work.pairs.values())
    kept = batch_tokens * shape.saved_bytes
    if not work.forward_backwards:
        kept //= shape.layers
    logits = (work.logits * held + LOSS_LOGITS * batch) * shape.vocabulary
    nodes = work.copies * held_tokens * shape.node_bytes
    edges = edge_memory(work.edges, shape, batch, longest)
    edges += cached_bytes(work.edges, shape, _prompt_tokens(work, tokens))
    numbers = logits + work.masks * shape.parameters + LEARNED_NUMBERS * work.learned
    trained = _trained_share(work, shape) * shape.parameters
    numbers += ceil(TRAINED_NUMBERS * trained)
    return shape.weight_bytes + nodes + edges + kept + numbers * FLOAT32_BYTES


def estimate(
    config: Mapping,
    shapes: Mapping[str, ModelShape],
    tokens: Mapping[str, int],
    *,
    utilisation: float = UTILISATION,
    peak_flops: Mapping[str, float] = PEAK_FLOPS,
) -> pl.DataFrame:
    """Return what every stage of a study costs on every model, and all of them.

    GPU hours are FLOPs over the achieved FLOP/s, `peak_flops` of the model's format
    times `utilisation`. The training of embedded models is not counted.

    Args:
        config: a valid configuration, defaults filled in.
        shapes: by name, the models that the study uses.
        tokens: how many a prompt of every task has.
        utilisation: the share of the peak that is reached.
        peak_flops: FLOP/s of the GPU by format.

    Returns:
        The columns of `pass_counts`, then `petaflop` (1e15 operations), `gpu_hours` and
        `longest_job_hours`, `peak_memory_gb` (the largest job's), `moved_gb` (read and
        written by jobs: the weights every time, and tensors) and `disk_gb` (downloaded
        weights and tensors written; 1e9 bytes). The last row is the stage `all`.
    """
    work = study_work(config, nodes_of(config, shapes))
    rows = []
    for each in work:
        shape = shapes[each.model]
        flops = work_flops(each, shape, tokens)
        hours = flops / (utilisation * peak_flops[shape.dtype]) / HOUR
        memory = work_memory(each, shape, tokens)
        written = each.written_bytes + each.writes_weights * shape.float32_bytes
        moved = shape.stored_bytes + written
        sizes = (size / GIGA for size in (memory, moved, written))
        rows.append((each.stage, each.model, flops / PETA, hours, hours, *sizes))
    costs = _summed(rows, COSTS)
    passes = pass_counts(work, tokens)
    stages = passes.join(costs, on=KEYS, how="left", maintain_order="left")
    stages = pl.concat([_made(config["models"], shapes, stages.schema), stages])
    whole = stages.with_columns(stage=pl.lit("all"), model=pl.lit(""))
    return pl.concat([stages, _summed(whole.rows(), PASSES | COSTS)])


def schedule(
    config: Mapping,
    shapes: Mapping[str, ModelShape],
    tokens: Mapping[str, int],
    gpus: Sequence[int],
) -> pl.DataFrame:
    """Return the time that the jobs of a study that run models take on several GPUs.

    A job starts, reads its weights and computes as in `estimate`, on one GPU. A stage
    that needs another one starts when all jobs of that are done; of the jobs that can
    start, the longest goes first to the GPU that is free first.

    Args:
        config: a valid configuration, defaults filled in.
        shapes: by name, the models that the study uses.
        tokens: how many a prompt of every task has.
        gpus: numbers of GPUs.

    Returns:
        `gpus`, `jobs`, `hours` and `busy_percent`, the share of the GPUs' time that is
        spent on jobs, in a row for every number. The last row is for the most GPUs that
        are ever used at once: more are no faster.
    """
    levels: dict[int, list[float]] = {}
    for work in study_work(config, nodes_of(config, shapes)):
        shape = shapes[work.model]
        reached = UTILISATION * PEAK_FLOPS[shape.dtype]
        seconds = work_flops(work, shape, tokens) / reached
        seconds += shape.stored_bytes / BYTES_PER_SECOND
        level = levels.setdefault(AFTER.get(work.stage, 0), [])
        if work.beside:
            level[-1] += seconds
        else:
            level.append(STARTING_SECONDS + seconds)
    most = max(map(len, levels.values()), default=1)
    spent = sum(map(sum, levels.values()))
    rows = []
    for number in (*gpus, most):
        taken = sum(makespan(level, number) for level in levels.values())
        busy = 100 * spent / (number * taken) if taken else 0.0
        rows.append((number, sum(map(len, levels.values())), taken / HOUR, busy))
    return pl.DataFrame(rows, schema=SCHEDULE, orient="row")


def makespan(durations: Iterable[float], workers: int) -> float:
    """Return when the last of some jobs ends if the longest ones start first."""
    free = [0.0] * workers
    for duration in sorted(durations, reverse=True):
        heapreplace(free, free[0] + duration)
    return max(free)


def nodes_of(config: Mapping, shapes: Mapping[str, ModelShape]) -> dict[str, Nodes]:
    """Return how many nodes and edges models have, by name."""
    kv, found = config["attribution"]["kv"], {}
    for name, each in shapes.items():
        graph = each.graph(kv)
        sizes = each.n_nodes, 2 * each.layers, graph.n_edges, len(graph.readers)
        found[name] = Nodes(*sizes)
    return found


def _made(
    models: Mapping[str, Mapping], shapes: Mapping[str, ModelShape], schema: pl.Schema
) -> pl.DataFrame:
    """Return the costs of the models that are downloaded or dequantised."""
    rows = [
        {
            "stage": stage,
            "model": name,
            "jobs": 1,
            "moved_gb": shape.stored_bytes / GIGA,
            "disk_gb": shape.stored_bytes / GIGA,
        }
        for name, shape in shapes.items()
        for key, stage in MADE_BY.items()
        if key in models[name]
    ]
    return pl.DataFrame(rows, schema=schema)


def _summed(rows: Sequence[tuple], columns: Mapping) -> pl.DataFrame:
    """Sum rows of stage, model and numbers; of peaks, take the largest."""
    schema = dict.fromkeys(KEYS, pl.String) | dict(columns)
    frame = pl.DataFrame(rows, schema=schema, orient="row")
    groups = frame.group_by(KEYS, maintain_order=True)
    return groups.agg(
        pl.col(each).max() if each in PEAKS else pl.col(each).sum() for each in columns
    )


def _trained_share(work: Work, shape: ModelShape) -> float:
    """Return the share of a model's weights that have gradients.

    Where some heads are trained, those of all heads of their layers have.
    """
    return {"": 0.0, EVERYTHING: 1.0}.get(work.trained, shape.head_share)


def _prompt_tokens(work: Work, tokens: Mapping[str, int]) -> int:
    return sum(pairs * tokens[task] for task, pairs in work.pairs.items())
