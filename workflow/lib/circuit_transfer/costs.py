"""What a study costs before it runs: passes, FLOPs, GPU hours, memory and disk.

Passes are counted, from what the stages do: one pass is one prompt through the model.
FLOPs follow from them: two a parameter and token forwards, two more backwards, since
parameters are frozen and only activations have gradients, and the products of queries,
keys and values. Hours and memory are estimates; their formulas are in the docstrings.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

import polars as pl
import torch
from transformers import AutoModelForCausalLM, PreTrainedConfig

from circuit_transfer.architectures import architecture_of, node_sites
from circuit_transfer.workload import FLOAT32_BYTES, Nodes, Work, study_work

# FLOP/s of one A100 80GB, in the formats a model may compute in (without TF32).
PEAK_FLOPS = {"bfloat16": 312e12, "float16": 312e12, "float32": 19.5e12}
UTILISATION = 0.3  # the share of the peak that short prompts in small batches reach
LOSS_LOGITS = 4  # float32 copies of a batch's logits while a divergence is computed
GIGA, PETA, HOUR = 1e9, 1e15, 3600
KEYS = ("stage", "model")
PASSES = dict.fromkeys(("jobs", "forwards", "forward_backwards", "tokens"), pl.Int64)
COSTS = dict.fromkeys(
    ("petaflop", "gpu_hours", "peak_memory_gb", "disk_gb"), pl.Float64
)


@dataclass(frozen=True)
class ModelShape:
    """The sizes of a model that its costs depend on.

    Attributes:
        dtype: the format it computes in, `float32`, `bfloat16` or `float16`.
        stored_dtype: the format of its published weights.
        parameters: all of them, tied ones once.
        matrices: parameters of the layers' matrices, which multiply every position.
        unembedding: parameters of the matrix that multiplies the last position alone.
        n_nodes: attention heads and MLP blocks.
    """

    dtype: str
    stored_dtype: str
    parameters: int
    matrices: int
    unembedding: int
    vocabulary: int
    layers: int
    heads: int
    d_head: int
    d_model: int
    d_mlp: int
    n_nodes: int

    @property
    def weight_bytes(self) -> int:
        """Bytes of the weights in memory."""
        return self.parameters * _bytes_of(self.dtype)

    @property
    def stored_bytes(self) -> int:
        """Bytes of the published weights."""
        return self.parameters * _bytes_of(self.stored_dtype)

    @property
    def node_bytes(self) -> int:
        """Bytes of what all nodes write at one position: every `z` and MLP output."""
        width = self.heads * self.d_head + self.d_model
        return self.layers * width * _bytes_of(self.dtype)

    @property
    def kept_bytes(self) -> int:
        """Bytes that a pass keeps of one position until its backward pass, at most.

        In every layer, without gradients of parameters: four times the MLP's width (a
        gated one keeps three), queries, keys, values and their mixture (keys and values
        as if there were one a query head), what the nodes write, since they are
        intervened on, and the input of two norms in float32.
        """
        d_attention = self.heads * self.d_head
        numbers = 4 * self.d_mlp + 5 * d_attention + self.d_model
        norms = 2 * self.d_model * FLOAT32_BYTES
        return self.layers * (numbers * _bytes_of(self.dtype) + norms)

    def forward_flops(self, tokens: int) -> int:
        """FLOPs of a prompt's forward pass; norms and activations are not counted."""
        products = self.matrices * tokens + self.unembedding
        return 2 * products + self._attention_flops(tokens)

    def backward_flops(self, tokens: int) -> int:
        """FLOPs of the gradients of a prompt's activations, down to its embeddings.

        As many again for a matrix, whose own gradient is not needed, and twice as many
        for a product of two activations. Passes that stop at a site do less.
        """
        return self.forward_flops(tokens) + self._attention_flops(tokens)

    def _attention_flops(self, tokens: int) -> int:
        # Queries with keys, weights with values: all pairs of positions, as computed,
        # though half of them are masked.
        return 4 * self.layers * self.heads * self.d_head * tokens**2


def model_shape(config: PreTrainedConfig, *, dtype: str | None = None) -> ModelShape:
    """Read a model's sizes off its skeleton, which is built without weights.

    Args:
        config: the model's configuration.
        dtype: the format to compute in; by default that of the published weights.

    Raises:
        ValueError: the family is not supported.
    """
    row = architecture_of(config.model_type)
    with torch.device("meta"):
        model = AutoModelForCausalLM.from_config(config)
    layers = model.get_submodule(row.layers)
    d_model, heads = config.hidden_size, config.num_attention_heads
    stored = str(getattr(config, "dtype", None) or "float32").removeprefix("torch.")
    # GPT-2 has another name for it, and a default that only its modules know.
    d_mlp = getattr(config, "intermediate_size", None) or getattr(
        config, "n_inner", None
    )
    return ModelShape(
        dtype=dtype or stored,
        stored_dtype=stored,
        parameters=sum(each.numel() for each in model.parameters()),
        matrices=sum(each.numel() for each in layers.parameters() if each.dim() > 1),
        unembedding=model.get_output_embeddings().weight.numel(),
        vocabulary=config.vocab_size,
        layers=len(layers),
        heads=heads,
        d_head=getattr(config, "head_dim", None) or d_model // heads,
        d_model=d_model,
        d_mlp=d_mlp or 4 * d_model,
        n_nodes=sum(n_nodes for _, _, n_nodes in node_sites(model)),
    )


