"""What edges add to the cost of a job: the estimate of FLOPs and of memory."""

from circuit_transfer.models.edges import Graph
from circuit_transfer.models.shape import BYTES, FLOAT32_BYTES, ModelShape
from circuit_transfer.study.work import EdgeWork

# Values of all writers that are multiplied at a time on a GPU, if an example has fewer:
# `edge_products.BUFFER`, which is next to what needs torch.
BUFFER = 2**28
# Bytes of runs that trainings keep, `prepared.CACHE_BYTES`; others run again.
CACHE = 8 * 2**30


def edge_flops(edges: EdgeWork | None, shape: ModelShape) -> int:
    """Return the FLOPs of one token of a pass beside those of the model.

    What every edge adds to its reader, or takes from the reader's gradient.
    """
    return 2 * edges.carried * shape.d_model if edges else 0


def edge_memory(
    edges: EdgeWork | None, shape: ModelShape, examples: int, tokens: int
) -> int:
    """Return the bytes that edges take beside the passes of the model, at the peak.

    Buffers of outputs as wide as the model; of all readers what they compute, or its
    gradient, and of every run the normalised streams besides, once more for the layer
    that is at work; and scores of every example, as they are made and as they are.

    Args:
        edges: what the job has to do with edges.
        shape: of the model.
        examples: in a batch.
        tokens: of the longest prompt.
    """
    if edges is None:
        return 0
    graph, positions = shape.graph(edges.kv), examples * tokens
    scores = len(graph.writers) * len(graph.readers) * FLOAT32_BYTES
    scores *= 2 * examples * edges.scored
    if not edges.runs:
        return shape.edge_bytes(edges.kv, positions, edges.buffers) + scores
    of_heads = graph.heads + 2 * graph.kv_readers
    of_layer = of_heads * shape.d_head + shape.d_model
    of_layer += edges.runs * (shape.d_model + of_heads)
    reading = positions * (graph.layers + 1) * of_layer
    wide = edges.buffers * _buffered(graph, shape, examples, tokens)
    return (wide + reading) * FLOAT32_BYTES + scores


def cached_bytes(edges: EdgeWork | None, shape: ModelShape, tokens: int) -> int:
    """Return the bytes of the outputs of all writers that are kept for all steps.

    Args:
        edges: what the job has to do with edges.
        shape: of the model.
        tokens: of all prompts.
    """
    if edges is None:
        return 0
    values = tokens * len(shape.graph(edges.kv).writers) * shape.d_model
    return min(CACHE, edges.cached * values * BYTES[shape.dtype])


def _buffered(graph: Graph, shape: ModelShape, examples: int, tokens: int) -> int:
    """Return the values in a buffer of writers, and of the readers of a layer."""
    writers = len(graph.writers)
    # Examples take turns where the outputs of all their writers are too large.
    at_once = BUFFER // (writers * tokens * shape.d_model)
    count = writers + graph.heads + 2 * graph.kv_readers
    return min(examples, max(1, at_once)) * tokens * count * shape.d_model
