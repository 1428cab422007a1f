"""The oracle: every architecture in plain float64 torch, from its weights alone.

Shares no code with the library and hooks nothing. A node's output is what it adds to
the residual stream, `(batch, position, d_model)`; for a head that is its slice of `z`
times its part of the output projection, before a norm over the sum of all heads where
the family has one.
"""

import torch
from reference_families import FORWARDS
from reference_rules import following


def run(model, ids=None, *, embeddings=None, edit=lambda _name, live: live):
    """Return the logits `(batch, position, vocabulary)` and every node's output.

    `edit(node, live output)` gives what the node adds to the residual stream instead.
    """
    weights = {name: value.double() for name, value in model.state_dict().items()}
    forward = FORWARDS[model.config.model_type]
    tokens = embed(model, ids) if embeddings is None else embeddings
    outputs = {}

    def write(name, live):
        outputs[name] = edit(name, live)
        return outputs[name]

    return forward(model.config, weights, tokens, write), outputs


def embed(model, ids):
    """Return the token embeddings as the first layer reads them; Gemma scales them."""
    config = model.config
    scale = config.hidden_size**0.5 if config.model_type.startswith("gemma") else 1
    return scale * model.get_input_embeddings().weight.double()[ids]


def replaced(outputs):
    """Return the edit that sets nodes to the given outputs, the others live."""
    return lambda name, live: outputs.get(name, live)


def mixed(shares, outside, inside=None):
    """Return the edit `share * (inside or live) + (1 - share) * outside`, by node."""

    def edit(name, live):
        kept = live if inside is None else inside[name]
        return shares[name] * kept + (1 - shares[name]) * outside[name]

    return edit


def pushed(shares, towards):
    """Return the edit `live + share * (towards - live)`, by node."""
    return lambda name, live: live + shares[name] * (towards[name] - live)


def logit_diff(logits, answers, wrong_answers):
    """Return mean right minus mean wrong logit of the last position, `(batch,)`."""
    last = logits[:, -1]

    def mean(row, ids):
        return torch.stack([row[index] for index in ids.tolist() if index >= 0]).mean()

    rows = zip(last, answers, wrong_answers, strict=True)
    return torch.stack([mean(row, a) - mean(row, b) for row, a, b in rows])


@torch.no_grad()
def ablated_outputs(model, pairs, pair, kind):
    """Return what every node writes on `pair` when it is ablated, by name.

    `pairs` are all pairs of the task, each `(1, position)`.
    """
    if kind == "counterfactual":
        return run(model, pair.corrupted)[1]
    outputs = [run(model, each.clean)[1] for each in pairs]
    _, shaped = run(model, pair.clean)
    if kind == "zero":
        return {name: torch.zeros_like(live) for name, live in shaped.items()}
    rows = {name: torch.cat([each[name][0] for each in outputs]) for name in shaped}
    return {name: rows[name].mean(0).expand_as(live) for name, live in shaped.items()}


def node_scores(model, pair, method, steps=5, corrupted=None):
    """Score every node on one pair, `(n_nodes,)`, slowly and by the definition.

    `pair` has the prompts `(1, position)` and the answers `(1,)` of a batch of one;
    `corrupted` is what nodes write when ablated, by default on the corrupted prompt.
    """
    with torch.no_grad():
        full, clean = run(model, pair.clean)
        if corrupted is None:
            _, corrupted = run(model, pair.corrupted)

    def drop(outputs):
        with torch.no_grad():
            logits, _ = run(model, pair.clean, edit=replaced(outputs))
        return (_diff(full, pair) - _diff(logits, pair)).item()

    def score(gradients):
        return [
            ((clean[name] - corrupted[name]) * gradients[name]).sum().item()
            for name in clean
        ]

    if method == "exact":
        return torch.tensor([drop({name: corrupted[name]}) for name in clean])
    if method == "nap":
        return torch.tensor(score(_gradients(model, pair, 1.0)))
    if method == "nap-relp":
        with following("relp"):
            return torch.tensor(score(_gradients(model, pair, 1.0)))
    points = [k / steps for k in range(1, steps + 1)]
    if method == "nap-ig-inputs":
        parts = [score(_gradients(model, pair, share)) for share in points]
    else:
        parts = [
            score(_own_gradients(model, pair, share, clean, corrupted))
            for share in points
        ]
    return torch.tensor(parts).mean(0)


def _gradients(model, pair, share):
    """Gradient at every node where the input embeddings are so far from corrupted."""
    clean, corrupted = embed(model, pair.clean), embed(model, pair.corrupted)
    point = (corrupted + share * (clean - corrupted)).requires_grad_()
    logits, outputs = run(model, embeddings=point)
    gradients = torch.autograd.grad(_diff(logits, pair), list(outputs.values()))
    return dict(zip(outputs, gradients, strict=True))


def _own_gradients(model, pair, share, clean, corrupted):
    """Gradient at every node where its site alone is so far from corrupted."""
    gradients = {}
    for site in sorted({name.split(".")[0] for name in clean}):
        moved = {
            name: (corrupted[name] + share * (clean[name] - corrupted[name]))
            .detach()
            .requires_grad_()
            for name in clean
            if name.split(".")[0] == site
        }
        logits, _ = run(model, pair.clean, edit=replaced(moved))
        own = torch.autograd.grad(_diff(logits, pair), list(moved.values()))
        gradients |= zip(moved, own, strict=True)
    return gradients


def _diff(logits, pair):
    return logit_diff(logits, pair.answers, pair.wrong_answers).sum()
