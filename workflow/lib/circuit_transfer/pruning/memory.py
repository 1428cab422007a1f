"""How many circuits of a training run side by side in a pass: as many as fit.

The others follow in further passes of the same step; every circuit has its own gates
and its own loss, so what is learned does not depend on it. Nothing here needs torch, so
that a study's memory is estimated without it.
"""

from circuit_transfer.models.shape import FLOAT32_BYTES, ModelShape

# float32 copies of a batch's logits while a divergence is computed.
LOSS_LOGITS = 4
# The most that circuits take side by side, in bytes, and the most as a share of the
# memory of the device: half of the GPU that costs are estimated for.
PASS_BYTES, PASS_SHARE = 40_000_000_000, 0.5


def circuit_bytes(shape: ModelShape, kv: str, examples: int, tokens: int) -> int:
    """Return the bytes that a circuit of edges takes in a forward and backward pass.

    Activations that are stored for the backward pass, what edges take, and logits.

    Args:
        shape: of the model.
        kv: which readers there are, see `models.edges.edge_graph`.
        examples: in a batch.
        tokens: of a prompt.
    """
    logits = LOSS_LOGITS * examples * shape.vocabulary * FLOAT32_BYTES
    kept = examples * tokens * shape.saved_bytes
    return kept + logits + shape.edge_bytes(kv, examples * tokens)


def fitting_circuits(
    shape: ModelShape, kv: str, examples: int, tokens: int, room: int = PASS_BYTES
) -> int:
    """Return how many circuits fit side by side, at least one.

    Args:
        shape: see `circuit_bytes`, as the next ones.
        kv: likewise.
        examples: likewise.
        tokens: likewise.
        room: bytes that they may take.
    """
    return max(1, room // circuit_bytes(shape, kv, examples, tokens))
