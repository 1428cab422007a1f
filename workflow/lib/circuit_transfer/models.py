"""Load and describe checkpoints in the Hugging Face layout, from disk only."""

import hashlib
import logging
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from circuit_transfer.architectures import architecture_of, has_parallel_mlp
from circuit_transfer.artifacts import read_json
from circuit_transfer.checkpoints import (
    check_checkpoint,
    check_weights,
    is_finite,
    read_model_type,
)
from circuit_transfer.job import pick_device
from circuit_transfer.nodes import node_names

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
        attn_implementation: `eager`, `sdpa` or what else transformers knows; by
            default its choice for the family.
        device_map: how to spread the model over devices and disk instead: `auto`, or
            a device for every module. Needs accelerate.

    Raises:
        FileNotFoundError: a file of the checkpoint is missing.
        ValueError: the family is not supported, or weights are missing or not finite.
        safetensors.SafetensorError: the weights' file is damaged.
    """
    check_checkpoint(folder)
    # Imported here: 2 seconds that only the stages that run a model should pay.
    import torch
    from transformers import AutoModelForCausalLM
    from transformers.utils import logging as transformers_logging

    transformers_logging.disable_progress_bar()
    model, report = AutoModelForCausalLM.from_pretrained(
        folder,
        # Given, so that what computes attention is told here alone: a checkpoint may
        # name a repository for it, whose code transformers would fetch and run.
        config=_read_settings(folder),
        output_loading_info=True,
        dtype=getattr(torch, dtype),
        attn_implementation=attn_implementation,
        device_map=device_map,
        use_safetensors=True,
        local_files_only=True,
        trust_remote_code=False,
    )
    if report["missing_keys"]:
        # They would be left as random numbers.
        raise ValueError(f"{folder}: no weights for {sorted(report['missing_keys'])}")
    for name, parameter in _parameters(model):
        if not is_finite(parameter):
            raise ValueError(f"{folder}: weight {name} is not finite")
    if device_map is None:
        model.to(device or pick_device())
    where = device_map or model.device
    log.info("loaded %s: %s, %s on %s", folder, model.config.model_type, dtype, where)
    return model.requires_grad_(False).eval()


def load_described(description: Mapping[str, Any]):
    """Load the model of a description by `load_model`, as the description says."""
    options = {option: description[option] for option in LOAD_OPTIONS}
    return load_model(description["path"], **options)


def load_tokenizer(folder: Path | str):
    """Load the tokenizer of a checkpoint folder.

    Raises:
        FileNotFoundError: the folder has none.
        ValueError: its file is damaged, or its settings ask for a BOS token and name
            none.
    """
    check_checkpoint(folder)
    # `tokenizer.json` is the whole tokenizer. AutoTokenizer would rebuild parts of it
    # by what it thinks of the family (a qwen2 folder gets another pre-tokenizer).
    from transformers import PreTrainedTokenizerFast

    read_json(Path(folder) / "tokenizer.json")
    try:
        tokenizer = PreTrainedTokenizerFast.from_pretrained(
            folder, local_files_only=True
        )
    # The library raises nothing more precise.
    except Exception as error:
        raise ValueError(
            f"{folder}: tokenizer.json and tokenizer_config.json are no tokenizer that "
            f"can be read ({_in_one_line(error)})"
        ) from error
    plain = tokenizer.encode("a", add_special_tokens=False)
    if _asks_for_bos(Path(folder)) and tokenizer.encode("a")[:1] == plain[:1]:
        # Older checkpoints say so in their settings alone, where it is overlooked.
        if tokenizer.bos_token_id is None:
            raise ValueError(
                f"{folder}: tokenizer_config.json has add_bos_token and no bos_token"
            )
        tokenizer.add_bos_token = True
    return tokenizer


def describe_model(
    folder: Path | str,
    *,
    dtype: str = "float32",
    attn_implementation: str | None = None,
    device_map: str | Mapping[str, str | int] | None = None,
) -> dict[str, Any]:
    """Return what the study needs to know of a model, having looked at all its files.

    The weights are read once, but never all together. So what is wrong with a
    checkpoint is found here, before any stage computes with it.

    Keys: `path`, how to load it (`dtype`, `attn_implementation`, `device_map`),
    `tokenizer` (fingerprint), and those of `describe_configuration`.

    Raises:
        FileNotFoundError: a file of the checkpoint is missing.
        ValueError: the model's family is not supported, a file is damaged, weights are
            missing or not finite, or the tokenizer has tokens that the model has not.
    """
    check_checkpoint(folder)
    configuration = _read_configuration(folder)
    _check_vocabulary(Path(folder), configuration["vocabulary"])
    check_weights(folder, configuration["parameters"])
    return {
        "path": str(folder),
        **configuration,
        "dtype": dtype,
        "attn_implementation": attn_implementation,
        "device_map": device_map,
        "tokenizer": _fingerprint(Path(folder)),
    }


def describe_configuration(config) -> dict[str, Any]:
    """Return what a model of a `transformers` configuration is made of.

    The model is built and run without memory for its weights, so `parameters` is exact
    (a tied matrix counts once) and the nodes are known to be where they should be.

    Keys: `architecture`, `layers`, `heads`, `kv_heads`, `d_model`, `d_head`, `d_mlp`,
    `context` (in positions), `vocabulary`, `parameters`, `parallel_mlp`, `nodes`.

    Raises:
        ValueError: the family is not supported, or its row in the table of families
            does not fit the model.
    """
    import torch
    from transformers import AutoModelForCausalLM

    architecture_of(config.model_type)
    with torch.device("meta"):
        # Eager: the other implementations look at the mask, which has no values.
        model = AutoModelForCausalLM.from_config(config, attn_implementation="eager")
    _check_sites(model)
    layers, heads = config.num_hidden_layers, config.num_attention_heads
    return {
        "architecture": config.model_type,
        "layers": layers,
        "heads": heads,
        "kv_heads": getattr(config, "num_key_value_heads", None) or heads,
        "d_model": config.hidden_size,
        "d_head": head_width(config),
        "d_mlp": mlp_width(config),
        "context": config.max_position_embeddings,
        "vocabulary": config.vocab_size,
        "parameters": sum(parameter.numel() for parameter in model.parameters()),
        "parallel_mlp": has_parallel_mlp(config),
        "nodes": list(node_names(layers, heads)),
    }


def head_width(config) -> int:
    """Return how many numbers one attention head writes at a position."""
    own = getattr(config, "head_dim", None)
    return own or config.hidden_size // config.num_attention_heads


def mlp_width(config) -> int:
    """Return how many neurons an MLP block has."""
    # GPT-2 has another name for it, and a default that only its modules know.
    names = ("intermediate_size", "n_inner")
    widths = (getattr(config, name, None) for name in names)
    return next(filter(None, widths), 4 * config.hidden_size)


def _parameters(model) -> Iterator[tuple[str, Any]]:
    """Yield every parameter with its values, also those that wait on the disk."""
    for prefix, module in model.named_modules():
        own = dict(module.named_parameters(prefix, recurse=False))
        if any(parameter.is_meta for parameter in own.values()):
            from accelerate.utils import align_module_device

            with align_module_device(module):
                yield from module.named_parameters(prefix, recurse=False)
        else:
            yield from own.items()


def _check_sites(model) -> None:
    """Run a model without values and compare every site with its configuration."""
    import torch

    from circuit_transfer.interventions import captured, captured_stream

    config = model.config
    heads, width = config.num_attention_heads, config.hidden_size
    head_width = getattr(config, "head_dim", None) or width // heads
    expected = [(heads, head_width), (1, width)] * config.num_hidden_layers
    ids = torch.zeros(1, 2, dtype=torch.long, device="meta")
    try:
        with (
            torch.no_grad(),
            captured(model) as activations,
            captured_stream(model) as stream,
        ):
            model(ids, attention_mask=torch.ones_like(ids), use_cache=False)
        found = [tuple(each.shape[2:]) for each in activations]
        widths = {each.shape[-1] for each in stream}
    except (AttributeError, RuntimeError) as error:
        raise ValueError(
            f"the table of families does not fit a {config.model_type}: {error}"
        ) from error
    if found != expected:
        raise ValueError(
            f"the table of families does not fit a {config.model_type}: "
            f"(nodes, width) at its sites are {found}, expected {expected}"
        )
    if widths != {width}:
        raise ValueError(
            f"the table of families does not fit a {config.model_type}: what it takes "
            f"for the residual stream is {sorted(widths)} wide, expected {width}"
        )


def _asks_for_bos(folder: Path) -> bool:
    """Tell whether the tokenizer's settings want a token before every text."""
    settings = folder / "tokenizer_config.json"
    if not settings.is_file():
        return False
    return read_json(settings).get("add_bos_token") is True


