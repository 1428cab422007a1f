"""Models with a planted circuit behave as planted, by the oracle of edges."""

import ast
import re
from pathlib import Path

import numpy as np
import pytest
import torch
from reference_planted import TOKENS, Case

from circuit_transfer.circuits.edge_attribution import attribute_edges
from circuit_transfer.circuits.methods import FUNCTIONS, edge_methods
from circuit_transfer.circuits.recovery import recovery
from circuit_transfer.embedded.planted.constructions import plant
from circuit_transfer.embedded.planted.gates import CIRCUIT, INHIBITION
from circuit_transfer.embedded.planted.induction import CIRCUITS, letter_codes
from circuit_transfer.embedded.planted.settings import Subspaces
from circuit_transfer.generators.planted import SWAPS
from circuit_transfer.models.architectures import ARCHITECTURES
from circuit_transfer.models.edges import KV, KV_HEAD, QUERY_HEAD, config_graph

DEFAULT = Subspaces().constant

FAMILIES = [*sorted(ARCHITECTURES)]


@pytest.mark.parametrize("kv", KV)
@pytest.mark.parametrize("family", FAMILIES)
def test_planted_subspaces_are_the_model_in_every_family(family, kv):
    case = Case({"construction": "subspaces", "family": family}, 4, kv)
    truth, none = case.truth("late"), np.zeros(len(case.names))
    whole, empty = case.run(~truth | truth), case.run(none)
    assert (whole - empty).mean() > 2
    assert (case.run(truth) - whole).abs().max() < 1e-3
    assert (case.run(~truth) - empty).abs().max() < 1e-3
    # Negatives are neither silent writers nor unused readers.
    assert 0.1 < truth.mean() < 0.5
    plain = case.batch.logit_diff(case.model(case.clean).logits[:, -1])
    torch.testing.assert_close(plain, whole, rtol=0, atol=5e-3)


@pytest.mark.parametrize("family", FAMILIES)
def test_only_planted_edges_have_an_effect(family):
    case = Case({"construction": "subspaces", "family": family}, 12, KV_HEAD)
    truth = case.truth("late")
    effects = np.abs(case.exact().mean(1))
    assert effects[~truth].max() < 1e-5
    assert effects[truth].min() > 1e-4
    for steps in (1, 3):
        scores = np.abs(case.gradients(steps))
        assert recovery(scores, truth)["auroc"] == 1


def test_density_and_seed_change_the_circuit_and_a_rotation_hides_it():
    entry = {"construction": "subspaces", "layers": 1, "heads": 2}
    first, second, dense = (
        plant(entry | other, TOKENS) for other in ({}, {"seed": 1}, {"density": 1})
    )
    assert first.circuits != second.circuits
    graph = config_graph(dense.model.config)
    assert set(dense.circuits["late"][QUERY_HEAD]) == set(graph.edge_names())
    embedding = first.model.get_input_embeddings().weight
    assert (embedding.abs() > 1e-6).all()


MIXED = {"construction": "induction", "sharpness": 1.5}


def test_every_corruption_has_the_circuit_that_it_needs():
    for kind, edges in CIRCUITS.items():
        case = Case(MIXED, 20, kinds=(kind,))
        truth, none = case.truth(kind), np.zeros(len(case.names))
        whole, empty = case.run(truth | ~truth), case.run(none)
        assert (case.run(truth) - whole).abs().max() < 1e-5
        assert (case.run(~truth) - empty).abs().max() < 1e-5
        effects = np.abs(case.exact().mean(1))
        assert {case.names[each] for each in np.flatnonzero(effects > 0.1)} == {*edges}
        assert effects[~truth].max() < 1e-6
        logits = case.model(case.clean).logits[:, -1]
        assert case.batch.correct(logits).all()


def logit_difference(prompt, cue, sharpness):
    """Return by hand the logit of the letter after `a` less that after `c`."""
    codes, listed = letter_codes(), prompt[:-1]
    copied = codes[[listed[0], *listed]]
    shares = (sharpness * copied @ codes[cue] / 4).softmax(0)
    return 5 * (shares[2] - shares[5]).item()


