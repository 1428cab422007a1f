"""Stitched edges, against regressions and reads written out with whole models."""

from itertools import product

import numpy as np
import pytest
import torch
from permuted import permuted_copy
from two_models import FAMILIES, start_late

from circuit_transfer.interventions.projections import edited_projections
from circuit_transfer.models.architectures import (
    final_norm,
    layer_readers,
    node_sites,
    projection_weight,
)
from circuit_transfer.models.edges import config_graph
from circuit_transfer.prompts.batches import pair_batches
from circuit_transfer.transfer.changes import run_both
from circuit_transfer.transfer.edge_maps import (
    blocks,
    edge_kinds,
    permutation_within,
    reader_kinds,
    writer_kinds,
)
from circuit_transfer.transfer.edge_reads import run_reads
from circuit_transfer.transfer.edge_stitching import (
    edge_change_scores,
    reader_shares,
    stitched_edges,
    stitched_writers,
)
from circuit_transfer.transfer.shared_prompts import shorten_both
from circuit_transfer.transfer.stitching import stitched_alignment


def captured_reads(model, ids, kv):
    """What every reader but the logits reads, by name, `(batch, position, width)`."""
    found, graph, handles = {}, config_graph(model.config, kv), []

    def store(layer, kind, value):
        readers = graph.attention_readers(layer, kind)
        for number, reader in enumerate(readers):
            found[graph.readers[reader]] = value[:, :, number]
        return value

    def storing(name, norm):
        def hook(_module, inputs, output):
            found[name] = output if norm else inputs[0]

        return hook

    for number, layer in enumerate(layer_readers(model)):
        norm = layer.mlp_norm
        hook = storing(f"m{number}", norm is not None)
        handles.append((norm or layer.mlp_input).register_forward_hook(hook))
    handles.append(final_norm(model).register_forward_hook(storing("logits", True)))
    with torch.no_grad(), edited_projections(model, store, kv=kv):
        model(ids, use_cache=False)
    for handle in handles:
        handle.remove()
    return found


def read_changes(model, batches, kv):
    """Clean minus corrupted on all tokens, by reader, `(token, width)` in float64."""
    rows = []
    for batch in batches:
        clean, other = (
            captured_reads(model, ids, kv) for ids in (batch.clean, batch.corrupted)
        )
        rows.append({x: (clean[x] - other[x]).flatten(0, 1) for x in clean})
    return {x: torch.cat([row[x] for row in rows]).double().numpy() for x in rows[0]}


def plain_shares(models, graphs, batches, kv, ridge=1.0):
    """The definition, pair by pair of readers."""
    given, seen = (read_changes(model, batches, kv) for model in models)
    found = np.zeros([len(graph.readers) for graph in graphs])
    found[-1, -1] = 1
    kinds = [reader_kinds(graph) for graph in graphs]
    for i, j in product(*(range(len(graph.readers) - 1) for graph in graphs)):
        if kinds[0][i] == kinds[1][j]:
            x, y = seen[graphs[1].readers[j]], given[graphs[0].readers[i]]
            # Ridge regression is least squares with further rows.
            strength = np.sqrt(ridge * np.square(x).sum() / x.shape[1])
            rows = np.concatenate([x, strength * np.eye(x.shape[1])])
            wanted = np.concatenate([y, np.zeros((x.shape[1], y.shape[1]))])
            weights = np.linalg.lstsq(rows, wanted, rcond=None)[0]
            found[i, j] = 1 - np.square(y - x @ weights).sum() / np.square(y).sum()
    return found


def both_runs(models, batches):
    prompts = shorten_both(*models, [(batch, batch) for batch in batches])
    return run_both(*models, prompts, run_reads)


