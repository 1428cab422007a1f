"""How important the parts of a model are for the tasks that it is pruned for."""

import logging
from dataclasses import replace

import torch
from transformers import PreTrainedModel, PreTrainedTokenizerFast

from circuit_transfer.circuits.attribution import attribute
from circuit_transfer.embedded.curriculum import LEVELS, Curriculum
from circuit_transfer.embedded.model import TrainingSettings
from circuit_transfer.embedded.objective import training_loss
from circuit_transfer.embedded.selection import Importance, Keep, equal_importance
from circuit_transfer.generators import Words, generate_prompts
from circuit_transfer.models.cutting import everything, writing_parameters
from circuit_transfer.models.nonlinearities import mlp_modules
from circuit_transfer.models.shape import context_length
from circuit_transfer.prompts.batches import pair_batches
from circuit_transfer.prompts.encoding import pairs_tokenizer
from circuit_transfer.prompts.pairs import tokenize_pairs

log = logging.getLogger(__name__)

METHOD, IG_STEPS = "nap-ig-inputs", 5
PAIRS, PAIRS_OF_BATCH = 60, 20
# Batches of training texts, and the texts of each, that widths are scored on.
BATCHES, TEXTS = 8, 64


def importance(
    model: PreTrainedModel,
    tokenizer: PreTrainedTokenizerFast,
    words: Words,
    settings: TrainingSettings,
    keep: Keep,
) -> Importance:
    """Return how important nodes, neurons and dimensions are for some generators.

    Of a node: the mean of its absolute attribution scores on pairs of each generator.
    Of a neuron or a dimension of the residual stream: how fast the training loss
    changes with the weights that write to it, the product of weights and gradients,
    absolute, in the mean over batches (Molchanov et al. 2019, arXiv 1906.10771).

    Args:
        model: a causal language model on the CPU.
        tokenizer: of the model.
        words: word lists of the generators.
        settings: of the training, with its generators and seed.
        keep: see `selection.kept_shape`; what it does not count is not measured: all
            of it is as important.

    Raises:
        ValueError: no generator has a pair that the model can use.
    """
    found = equal_importance(everything(model.config).shape())
    if any(isinstance(keep.get(name), int) for name in ("layers", "heads")):
        model.requires_grad_(False)
        found = replace(found, nodes=_nodes(model, tokenizer, words, settings))
    if keep.keys() & {"d_model", "d_mlp"}:
        model.requires_grad_(True)
        curriculum = Curriculum(words, tokenizer, settings.generators, settings.seed)
        neurons, dimensions = _widths(model, curriculum)
        found = replace(found, neurons=neurons, dimensions=dimensions)
    return found


def _nodes(
    model: PreTrainedModel,
    tokenizer: PreTrainedTokenizerFast,
    words: Words,
    settings: TrainingSettings,
) -> list[float]:
    encoder = pairs_tokenizer(
        tokenizer,
        context=context_length(model.config),
        vocabulary=model.config.vocab_size,
        unknown=None,
    )
    scores = []
    for name in settings.generators:
        prompts = generate_prompts(name, words, "train", PAIRS, seed=settings.seed)
        pairs = tokenize_pairs(prompts, encoder).pairs
        if pairs.is_empty():
            log.warning("no pair of %s to score nodes on", name)
            continue
        batches = pair_batches(pairs, PAIRS_OF_BATCH)
        found = attribute(model, batches, method=METHOD, ig_steps=IG_STEPS)
        scores.append(found.nodes.double().abs().mean(0))
    if not scores:
        named = ", ".join(settings.generators)
        raise ValueError(
            f"no pair of {named} that the model can use, to choose what is kept by; "
            "name layers and heads, or give another generator"
        )
    return torch.stack(scores).mean(0).tolist()


def _widths(
    model: PreTrainedModel, curriculum: Curriculum
) -> tuple[list[list[float]], list[float]]:
    """Return the importance of neurons by layer, and of dimensions."""
    writing = writing_parameters(model)
    written = [each for name, each in model.named_parameters() if name in writing]
    embeddings = model.get_input_embeddings().weight
    outputs = [each.projection.weight for each in mlp_modules(model)]
    of_neurons = torch.zeros(len(outputs), outputs[0].shape[1])
    of_dimensions = torch.zeros(model.config.hidden_size)
    for number in range(BATCHES):
        loss = training_loss(model, curriculum.batch(number, len(LEVELS) - 1, TEXTS))
        gradients = torch.autograd.grad(loss, written)
        products = {
            weight: (weight * gradient).detach()
            for weight, gradient in zip(written, gradients, strict=True)
        }
        of_neurons += torch.stack([products[each].sum(0) for each in outputs]).abs()
        # Embeddings are (tokens, d_model), projections (d_model, inputs).
        of_embeddings = products.pop(embeddings).sum(0)
        others = [each.reshape(len(each), -1).sum(1) for each in products.values()]
        of_dimensions += (of_embeddings + torch.stack(others).sum(0)).abs()
    return of_neurons.tolist(), of_dimensions.tolist()