@pytest.mark.parametrize("sharpness", [1.5, 6])
def test_effects_of_an_induction_head_are_those_of_the_closed_form(sharpness):
    case = Case(MIXED | {"sharpness": sharpness}, 20, kinds=("query",))
    expected = [
        logit_difference(prompt, prompt[1], sharpness)
        - logit_difference(prompt, prompt[4], sharpness)
        for prompt in case.clean.tolist()
    ]
    chosen = [case.names.index(name) for name in CIRCUITS["query"]]
    for effects in case.exact(chosen):
        np.testing.assert_allclose(effects, expected, atol=1e-4)


@pytest.mark.parametrize(
    ("sharpness", "table"),
    [(1.5, [2.37, 2.37, 2.41, 2.37, 7.15]), (6, [3.33, 3.33, 3.33, 3.33, 10.0])],
)
def test_effects_of_an_induction_head_are_those_measured_before(sharpness, table):
    # As many pairs of every kind, as in a mix of them.
    case = Case(MIXED | {"sharpness": sharpness}, 60, kinds=tuple(SWAPS))
    chosen = [case.names.index(name) for name in CIRCUITS["mix"]]
    np.testing.assert_allclose(case.exact(chosen).mean(1), table, rtol=0.015)


def test_saturated_attention_hides_edges_from_gradients_but_not_from_integrated_ones():
    case = Case(MIXED | {"sharpness": 6}, 20, kinds=tuple(SWAPS))
    hidden = [case.names.index(name) for name in CIRCUITS["mix"][:3]]
    assert np.abs(case.gradients()[hidden]).max() < 0.01
    assert case.gradients(5)[hidden].min() > 2
    truth = case.truth("mix")
    assert recovery(np.abs(case.gradients(5)), truth)["auroc"] == 1


def closed_form(case):
    """Return the effect of every edge and prompt, by all paths."""
    graph, weights = case.graph, case.planted.weights
    reads = {
        writer: np.flatnonzero(graph.used_by[writer]) for writer in range(len(weights))
    }

    def gain_to(writer):
        if writer == 0:
            return 1.0
        return sum(
            weights[other, reader] * gain_to(other)
            for reader in reads[writer]
            for other in np.flatnonzero(weights[:, reader])
        )

    def gain_from(reader):
        if reader == len(graph.readers) - 1:
            return 1.0
        return sum(
            weights[writer, other] * gain_from(other)
            for writer in np.flatnonzero(graph.used_by[:, reader])
            for other in np.flatnonzero(weights[writer])
        )

    effects = np.zeros_like(weights)
    for writer, reader in zip(*np.nonzero(weights), strict=True):
        effects[writer, reader] = (
            weights[writer, reader] * gain_to(writer) * gain_from(reader)
        )
    return graph.flat(effects)


def test_effects_of_linear_relays_are_those_of_the_closed_form():
    entry = {"construction": "relays", "constant": 1e5, "layers": 2}
    case = Case(entry, 6, KV_HEAD)
    truth, ones = case.truth("late"), np.ones(len(case.names))
    by_unit = closed_form(case)
    np.testing.assert_array_equal(by_unit != 0, truth)
    # The sum over the edges to the logits is the whole effect.
    total = by_unit[[name.endswith("->logits") for name in case.names]].sum()
    change = (case.run(ones) - case.run(0 * ones)).numpy() / total
    largest = np.abs(np.outer(by_unit, change)).max()
    np.testing.assert_allclose(
        case.exact(), np.outer(by_unit, change), atol=1e-4 * largest
    )
    for steps in (1, 2):
        expected = by_unit * change.mean()
        np.testing.assert_allclose(case.gradients(steps), expected, atol=1e-4 * largest)


