"""Check that the weights of a checkpoint are those of its model: names, shapes, values.

A weight that the model has no place for would be ignored, and the model would be
another one than the weights were made for.
"""

import re
from collections.abc import Collection, Iterator, Mapping, Sequence
from contextlib import (
    AbstractContextManager,
    ExitStack,
    contextmanager,
    nullcontext,
)
from pathlib import Path
from typing import Any

from circuit_transfer.jobs.progress import progress
from circuit_transfer.messages import some
from circuit_transfer.models.checkpoints import BUFFERS, read_header, weight_files
from circuit_transfer.models.shape import skeleton
from circuit_transfer.models.unusable import MERGE

# Values that are checked at once: 64 MB in float32, which suits a CPU's cache.
CHUNK = 2**24

# What weights without a place in a model are, by their names; the first match applies.
LAYERS = "layers beyond num_hidden_layers of config.json"
KINDS = {
    r"lora_|base_layer|modules_to_save": f"an adapter that is not merged: {MERGE}",
    r"vision|visual|image|multi_modal|mm_projector|audio": (
        "part of a multimodal model; expected its text model alone"
    ),
    r"(q|k|v|input|weight|output)_scale|_scale_inv|scales|q(weight|zeros)|g_idx": (
        "scales of quantised weights; use the unquantised model"
    ),
    r"(^|\.)(v_head|value_head|score|classifier|qa_outputs|classification_head|"
    r"reward_head|regression_head|medusa_head)\b": (
        "another head, for values, rewards or classes; expected a language model alone"
    ),
    r"(^|\.)(layers|h)\.\d+\.": LAYERS,
    r"bias$": "biases that config.json rules out, as `attention_bias: false` does",
    "": "of another model or another config.json",
}


def check_weights(folder: Path | str, config) -> None:
    """Check that the weights are those of a model, and that all are finite.

    Every file is read once, one tensor at a time.

    Args:
        folder: the checkpoint folder.
        config: its configuration, of `transformers`.

    Raises:
        ValueError: weights are missing, have no place, or have another shape; tied
            ones differ; or one is not finite.
    """
    from safetensors import safe_open

    check_names(folder, config)
    for file, tensors in _stored(folder).items():
        with safe_open(file, framework="pt") as opened:
            for name in progress(tensors, len(tensors), f"tensor of {file.name},"):
                if not is_finite(opened.get_tensor(name)):
                    raise ValueError(f"{file}: weight {name} is not finite")


def check_names(folder: Path | str, config) -> None:
    """Check that a model has a place for every weight, and a weight for every place.

    By the headers of the weight files: transformers loads tensors without values,
    renamed as it renames those of a checkpoint. Buffers that the model computes itself
    may be stored. Of tied matrices, stored twice, the values are compared.

    Arguments and errors as in `check_weights`.
    """
    import torch

    empty = {
        name: torch.empty(tensor["shape"], device="meta")
        for tensors in _stored(folder).values()
        for name, tensor in tensors.items()
    }
    with quiet_transformers():
        model, report = type(skeleton(config)).from_pretrained(
            None,
            config=config,
            state_dict=empty,
            device_map={"": "meta"},
            dtype=torch.float32,
            attn_implementation="eager",
            # Reported with the others; an error of its own would print a table.
            ignore_mismatched_sizes=True,
            output_loading_info=True,
            local_files_only=True,
            trust_remote_code=False,
        )
    if problems := _problems(report, _layer_numbers(model)):
        raise ValueError(
            f"{folder}: the weights are not those of the model of config.json: "
            + "; ".join(problems)
        )
    _check_tied(folder, model)


def is_finite(tensor) -> bool:
    """Return whether all values of a tensor are finite, limited by memory bandwidth."""
    import torch

    # `isfinite().all()` takes twenty times as long in bfloat16 on a CPU.
    return all(
        bool(end.isfinite())
        for chunk in tensor.flatten().split(CHUNK)
        for end in (torch.aminmax(chunk) if len(chunk) else ())
    )


def on_device(module) -> AbstractContextManager[None]:
    """Load a module's own weights within the context, where they are offloaded."""
    if not any(each.is_meta for each in module.parameters(recurse=False)):
        return nullcontext()
    from accelerate.utils import align_module_device

    return align_module_device(module)


@contextmanager
def all_on_device(modules: Collection) -> Iterator[None]:
    """Load the own weights of several modules within the context, see `on_device`."""
    with ExitStack() as stack:
        for module in modules:
            stack.enter_context(on_device(module))
        yield


@contextmanager
def quiet_transformers() -> Iterator[None]:
    """Print no reports of transformers on weights: they are checked here instead."""
    from transformers.utils import logging

    before = logging.get_verbosity()
    logging.set_verbosity_error()
    logging.disable_progress_bar()
    try:
        yield
    finally:
        logging.set_verbosity(before)


def _problems(report: Mapping[str, Any], layers: set[str]) -> list[str]:
    """Return a text for each way in which weights do not fit, see `check_names`."""
    missing = sorted(report["missing_keys"])
    shapes = [
        f"{name}: {list(found)}, expected {list(expected)}"
        for name, found, expected in sorted(report["mismatched_keys"])
    ]
    return [
        *_without_place(sorted(report["unexpected_keys"]), layers),
        *([f"{len(missing):,} are missing ({some(missing)})"] if missing else []),
        *([f"{len(shapes):,} of another shape ({some(shapes)})"] if shapes else []),
    ]


def _without_place(names: Sequence[str], layers: set[str]) -> Iterator[str]:
    """Yield for each kind how many weights have no place, the first, and a remedy."""
    kinds: dict[str, list[str]] = {}
    for name in names:
        kinds.setdefault(_kind(name, layers), []).append(name)
    for kind, found in kinds.items():
        yield f"{len(found):,} have no place ({some(found)}): {kind}"


def _kind(name: str, layers: set[str]) -> str:
    kinds = (kind for pattern, kind in KINDS.items() if re.search(pattern, name))
    first = next(kinds)
    # The layer may be one that the model has.
    number = re.search(r"\.(\d+)\.", f".{name}")
    is_known = number is not None and number[1] in layers
    return next(kinds) if first == LAYERS and is_known else first


def _layer_numbers(model) -> set[str]:
    return {str(number) for number in range(model.config.num_hidden_layers)}


def _check_tied(folder: Path | str, model) -> None:
    """Check that matrices that config.json ties are equal where both are stored."""
    files = {name: file for file, found in _stored(folder).items() for name in found}
    for pair in model.all_tied_weights_keys.items():
        one, other = (_stored_name(name, files, model) for name in pair)
        if not (one and other):
            continue
        if not _read(files[one], one).equal(_read(files[other], other)):
            raise ValueError(
                f"{folder}: weights {one} and {other} differ, but config.json ties "
                "them; expected tie_word_embeddings: false, or one of them"
            )


def _stored_name(name: str, stored: Collection[str], model) -> str | None:
    """Return the name that a weight of the model is stored by; None if it is not."""
    names = (name, name.removeprefix(f"{model.base_model_prefix}."))
    return next((each for each in names if each in stored), None)


def _stored(folder: Path | str) -> dict[Path, dict[str, dict[str, Any]]]:
    """Return the headers of a checkpoint's weight files, without its buffers."""
    return {
        path: {
            name: tensor
            for name, tensor in read_header(path).items()
            if not BUFFERS.search(name)
        }
        for path in (Path(folder) / file for file in weight_files(folder))
    }


def _read(file: Path, name: str):
    from safetensors import safe_open

    with safe_open(file, framework="pt") as opened:
        return opened.get_tensor(name)
