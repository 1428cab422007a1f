"""Planted heads with a backup: what suffices, what is needed, and where they are."""

from itertools import combinations, product

import numpy as np
import pytest
import torch
from reference_planted import TOKENS, Case

from circuit_transfer.circuits.edge_masks import effective_edges
from circuit_transfer.circuits.edge_runs import run_edge_circuits
from circuit_transfer.embedded.planted.backup import EFFECT, draw_places
from circuit_transfer.embedded.planted.constructions import plant
from circuit_transfer.embedded.planted.settings import Backup
from circuit_transfer.models.edges import KV, KV_HEAD

SIZES = [{}, {"layers": 5}, {"layers": 2}, {"layers": 3, "heads": 2}]


def entry(**settings):
    return {"construction": "backup", "constant": 1e5, **settings}


def places(seed=0, **settings):
    return draw_places(Backup(**settings), torch.Generator().manual_seed(seed))


def parts(case):
    """Return the edges needed in any case, and the groups of alternatives."""
    groups = case.planted.alternatives["late"][case.kv]
    of_groups = {name for group in groups for edges in group for name in edges}
    return {*case.planted.circuits["late"][case.kv]} - of_groups, groups


@pytest.mark.parametrize("kv", KV)
@pytest.mark.parametrize("settings", SIZES)
def test_one_of_every_group_of_alternatives_suffices_and_none_does_not(settings, kv):
    case = Case(entry(seed=2, **settings), 3, kv)
    needed, groups = parts(case)
    choices = [*product(*([(), *group] for group in groups))]
    circuits = [needed.union(*chosen) for chosen in choices]
    masks = np.array([[x in each for x in case.names] for each in circuits])
    missing = np.array([sum(not edges for edges in each) for each in choices])
    # By the oracle in float64, and by the library's own circuits in float32.
    whole = case.run(np.ones(len(case.names)))
    drops = torch.stack([whole - case.run(mask) for mask in masks]).mean(1)
    np.testing.assert_allclose(drops, EFFECT * missing, atol=1e-4)
    model = plant(entry(seed=2, constant=2e3) | settings, TOKENS).model.float()
    found = run_edge_circuits(model, [case.batch], case.graph, masks).logit_diff
    np.testing.assert_allclose(
        found.mean(1), 3 * EFFECT - EFFECT * missing, rtol=0.01, atol=0.02
    )
    # Each of them without any one edge does not.
    for chosen in product(*groups):
        names = needed.union(*chosen)
        mask = np.array([x in names for x in case.names])
        if not {*groups[1][2]} <= names:
            assert (effective_edges(case.graph, mask) == mask).all()
            for edge in np.flatnonzero(mask):
                smaller = mask & (np.arange(len(mask)) != edge)
                assert (whole - case.run(smaller)).min() > EFFECT / 2


def test_effects_of_single_edges_are_those_of_the_closed_form():
    case = Case(entry(), 3, KV_HEAD)
    at = places()
    (main, backup), (start, end) = at.repair, at.chain
    # With its input cut, the backup writes what the main head writes, negated.
    needed = [
        *(f"{node}->logits" for node in (*at.limits, end)),
        f"{main}->{at.limits[1]}",
        f"input->{backup}<v>",
        f"input->{start}<v>",
        f"{start}->{end}<v>",
    ]
    backed_up = [
        f"input->{main}<v>",
        f"{main}->{backup}<v>",
        f"{backup}->{at.limits[1]}",
    ]
    backed_up += [f"input->{x}<v>" for x in at.either]
    backed_up += [f"{x}->{at.limits[0]}" for x in at.either]
    circuit = case.planted.circuits["late"][KV_HEAD]
    assert {*circuit} == {*needed, *backed_up}
    effects = dict(zip(case.names, case.exact().mean(1), strict=True))
    for name, effect in effects.items():
        known = EFFECT * (name in needed)
        assert effect == pytest.approx(known, abs=1e-4), name


def test_places_differ_with_the_seed_and_backups_come_later():
    found = [places(seed, layers=4) for seed in range(30)]
    assert len({(*at.either, *at.repair) for at in found}) > 25
    for at in found:
        heads = [*at.either, *at.repair, *at.chain]
        assert len({*heads}) == 6 and len({*at.limits}) == 2
        layers = {head: int(head[1]) for head in heads}
        assert layers[at.repair[1]] > layers[at.repair[0]]
        assert layers[at.chain[1]] > layers[at.chain[0]]
        for pair, mlp in zip((at.either, at.repair), at.limits, strict=True):
            assert int(mlp[1:]) >= max(layers[head] for head in pair)
    assert len({at.limits for at in found}) > 5


def test_all_that_is_not_of_the_circuit_is_read_or_reads_and_has_no_effect():
    case = Case(entry(seed=1, layers=4), 3, KV_HEAD)
    truth = case.truth("late")
    assert (case.run(truth) - case.run(truth | True)).abs().max() < 1e-4
    assert (case.run(~truth) - case.run(truth & False)).abs().max() < 1e-4
    # Of the other edges many carry what differs between clean and corrupted prompts.
    model = case.planted.model
    v = model.model.layers[1].self_attn.v_proj.weight
    assert (v.reshape(4, -1, v.shape[1]).abs().amax((1, 2)) > 0).all()


@pytest.mark.parametrize(
    "settings", [{"layers": 1}, {"heads": 1}, {"layers": 2, "heads": 3}]
)
def test_too_few_heads_are_refused(settings):
    message = r"layers: \d with \d heads are too few; expected at least 2 heads, and 4"
    with pytest.raises(ValueError, match=message):
        plant(entry(**settings), TOKENS)


@pytest.mark.parametrize("construction", ["subspaces", "induction", "relays", "gates"])
def test_of_the_other_constructions_only_the_or_has_alternatives(construction):
    case = Case({"construction": construction}, 3, KV_HEAD)
    if construction != "gates":
        assert case.planted.alternatives == {}
        return
    needed, [group] = parts(case)
    whole = case.run(np.ones(len(case.names)))
    drops = {
        len(chosen): (
            whole - case.run([x in {*needed, *sum(chosen, ())} for x in case.names])
        ).mean()
        for count in range(3)
        for chosen in combinations(group, count)
    }
    assert drops == pytest.approx({0: 1, 1: 0, 2: 0}, abs=1e-3)