def test_gates_have_their_effects():
    case = Case({"construction": "gates", "constant": 1e5}, 4, KV_HEAD)
    truth, ones = case.truth("late"), np.ones(len(case.names))
    assert (case.run(truth) - case.run(ones)).abs().max() < 1e-4
    assert set(np.array(case.names)[truth]) == set(CIRCUIT)
    both = ["a0.h0->m1", "a0.h1->m1"], ["a0.h2->m2", "a0.h3->m2"]
    and_edges, or_edges = ([case.names.index(x) for x in each] for each in both)
    inhibition = [case.names.index("a1.h0->logits")]
    exact, steps = case.exact().mean(1), 10
    eap, ig = case.gradients(), case.gradients(steps)
    # Integrated by the right rule: the product has the slope of its other factor.
    slope = np.mean(np.arange(1, steps + 1) / steps)
    for edges, one, first, integrated in (
        (and_edges, 1, 1, slope),
        (or_edges, 0, 0, 0.5),
        (inhibition, INHIBITION, INHIBITION, INHIBITION),
    ):
        np.testing.assert_allclose(exact[edges], one, atol=1e-4)
        np.testing.assert_allclose(eap[edges], first, atol=1e-4)
        np.testing.assert_allclose(ig[edges], integrated, atol=0.06)
    without = ones.copy()
    without[or_edges] = 0
    drop = (case.run(ones) - case.run(without)).mean()
    assert drop.item() == pytest.approx(1, abs=1e-4)
    # Signed rankings have the inhibition last, absolute ones first.
    assert exact.argmin() in np.flatnonzero(exact < INHIBITION / 2)
    assert exact[inhibition] == pytest.approx(exact.min(), abs=1e-4)


@pytest.mark.parametrize(
    ("entry", "message"),
    [
        ({"construction": "tree"}, "construction 'tree': expected one of .*induction"),
        (
            {"construction": "gates", "family": "gpt2"},
            "family: gates has no such setting; it has seed",
        ),
        ({"construction": "subspaces", "family": "t5"}, "'t5' is not supported"),
        (
            {"construction": "subspaces", "family": "gpt2", "kv_heads": 2},
            "gpt2 has a key of its own; expected 4, or no kv_heads",
        ),
        (
            {"construction": "subspaces", "kv_heads": 3},
            "kv_heads: 3 does not divide the number of heads, 4",
        ),
    ],
)
def test_what_cannot_be_planted_is_refused(entry, message):
    with pytest.raises(ValueError, match=message):
        plant(entry, TOKENS)


METHODS = [name for name in edge_methods() if name in FUNCTIONS]


def library_scores(case, method, kv, **settings):
    """Return the library's scores in float32, by edge."""
    graph = config_graph(case.model.config, kv)
    model = case.model.float()
    found = attribute_edges(model, [case.batch], graph, method=method, **settings)
    return graph, graph.flat(found.scores.numpy())


@pytest.mark.parametrize("method", [each for each in METHODS if each != "eap"])
@pytest.mark.parametrize("family", FAMILIES)
def test_every_method_finds_planted_subspaces_in_every_family(family, method):
    entry = {"construction": "subspaces", "family": family, "constant": DEFAULT}
    # The mean score of an edge may be near zero by chance; with this seed none is.
    entry["seed"] = 3
    case = Case(entry, 20, KV_HEAD)
    _, scores = library_scores(case, method, KV_HEAD)
    found = recovery(np.abs(scores), case.truth("late"))
    assert found["auroc"] == 1
    assert found["precision"] == found["recall"] == 1


def test_only_integrated_gradients_find_the_edges_of_a_saturated_head():
    entry = MIXED | {"sharpness": 6, "constant": DEFAULT}
    case = Case(entry, 20, kinds=tuple(SWAPS))
    hidden = [case.names.index(name) for name in CIRCUITS["mix"][:3]]
    _, eap = library_scores(case, "eap", QUERY_HEAD)
    _, integrated = library_scores(case, "eap-ig-inputs", QUERY_HEAD)
    assert np.abs(eap[hidden]).max() < 0.01
    assert integrated[hidden].min() > 2
    truth = case.truth("mix")
    visible = [recovery(each, truth)["visible_recall"] for each in (eap, integrated)]
    assert visible == [2 / 5, 1]


def test_a_method_of_ones_own_is_compared_as_the_page_says(capsys):
    page = Path("workflow/docs/planted.md").read_text()
    exec(re.search(r"```python\n(.*?)```", page, re.S)[1], {})
    rows = [ast.literal_eval(line) for line in capsys.readouterr().out.splitlines()]
    assert [row["ranking"] for row in rows] == ["signed", "absolute"]
    assert all(0.2 < row["auroc"] < 0.8 for row in rows)
