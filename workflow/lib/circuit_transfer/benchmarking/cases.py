"""What is measured: a model, random pairs, and computations with their ideal cost.

The ideal is in passes of all pairs through the bare model, forwards alone or with a
backward pass to the embeddings: what a computation would take if nothing but these
passes took time. The only place of the benchmark that calls what it measures.
"""

from collections.abc import Callable
from functools import partial
from typing import Any

import polars as pl
import torch
from torch import Tensor, nn
from transformers import AutoConfig, AutoModelForCausalLM

from circuit_transfer.benchmarking.case import Case
from circuit_transfer.benchmarking.edge_cases import edge_cases
from circuit_transfer.benchmarking.entries import (
    ALL_CIRCUITS,
    FORWARD,
    FORWARD_BACKWARD,
    ONE_CIRCUIT,
    Load,
    Shape,
)
from circuit_transfer.circuits.attribution import attribute
from circuit_transfer.circuits.faithfulness import evaluate_circuits
from circuit_transfer.circuits.masked_runs import masked_logits
from circuit_transfer.circuits.masks import circuit_masks
from circuit_transfer.circuits.methods import Nodes, method_of
from circuit_transfer.circuits.prepared import Prepared, prepare
from circuit_transfer.interventions import run_captured
from circuit_transfer.models.architectures import node_sites
from circuit_transfer.prompts.batches import PairBatch
from circuit_transfer.transfer.objectives import FitSettings, alignment_loss

INTERVENTIONS = ("circuit", "interpolation", "release")
# Seconds over the ideal, beside those of the methods of attribution, and memory over
# that of a bare pass with its backward pass.
LIMITS = {
    "circuit, first epoch": 1.15,
    "circuit, later epochs": 0.75,
    ONE_CIRCUIT: 1.10,
    ALL_CIRCUITS: 1.05,
}
TASK = "random"


def random_model(shape: Shape, dtype: str, device: str, seed: int = 0) -> nn.Module:
    """Return a frozen model with random weights, ready for inference.

    Raises:
        ValueError: the family is unknown, or its sizes do not fit each other.
    """
    torch.manual_seed(seed)
    config = AutoConfig.for_model(
        shape.architecture,
        vocab_size=shape.vocabulary,
        hidden_size=shape.d_model,
        intermediate_size=shape.d_mlp,
        num_hidden_layers=shape.layers,
        num_attention_heads=shape.heads,
        num_key_value_heads=shape.kv_heads,
        tie_word_embeddings=True,
    )
    with torch.device(device):
        model = AutoModelForCausalLM.from_config(config, dtype=getattr(torch, dtype))
    return model.requires_grad_(False).eval()


def random_pairs(
    load: Load, vocabulary: int, device: torch.device | str = "cpu", seed: int = 0
) -> PairBatch:
    """Return pairs of random tokens.

    Both prompts of a pair have the same tokens at the first `shared` positions, another
    one at the next, and the same one at the last, as pairs of real tasks have.

    Raises:
        ValueError: prompts that share so many positions cannot differ.
    """
    if not 0 <= load.shared <= load.positions - 2:
        raise ValueError(
            f"{load.shared} of {load.positions} positions shared; expected at most "
            f"{load.positions - 2}, so that the prompts differ before the last"
        )
    generator = torch.Generator().manual_seed(seed)

    def tokens(*size: int) -> Tensor:
        return torch.randint(vocabulary, size, generator=generator)

    clean, corrupted = tokens(2, load.examples, load.positions)
    corrupted[:, : load.shared] = clean[:, : load.shared]
    corrupted[:, load.shared] = (clean[:, load.shared] + 1) % vocabulary
    corrupted[:, -1] = clean[:, -1]
    answers = tokens(load.examples, 1)
    wrong = (answers + 1) % vocabulary
    return PairBatch(*(each.to(device) for each in (clean, corrupted, answers, wrong)))