def pass_counts(work: Iterable[Work], tokens: Mapping[str, int]) -> pl.DataFrame:
    """Return `jobs`, `forwards`, `forward_backwards`, `tokens` by stage and model.

    Passes are of one prompt each, tokens are those of all passes, as far as they go
    through the layers. That is at most: what the prompts of a pair have in common is
    run once, and what lies outside all circuits of a pass is not run at all.

    Args:
        work: the jobs of a study, see `workload.study_work`.
        tokens: how many a prompt of every task has.
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
    whole = sum(
        pairs
        * (
            passes * shape.forward_flops(tokens[task])
            + work.forward_backwards * shape.backward_flops(tokens[task])
        )
        for task, pairs in work.pairs.items()
    )
    return round(work.layers * whole)


def work_memory(work: Work, shape: ModelShape, tokens: Mapping[str, int]) -> int:
    """Return about how many bytes of GPU memory a job needs at its peak.

    The weights; what the nodes write and logits, as often as the stage holds them, of a
    batch or of all pairs; and for a batch of the longest prompts what its backward pass
    needs (of one layer, where there is none) and the logits of the loss. What CUDA
    itself takes, about half a gigabyte, comes on top.
    """
    batch = min(work.batch_size, max(work.pairs.values()))
    batch_tokens = batch * max(tokens[task] for task in work.pairs)
    held_tokens, held = batch_tokens, batch
    if work.holds_all:
        held_tokens, held = _prompt_tokens(work, tokens), sum(work.pairs.values())
    kept = batch_tokens * shape.kept_bytes
    if not work.forward_backwards:
        kept //= shape.layers
    logits = (work.logits * held + LOSS_LOGITS * batch) * shape.vocabulary
    nodes = work.copies * held_tokens * shape.node_bytes
    return shape.weight_bytes + nodes + kept + logits * FLOAT32_BYTES


def estimate(
    config: Mapping,
    shapes: Mapping[str, ModelShape],
    tokens: Mapping[str, int],
    *,
    utilisation: float = UTILISATION,
    peak_flops: Mapping[str, float] = PEAK_FLOPS,
) -> pl.DataFrame:
    """Return what every stage of a study costs on every model, and all of them.

    GPU hours are FLOPs over the FLOP/s that are reached, `peak_flops` of the model's
    format times `utilisation`. Models that the study trains itself are not counted.

    Args:
        config: a valid configuration, defaults filled in.
        shapes: by name, the models that the study uses.
        tokens: how many a prompt of every task has.
        utilisation: the share of the peak that is reached.
        peak_flops: FLOP/s of the GPU by format.

    Returns:
        The columns of `pass_counts`, then `petaflop` (1e15 operations), `gpu_hours`,
        `peak_memory_gb` (the largest job's) and `disk_gb` (published weights and
        tensors written; 1e9 bytes). The last row is the stage `all`.
    """
    nodes = {name: Nodes(s.n_nodes, 2 * s.layers) for name, s in shapes.items()}
    work = study_work(config, nodes)
    rows = []
    for each in work:
        shape = shapes[each.model]
        flops = work_flops(each, shape, tokens)
        reached = utilisation * peak_flops[shape.dtype]
        memory = work_memory(each, shape, tokens)
        sizes = (memory / GIGA, each.written_bytes / GIGA)
        rows.append(
            (each.stage, each.model, flops / PETA, flops / reached / HOUR, *sizes)
        )
    costs = _summed(rows, COSTS)
    passes = pass_counts(work, tokens)
    stages = passes.join(costs, on=KEYS, how="left", maintain_order="left")
    stages = pl.concat([_downloads(config["models"], shapes, stages.schema), stages])
    whole = stages.with_columns(stage=pl.lit("all"), model=pl.lit(""))
    return pl.concat([stages, _summed(whole.rows(), PASSES | COSTS)])


def _downloads(
    models: Mapping[str, Mapping], shapes: Mapping[str, ModelShape], schema: pl.Schema
) -> pl.DataFrame:
    rows = [
        {
            "stage": "download_model",
            "model": name,
            "jobs": 1,
            "disk_gb": shape.stored_bytes / GIGA,
        }
        for name, shape in shapes.items()
        if "hub" in models[name]
    ]
    return pl.DataFrame(rows, schema=schema)


def _summed(rows: Sequence[tuple], columns: Mapping) -> pl.DataFrame:
    """Add up rows of stage, model and numbers; of peaks, take the largest."""
    schema = dict.fromkeys(KEYS, pl.String) | dict(columns)
    frame = pl.DataFrame(rows, schema=schema, orient="row")
    groups = frame.group_by(KEYS, maintain_order=True)
    return groups.agg(
        pl.col(each).max() if each == "peak_memory_gb" else pl.col(each).sum()
        for each in columns
    )


def _prompt_tokens(work: Work, tokens: Mapping[str, int]) -> int:
    return sum(pairs * tokens[task] for task, pairs in work.pairs.items())


def _bytes_of(dtype: str) -> int:
    return getattr(torch, dtype).itemsize
