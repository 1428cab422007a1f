"""Resources that a job requests of a cluster, by the size of its models.

GPUs, memory and minutes. Passes, FLOPs and bytes are counted as in the estimate of a
study's costs (`costs`); a job requests what the largest job of its stage on its models
needs, and a margin. Every further attempt of a job requests more.
"""

from collections.abc import Mapping, Sequence
from math import ceil

from circuit_transfer.embedded.selection import FADE_STEPS
from circuit_transfer.models.shape import FLOAT32_BYTES, ModelShape, described_shape
from circuit_transfer.study.costs import (
    PEAK_FLOPS,
    nodes_of,
    work_flops,
    work_memory,
)
from circuit_transfer.study.work import Work, prompt_tokens
from circuit_transfer.study.workload import COMPARING, study_work

VARYING = "vary_setting"
MEGA, MINUTE = 1e6, 60
GPU_MB = 80_000  # the memory of the GPU that costs are estimated for
MEMORY_MARGIN = 1.25
LIBRARIES_MB = 4_000  # Python, torch, and what CUDA's libraries take
# Small models in small batches reach less than the estimate assumes.
UTILISATION = 0.1
BYTES_PER_SECOND = 200e6  # weights from a busy network disk
STARTING_MINUTES = 15  # the slowest start of a job, and much of a short one's work
# One core, in float32, reaches about twice as much; texts have at most these tokens.
TRAINING_FLOPS, TRAINING_TOKENS = 20e9, 32
# Of the parameters of another model that a training reads: weights, gradients, two
# moments and original weights, and as many again for its embeddings.
COPIES = 10


def requested(
    stage: str, descriptions: Sequence[Mapping], config: Mapping, attempt: int = 1
) -> dict[str, int | None]:
    """Return the resources that a job with models requests, by name.

    `gpu` is their number; several must be on one machine, for which `nodes` is 1 (else
    None). `runtime` is in minutes. `mem_mb` is the host's, as much as the job needs on
    the GPU: without a GPU it computes there, and with one the weights pass through it.

    Args:
        stage: the rule; `vary_setting` repeats the stages of a study.
        descriptions: of the models that run, see `models.describe_model`; the target
            is the last.
        config: a valid configuration, defaults filled in.
        attempt: how often the job is tried, with this time.
    """
    shapes = {each["model"]: described_shape(each) for each in descriptions}
    tokens = prompt_tokens(config["tasks"])
    memory = seconds = 0.0
    for model, work in _work(stage, shapes, descriptions[-1]["model"], config).items():
        shape = shapes[model]
        speed = UTILISATION * PEAK_FLOPS[shape.dtype]
        computing = [work_flops(each, shape, tokens) / speed for each in work]
        needed = [work_memory(each, shape, tokens) for each in work]
        memory += max(needed, default=shape.weight_bytes)
        seconds += sum(computing) if stage == VARYING else max(computing, default=0)
        seconds += shape.stored_bytes / BYTES_PER_SECOND
    if stage == VARYING:
        # Of one method and pair, for every value and the configured one.
        study, values = config["study"], config["sensitivity"].values()
        seconds /= len(study["methods"]) * max(len(study["transfers"]), 1)
        seconds *= 1 + max(map(len, values), default=1)
    megabytes = MEMORY_MARGIN * memory / MEGA
    gpus = _gpus(descriptions, megabytes)
    return {
        "gpu": gpus,
        "nodes": 1 if gpus > 1 else None,
        "mem_mb": ceil(attempt * (LIBRARIES_MB + megabytes)),
        "runtime": ceil(attempt * (STARTING_MINUTES + seconds / MINUTE)),
    }


def requested_by_training(
    train: Mapping,
    attempt: int = 1,
    *,
    parent: Mapping | None = None,
    teacher: Mapping | None = None,
) -> dict[str, int]:
    """Return `mem_mb` and `runtime` (minutes) of the training of an embedded model.

    It computes on one core. All steps are counted, though most trainings end earlier.
    While parts are faded out, the whole parent is trained; the teacher has a forward
    pass in every step. Their weights, gradients and moments, and the original weights,
    may be larger than what is requested for the libraries.

    Args:
        train: the model's `train:` entry in the config, defaults and sizes filled in.
        attempt: how often the job is tried, with this time.
        parent: sizes of the model of `init`, if there is one.
        teacher: sizes of the model of `distil`, likewise.
    """
    fade_steps = 0
    if "prune" in train.get("init", {}):
        fade_steps = train["init"].get("fade_steps", FADE_STEPS)
    passes = 3 * train["max_steps"] * _parameters(train)
    passes += 3 * fade_steps * _parameters(parent) if parent else 0
    passes += (train["max_steps"] + fade_steps) * _parameters(teacher) if teacher else 0
    seconds = 2 * passes * train["batch_size"] * TRAINING_TOKENS / TRAINING_FLOPS
    others = sum(_parameters(each) for each in (parent, teacher) if each)
    megabytes = COPIES * FLOAT32_BYTES * others / MEGA
    return {
        "mem_mb": ceil(attempt * (LIBRARIES_MB + megabytes)),
        "runtime": ceil(attempt * (STARTING_MINUTES + seconds / MINUTE)),
    }


def _parameters(sizes: Mapping) -> float:
    """Return the number of parameters of the layers of an embedded model."""
    shared = sizes["kv_heads"] / sizes["heads"]
    widths = 2 * sizes["d_model"] * (1 + shared) + 3 * sizes["d_mlp"]
    return sizes["layers"] * sizes["d_model"] * widths


def requested_by_conversion(values: int, attempt: int = 1) -> dict[str, int]:
    """Return `mem_mb` and `runtime` (minutes) of dequantising a GGUF file.

    In float32, the tensors of the file and the model are in memory at once; then the
    model is written.

    Args:
        values: number of values of all tensors.
        attempt: how often the job is tried, with this time.
    """
    size = FLOAT32_BYTES * values
    return {
        "mem_mb": ceil(attempt * (LIBRARIES_MB + MEMORY_MARGIN * 2 * size / MEGA)),
        "runtime": ceil(
            attempt * (STARTING_MINUTES + size / BYTES_PER_SECOND / MINUTE)
        ),
    }


def _work(
    stage: str, shapes: Mapping[str, ModelShape], target: str, config: Mapping
) -> dict[str, list[Work]]:
    """Return the work of a stage by model: on the target, and on others next to it."""
    nodes = nodes_of(config, shapes)
    # Work on other models is left out below, so their sizes do not matter.
    every = dict.fromkeys(config["models"], nodes[target]) | nodes
    found = {name: [] for name in shapes}
    for work in study_work(config, every):
        in_stage = work.stage == stage and work.beside == (work.model != target)
        # No setting of edges is varied.
        repeated = stage == VARYING and work.stage != COMPARING and not work.edges
        if work.model in found and (in_stage or repeated):
            found[work.model].append(work)
    return found


def _gpus(descriptions: Sequence[Mapping], megabytes: float) -> int:
    """Return one, or the number that holds the memory if a model may be spread."""
    spread = any(each["device_map"] == "auto" for each in descriptions)
    return ceil(megabytes / GPU_MB) if spread else 1