def bare_passes(model: nn.Module, batch: PairBatch) -> tuple[Case, Case]:
    """Return the passes that all else is measured in: forward, and with backward.

    The model as its own library runs it, without any hook. The backward pass goes from
    the logit difference to the embeddings; no parameter has a gradient.
    """
    settings = {"logits_to_keep": 1, "use_cache": False}

    @torch.inference_mode()
    def forward() -> None:
        model(batch.clean, **settings)

    def forward_backward() -> None:
        embeddings = model.get_input_embeddings()(batch.clean).requires_grad_()
        logits = model(inputs_embeds=embeddings, **settings).logits[:, -1].float()
        torch.autograd.grad(batch.logit_diff(logits).sum(), embeddings)

    return (
        Case(FORWARD, forward, 1),
        Case(FORWARD_BACKWARD, forward_backward, 0, 1),
    )


def cases(model: nn.Module, batch: PairBatch, load: Load) -> list[Case]:
    """Return every computation that is measured, beside the bare passes."""
    return [
        _capture(model, batch),
        *_attributions(model, batch, load),
        *_alignment_steps(model, batch),
        *_evaluations(model, batch, load),
        *edge_cases(model, batch, load),
    ]


def _capture(model: nn.Module, batch: PairBatch) -> Case:
    def capture() -> tuple:
        return run_captured(model, batch.clean), run_captured(model, batch.corrupted)

    return Case("capture", capture, 2)


def _attributions(model: nn.Module, batch: PairBatch, load: Load) -> list[Case]:
    """Every ideal pass goes from the first layer to the last."""
    nodes, steps = Nodes(_count_nodes(model), len(node_sites(model))), load.ig_steps

    def attribution(name: str) -> Case:
        method = method_of(name)
        return Case(
            name,
            lambda: attribute(model, [batch], method=name, ig_steps=steps),
            *method.ideal_passes(nodes, steps),
            method.limit,
            method.memory_limit,
        )

    return [attribution(name) for name in load.methods]


def _alignment_steps(model: nn.Module, batch: PairBatch) -> list[Case]:
    """One step of every intervention: with what is made once for all steps, and alone.

    The ideal is the same, the clean and corrupted run and the intervened one: it is
    what a step takes that keeps nothing.
    """
    scores = _random_scores(model, 1)[0].to(batch.clean.device)
    settings = {
        each: FitSettings(each, epochs=1, learning_rate=0.1, sparsity=1.0)
        for each in INTERVENTIONS
    }
    prepared = {each: _prepared(model, batch, each) for each in INTERVENTIONS}

    def step(intervention: str, made: Prepared) -> None:
        leaf = scores.clone().requires_grad_()
        mask = torch.sigmoid(leaf)
        run = partial(masked_logits, model, intervention=intervention)
        loss, _ = alignment_loss(run, made, mask, settings[intervention])
        loss.backward()

    def first(intervention: str) -> Callable[[], None]:
        return lambda: step(intervention, _prepared(model, batch, intervention))

    def later(intervention: str) -> Callable[[], None]:
        return lambda: step(intervention, prepared[intervention])

    return [
        Case(name, make(intervention), 2, 1, LIMITS.get(name))
        for intervention in INTERVENTIONS
        for name, make in (
            (f"{intervention}, first epoch", first),
            (f"{intervention}, later epochs", later),
        )
    ]


def _prepared(model: nn.Module, batch: PairBatch, intervention: str) -> Prepared:
    return prepare(model, {TASK: [batch]}, intervention=intervention)[0]


def _evaluations(model: nn.Module, batch: PairBatch, load: Load) -> list[Case]:
    scores = _random_scores(model, load.circuits)

    def evaluation(scores: Tensor) -> Callable[[], Any]:
        rankings = pl.DataFrame({"scores": scores.tolist()})
        return lambda: evaluate_circuits(model, [batch], rankings, load.proportions)

    return [
        Case(name, evaluation(each), 2 + _different(each, load), 0, LIMITS[name])
        for name, each in (
            (ONE_CIRCUIT, scores[:1]),
            (ALL_CIRCUITS, scores),
        )
    ]


def _count_nodes(model: nn.Module) -> int:
    return sum(n_nodes for _, _, n_nodes in node_sites(model))


def _random_scores(model: nn.Module, rankings: int) -> Tensor:
    generator = torch.Generator().manual_seed(0)
    return torch.randn(rankings, _count_nodes(model), generator=generator)


def _different(scores: Tensor, load: Load) -> int:
    """Count the circuits that are not the same nodes as another or the whole model."""
    masks = circuit_masks(scores, load.proportions).flatten(0, 1)
    return len(masks[~masks.all(1)].unique(dim=0))