@pytest.mark.parametrize("kv", ["query-head", "kv-head"])
@pytest.mark.parametrize("families", [("llama", "llama"), ("gpt_neox", "olmo2")])
def test_shares_of_readers_follow_the_definition(tiny_model, tiny_pairs, families, kv):
    source = tiny_model(families[0], layers=1, seed=3).requires_grad_(False)
    models = source, tiny_model(families[1]).requires_grad_(False)
    graphs = tuple(config_graph(model.config, kv) for model in models)
    batches = start_late(pair_batches(tiny_pairs(6), 4))
    found = reader_shares(models, graphs, both_runs(models, batches))
    expected = plain_shares(models, graphs, batches, kv)
    np.testing.assert_allclose(found, expected, atol=2e-5)
    assert 0 <= found.min() < found.max() <= 1
    assert (found[~blocks(*graphs, reader_kinds)] == 0).all()


def test_the_score_of_a_reader_is_shared_out(models, tiny_pairs):
    graphs = tuple(config_graph(model.config) for model in models)
    runs = both_runs(models, pair_batches(tiny_pairs(6), 4))
    found = stitched_edges(models, graphs, runs)
    np.testing.assert_allclose(found.readers.sum(1), 1, rtol=1e-5)
    shares = reader_shares(models, graphs, runs)
    ratio = found.readers[0, shares[0] > 0] / shares[0, shares[0] > 0]
    np.testing.assert_allclose(ratio, ratio[0], rtol=1e-5)


def embedding_changes(model, batches):
    embed = model.get_input_embeddings()
    every = [embed(batch.clean) - embed(batch.corrupted) for batch in batches]
    return torch.cat([each.flatten(0, 1) for each in every]).double().numpy()


def test_writers_are_stitched_as_nodes_are(models, tiny_pairs):
    graphs = tuple(config_graph(model.config) for model in models)
    batches = start_late(pair_batches(tiny_pairs(6), 4))
    runs = both_runs(models, batches)
    found = stitched_writers(models, graphs, runs)
    nodes = stitched_alignment(*models, *([x.changes() for x in own] for own in runs))
    kinds = blocks(*graphs, writer_kinds)
    assert (found[1:, 1:] == np.where(kinds[1:, 1:], nodes, 0)).all()
    assert not found[0, 1:].any() and not found[1:, 0].any()
    x, y = (embedding_changes(model, batches) for model in reversed(models))
    strength = np.square(x).sum() / x.shape[1] * np.eye(x.shape[1])
    mapped = x @ np.linalg.solve(x.T @ x + strength, x.T @ y)
    expected = (y * mapped).sum() / np.square(y).sum() / 1.01
    np.testing.assert_allclose(found[0, 0], expected, rtol=1e-4)


@pytest.mark.parametrize("kv", ["query-head", "kv-head"])
@pytest.mark.parametrize(("family", "settings"), FAMILIES)
def test_changes_of_edges_are_read_through_the_clean_run_s_norm(
    tiny_model, tiny_pairs, family, settings, kv
):
    model = tiny_model(family, **settings).double().requires_grad_(False)
    graph = config_graph(model.config, kv)
    batch = start_late(pair_batches(tiny_pairs(3), 3))[0]
    runs = [run_reads(model, batch)]
    assert runs[0].clean.dtype == torch.float32
    found = graph.matrix(edge_change_scores(model, graph, runs).numpy(), outside=0)
    every = [runs[0].clean[0] - runs[0].corrupted[0]]
    every += changes_of_nodes(model, runs[0])
    for writer in range(0, len(every), 2):
        moved = every[writer].double()
        for reader, squares in moved_reads(model, runs[0], moved, kv).items():
            number = graph.readers.index(reader)
            if graph.legal[writer, number]:
                expected = squares / len(batch)
                np.testing.assert_allclose(
                    found[writer, number], expected, 2e-3, 1e-12, err_msg=reader
                )
    assert (found[graph.legal] > 0).mean() > 0.8


def changes_of_nodes(model, runs):
    """The change of the stream by every node, before a norm over all heads."""
    for (module, at_input, count), change in zip(
        node_sites(model), runs.sites, strict=True
    ):
        for node in range(count):
            own = change[:, :, node]
            if at_input:
                width = own.shape[-1]
                columns = slice(node * width, (node + 1) * width)
                own = own.double() @ projection_weight(module)[:, columns].T
            yield own


