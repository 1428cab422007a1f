"""Check that the entry of a model family names the right modules of a model."""

import torch
from torch import nn

from circuit_transfer.interventions.hooks import captured, captured_stream
from circuit_transfer.interventions.positions import fixed_angles


def check_sites(model: nn.Module) -> None:
    """Compare the shapes at every site with the configuration, on the meta device.

    Args:
        model: a model on the meta device, see `models.shape.skeleton`.

    Raises:
        ValueError: the entry of the model's family does not fit the model.
    """
    config = model.config
    heads, width = config.num_attention_heads, config.hidden_size
    head_width = getattr(config, "head_dim", None) or width // heads
    expected = [(heads, head_width), (1, width)] * config.num_hidden_layers
    ids = torch.zeros(1, 2, dtype=torch.long, device="meta")
    try:
        with (
            torch.no_grad(),
            fixed_angles(model),
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
            f"the table of families does not fit a {config.model_type}: the width of "
            f"its residual stream is {sorted(widths)}, expected {width}"
        )