def _read_configuration(folder: Path | str) -> dict[str, Any]:
    """Describe the configuration of a checkpoint, see `describe_configuration`."""
    architecture_of(read_model_type(folder))
    try:
        return describe_configuration(_read_settings(folder))
    # Wrong values end in all kinds of errors, and none of them names the file.
    except Exception as error:
        raise ValueError(
            f"{folder}: config.json makes no model: {_in_one_line(error)}"
        ) from error


def _read_settings(folder: Path | str):
    """Read the configuration of a checkpoint, as `transformers` has it."""
    from transformers import AutoConfig

    architecture_of(read_model_type(folder))
    return AutoConfig.from_pretrained(
        folder, local_files_only=True, trust_remote_code=False
    )


def _in_one_line(error: Exception) -> str:
    return " ".join(f"{type(error).__name__}: {error}".split())


def _check_vocabulary(folder: Path, vocabulary: int) -> None:
    # Tokens that were added to a tokenizer may lie beyond (an image's in Gemma 3): a
    # pair that needs one is rejected.
    tokens = load_tokenizer(folder).vocab_size
    if tokens > vocabulary:
        raise ValueError(
            f"{folder}: tokenizer.json has {tokens} tokens, but config.json a "
            f"vocab_size of {vocabulary}: the tokenizer is of another model"
        )


def _fingerprint(folder: Path) -> str:
    """Return a hash of the tokenizer, whatever else the folder holds."""
    digest = hashlib.sha256((folder / "tokenizer.json").read_bytes())
    if _asks_for_bos(folder):
        digest.update(b"add_bos_token")
    return digest.hexdigest()[:16]