def moved_reads(model, runs, moved, kv):
    """By reader, the sum of squares of what it reads of a change of the stream.

    The norm itself runs on the stream with and without the change; each output is
    multiplied by what the norm has divided by, and divided by that of the clean stream.
    """

    def seen(norm, stream):
        if norm is None:
            return moved
        ends = [norm(stream + moved), norm(stream)]
        zero = norm(torch.zeros_like(stream))  # its bias
        sizes = [scale_of(norm, x) for x in (stream + moved, stream)]
        return (ends[0] - zero) * sizes[0] / sizes[1] - (ends[1] - zero)

    found = {}
    graph = config_graph(model.config, kv)
    points = runs.clean.double()
    parallel = getattr(model.config, "use_parallel_residual", False)
    for number, layer in enumerate(layer_readers(model)):
        last = number == graph.layers - 1
        read = seen(layer.attention_norm, points[2 * number])
        outputs = {}

        def store(_layer, kind, value, outputs=outputs):
            outputs[kind] = value
            return value

        with edited_projections(model, store, kv=kv):
            ends = []
            for values in (read, torch.zeros_like(read)):  # their bias
                for module in layer.projections:
                    module(values)
                ends.append(dict(outputs))
        for kind in "qkv":
            change = ends[0][kind] - ends[1][kind]
            for index, reader in enumerate(graph.attention_readers(number, kind)):
                part = change[:, :, index]
                part = part[:, -1:] if last and kind == "q" else part
                found[graph.readers[reader]] = part.square().sum().item()
        read = seen(layer.mlp_norm, points[2 * number + (not parallel)])
        read = read[:, -1:] if last else read
        found[f"m{number}"] = read.square().sum().item()
    read = seen(final_norm(model), points[-1])[:, -1:]
    found["logits"] = read.square().sum().item()
    return found


def scale_of(norm, values):
    """The root that a norm divides by, `(batch, position, 1)`."""
    eps = getattr(norm, "eps", None) or getattr(norm, "variance_epsilon", None)
    if "LayerNorm" in type(norm).__name__:
        values = values - values.mean(-1, keepdim=True)
    return (values.square().mean(-1, keepdim=True) + eps).sqrt()


def correlation(one, other):
    return np.corrcoef(one, other)[0, 1]


def test_a_permuted_copy_ranks_its_own_edges(tiny_model, tiny_pairs):
    """Scores of edges of one kind say where in the copy they are."""
    model = tiny_model("llama").requires_grad_(False)
    copied, names = permuted_copy(model)
    graph = config_graph(model.config)
    runs = both_runs((model, copied), pair_batches(tiny_pairs(40), 20))
    changes, of_copy = (
        edge_change_scores(each, graph, own).numpy()
        for each, own in zip((model, copied), runs, strict=True)
    )
    renamed = renamed_edges(graph, names)
    np.testing.assert_allclose(of_copy[renamed], changes, rtol=1e-3)
    edges = stitched_edges((model, copied), (graph, graph), runs)
    scores = np.random.default_rng(0).lognormal(size=graph.n_edges)
    gold = np.empty_like(scores)
    gold[renamed] = scores
    order = permutation_within(edge_kinds(graph), np.random.default_rng(0))
    found, scrambled = (
        correlation(each @ edges, gold) for each in (scores, scores[order])
    )
    assert found > 0.7 and found > scrambled + 0.3


def renamed_edges(graph, names):
    """The number of every edge in the copy."""
    numbers = []
    for edge in graph.edge_names():
        writer, reader = edge.split("->")
        node, _, kind = reader.partition("<")
        reader = names.get(node, node) + (f"<{kind}" if kind else "")
        numbers.append(graph.number(f"{names.get(writer, writer)}->{reader}"))
    return np.array(numbers)
