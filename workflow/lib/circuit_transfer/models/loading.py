"""Load models and tokenizers of the Hugging Face layout, from disk only."""

import logging
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from circuit_transfer.jobs.job import pick_device
from circuit_transfer.jobs.progress import activity
from circuit_transfer.messages import in_one_line
from circuit_transfer.models.architectures import architecture_of
from circuit_transfer.models.checkpoints import check_checkpoint, read_model_type
from circuit_transfer.models.tokenizer_files import (
    added_tokens,
    asks_for_bos,
    check_text_is_last,
)
from circuit_transfer.models.weights import (
    check_names,
    is_finite,
    on_device,
    quiet_transformers,
)

log = logging.getLogger(__name__)

LOAD_OPTIONS = ("dtype", "attn_implementation", "device_map")


def load_model(
    folder: Path | str,
    *,
    dtype: str = "float32",
    device: str | None = None,
    attn_implementation: str | None = None,
    device_map: str | Mapping[str, str | int] | None = None,
):
    """Load a causal language model for inference, with frozen parameters.

    Args:
        folder: the checkpoint folder; weights must be safetensors.
        dtype: of the weights and the passes: `float32`, `bfloat16` or `float16`.
        device: where to put the whole model; by default a GPU when there is one.
        attn_implementation: `eager`, `sdpa` or another one of transformers; by
            default its choice for the family.
        device_map: how to spread the model over devices and disk instead: `auto`, or
            a device for every module. Needs accelerate.

    Raises:
        FileNotFoundError: a file of the checkpoint is missing.
        ValueError: the family is not supported, or the weights are not those of the
            model, quantised or not finite.
        safetensors.SafetensorError: the weights' file is damaged.
    """
    check_checkpoint(folder)
    with activity(f"loading {folder}"):
        model = _read_weights(
            folder,
            dtype=dtype,
            attn_implementation=attn_implementation,
            device_map=device_map,
        )
        if device_map is None:
            model.to(device or pick_device())
    where = device_map or model.device
    log.info("loaded %s: %s, %s on %s", folder, model.config.model_type, dtype, where)
    return model.requires_grad_(False).eval()


def _read_weights(folder: Path | str, *, dtype: str, **options: Any):
    """Read a model from its folder and check its weights.

    Arguments and errors as in `load_model`.
    """
    # Imported here: 2 seconds that only the stages that run a model should pay.
    import torch
    from transformers import AutoModelForCausalLM

    config = read_settings(folder)
    # Missing weights would be left as random numbers, those without a place ignored.
    check_names(folder, config)
    with quiet_transformers():
        model = AutoModelForCausalLM.from_pretrained(
            folder,
            # Passed, so that only the caller chooses the attention implementation: a
            # checkpoint may name a repository for it, whose code transformers would
            # fetch and run.
            config=config,
            dtype=getattr(torch, dtype),
            use_safetensors=True,
            local_files_only=True,
            trust_remote_code=False,
            **options,
        )
    for name, parameter in _parameters(model):
        if not is_finite(parameter):
            raise ValueError(f"{folder}: weight {name} is not finite")
    return model


def load_described(description: Mapping[str, Any]):
    """Load the model of a description by `load_model`, as the description says."""
    options = {option: description[option] for option in LOAD_OPTIONS}
    return load_model(description["path"], **options)


def load_tokenizer(folder: Path | str):
    """Load the tokenizer of a checkpoint folder.

    Raises:
        FileNotFoundError: the folder has none.
        ValueError: its file is damaged, it puts a token after every text, or its
            settings ask for a BOS token and name none.
    """
    check_checkpoint(folder)
    check_text_is_last(folder)
    # `tokenizer.json` is the whole tokenizer. AutoTokenizer would rebuild parts of it
    # from the name of the family (a qwen2 folder gets another pre-tokenizer).
    from transformers import PreTrainedTokenizerFast

    try:
        tokenizer = PreTrainedTokenizerFast.from_pretrained(
            folder, local_files_only=True
        )
    # The library raises nothing more precise.
    except Exception as error:
        raise ValueError(
            f"{folder}: tokenizer.json and tokenizer_config.json are no tokenizer that "
            f"can be read ({in_one_line(error)})"
        ) from error
    before, _ = added_tokens(folder)
    if asks_for_bos(folder) and not before:
        # Older checkpoints say so only in their settings, which the class ignores.
        if tokenizer.bos_token_id is None:
            raise ValueError(
                f"{folder}: tokenizer_config.json has add_bos_token and no bos_token"
            )
        tokenizer.add_bos_token = True
    return tokenizer


def _parameters(model) -> Iterator[tuple[str, Any]]:
    """Yield every parameter with its values, also those offloaded to disk."""
    for prefix, module in model.named_modules():
        with on_device(module):
            yield from module.named_parameters(prefix, recurse=False)


def read_settings(folder: Path | str):
    """Read the configuration of a checkpoint as an object of `transformers`."""
    from transformers import AutoConfig

    architecture_of(read_model_type(folder))
    return AutoConfig.from_pretrained(
        folder, local_files_only=True, trust_remote_code=False
    )
