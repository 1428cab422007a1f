"""Path patching against plain hooks, and on a planted induction head."""

import logging

import numpy as np
import polars as pl
import pytest
import torch
from reference_planted import Case
from transformers import AutoModelForCausalLM

from circuit_transfer.circuits.passes import measured
from circuit_transfer.distillation import path_patching
from circuit_transfer.distillation.critical_heads import critical
from circuit_transfer.distillation.path_patching import (
    GROUP_COLUMNS,
    Group,
    entity_tracking_groups,
    patch_groups,
)
from circuit_transfer.interventions import counting
from circuit_transfer.jobs import progress as jobs_progress
from circuit_transfer.jobs.resume import Resume
from circuit_transfer.prompts.batches import pair_batches

HEADS = [f"a{layer}.h{head}" for layer in range(3) for head in range(4)]


class Plain:
    """A Llama of plain modules with a key and a value for every head, and its runs."""

    def __init__(self, model):
        config = type(model.config).from_dict(model.config.to_dict())
        config.num_key_value_heads = config.num_attention_heads
        self.model = AutoModelForCausalLM.from_config(config).double().eval()
        weights = {name: each.double() for name, each in model.state_dict().items()}
        for name, each in weights.items():
            if "k_proj" in name or "v_proj" in name:
                by_head = each.unflatten(0, (-1, config.head_dim))
                weights[name] = by_head.repeat_interleave(2, 0).flatten(0, 1)
        self.model.load_state_dict(weights)
        self.width = config.head_dim

    def part(self, head):
        return slice(head * self.width, (head + 1) * self.width)

    def attention(self, layer):
        return self.model.model.layers[layer].self_attn

    @torch.no_grad()
    def run(self, ids, *, z=None, reads=None, kind="q"):
        """Return the probabilities, all `z`, and projections of a kind, by layer.

        `z` replaces all of them; `reads` those projections of the given
        `(layer, position, head)`.
        """
        handles, found, projected = [], {}, {}

        def on_z(layer):
            def hook(_module, inputs):
                found[layer] = inputs[0]
                return None if z is None else (z[layer],)

            return hook

        def on_read(layer):
            def hook(_module, _inputs, output):
                output = output.clone()
                for (depth, position, head), value in (reads or {}).items():
                    if depth == layer:
                        output[0, position, self.part(head)] = value
                projected[layer] = output
                return output

            return hook

        for layer in range(3):
            own = self.attention(layer)
            read = getattr(own, f"{kind}_proj")
            handles.append(own.o_proj.register_forward_pre_hook(on_z(layer)))
            handles.append(read.register_forward_hook(on_read(layer)))
        logits = self.model(ids).logits[0, -1]
        for handle in handles:
            handle.remove()
        return logits.softmax(-1), found, projected

    def score(self, pair, position, sender, receivers, kind):
        """Return the score of a head on one pair."""
        before, clean, _ = self.run(pair.clean)
        _, corrupted, _ = self.run(pair.corrupted)
        (layer, head), answer = sender, pair.answers[0, 0]
        z = {key: value.clone() for key, value in clean.items()}
        z[layer][0, position, self.part(head)] = corrupted[layer][
            0, position, self.part(head)
        ]
        after, _, projected = self.run(pair.clean, z=z, kind=kind or "q")
        if receivers:
            reads = {
                (depth, position, each): projected[depth][0, position, self.part(each)]
                for depth, each in receivers
            }
            after, _, _ = self.run(pair.clean, reads=reads, kind=kind)
        return ((after[answer] - before[answer]) / before[answer]).item()


def place(name):
    layer, _, head = name.partition(".")
    return int(layer[1:]), int(head[1:])


@pytest.mark.parametrize("kind", ["q", "k", "v"])
def test_scores_are_those_of_plain_hooks(tiny_model, tiny_pairs, kind):
    model = tiny_model("llama", layers=3).requires_grad_(False)
    plain = Plain(model)
    batches = pair_batches(tiny_pairs(4), 2)
    at = np.array([1, 3, 2, 5])
    groups = [
        Group("first", "answer", "logits", 0.25),
        Group("second", "answer" if kind == "q" else "place", kind, 6),
        Group("third", "place", "v", 2),
    ]
    frame = patch_groups(model, batches, {"place": at}, groups)
    assert frame.schema == pl.Schema(GROUP_COLUMNS)
    pairs = pair_batches(tiny_pairs(4), 1)
    readers = []
    for group in groups:
        rows = frame.filter(group=group.name)
        found = dict(rows.select("head", "score").rows())
        read_by = None if group.read_by == "logits" else group.read_by
        for name in HEADS:
            scores = [
                plain.score(
                    pair,
                    pair.clean.shape[1] - 1 if group.at == "answer" else at[number],
                    place(name),
                    readers,
                    read_by,
                )
                for number, pair in enumerate(pairs)
            ]
            assert found[name] == pytest.approx(np.mean(scores), rel=1e-3, abs=1e-6)
        assert rows["score"].is_sorted()
        assert (rows["score"] != 0).any()
        assert rows["rank"].to_list() == [*range(1, 13)]
        readers = [place(name) for name in critical(rows)]
        most = {"first": 3, "second": 6, "third": 2}[group.name]
        assert len(readers) == (rows["score"][:most] != 0).sum()


def test_what_is_done_is_not_patched_again(
    tiny_model, tiny_pairs, tmp_path, monkeypatch
):
    class Interrupted(Resume):
        """A state that is written at every moment, until the run is stopped."""

        left = 0

        def save(self, **how):
            super().save(**how)
            self.left -= 1
            if not self.left:
                raise KeyboardInterrupt

    monkeypatch.setattr(path_patching, "rows_per_pass", lambda *_: 4)
    model = tiny_model("llama", layers=3).requires_grad_(False)
    groups = [Group("first", "answer", "logits", 2), Group("second", "answer", "q", 2)]
    given = (model, pair_batches(tiny_pairs(4), 2), {}, groups)
    with measured("whole", "m", model) as whole:
        expected = patch_groups(*given)
    # Two heads at once: within a batch, at its end, and in the second group.
    for saves in (2, 6, 13):
        first, second = (Interrupted(tmp_path / str(saves), seconds=0) for _ in "12")
        first.left = saves
        with pytest.raises(KeyboardInterrupt), measured("parts", "m", model, first):
            patch_groups(*given, resume=first)
        with counting(model) as again, measured("parts", "m", model, second) as parts:
            found = patch_groups(*given, resume=second)
        assert found.equals(expected)
        assert parts | {"part": "whole", "seconds": 0} == whole | {"seconds": 0}
        assert again.forwards < whole["forwards"] - 2 * 2 * (saves - 1)


def test_what_no_prompt_changes_is_not_critical_and_read_by_nothing(
    tiny_model, tiny_pairs
):
    model = tiny_model("llama", layers=3).requires_grad_(False)
    groups = [
        Group("first", "answer", "logits", 2),
        Group("second", "start", "v", 2),
        Group("third", "answer", "v", 2),
    ]
    batches = pair_batches(tiny_pairs(4), 4)
    for batch in batches:
        batch.corrupted[:, 0] = batch.clean[:, 0]
    # At their common first token, both prompts give the same.
    frame = patch_groups(model, batches, {"start": [0] * 4}, groups)
    assert len(critical(frame.filter(group="first"))) == 2
    for name in ("second", "third"):
        rows = frame.filter(group=name)
        assert {*rows["score"]} == {0} and critical(rows) == []


def test_the_log_says_at_which_head_it_is(tiny_model, tiny_pairs, monkeypatch, caplog):
    caplog.set_level(logging.INFO)
    monkeypatch.setattr(jobs_progress, "INTERVAL", -1.0)
    monkeypatch.setattr(path_patching, "rows_per_pass", lambda *_: 4)
    groups = [Group("first", "answer", "logits", 2), Group("second", "answer", "q", 2)]
    model = tiny_model("llama", layers=3).requires_grad_(False)
    patch_groups(model, pair_batches(tiny_pairs(4), 2), {}, groups)
    assert "group 1 of 2, batch 2 of 2, head 3 of 12" in caplog.text


@pytest.mark.parametrize("kind, second", [("query", None), ("key", "a0.h0")])
def test_the_heads_of_a_planted_induction_are_found(kind, second):
    case = Case({"construction": "induction", "constant": 2e3}, 8, kinds=(kind,))
    batch = case.batch
    # The head of the second layer attends to what follows the last letter before.
    earlier = (batch.clean == batch.clean[:, -1:]).int().argmax(1) + 1
    groups = [
        Group("induction", "answer", "logits", 1),
        Group("previous-token", "follows", "k", 1),
    ]
    frame = patch_groups(case.model.float(), [batch], {"follows": earlier}, groups)
    first, other = (frame.filter(group=each.name) for each in groups)
    assert critical(first) == ["a1.h0"] and first["score"][0] < -0.5
    np.testing.assert_allclose(first["score"][1:], 0, atol=0.01)
    if second is None:
        # The corrupted prompts differ only in the last letter.
        np.testing.assert_allclose(other["score"], 0, atol=1e-4)
    else:
        assert critical(other) == [second] and other["score"][0] < -0.5
        np.testing.assert_allclose(other["score"][1:], 0, atol=0.01)


def test_groups_of_entity_tracking_are_read_one_by_the_other():
    groups = entity_tracking_groups((4, 3, 2, 0.5), query="box", earlier="was")
    assert [vars(each) for each in groups] == [
        {"name": "value-fetcher", "at": "answer", "read_by": "logits", "count": 4},
        {"name": "position-transmitter", "at": "answer", "read_by": "q", "count": 3},
        {"name": "position-detector", "at": "box", "read_by": "v", "count": 2},
        {"name": "structure-reader", "at": "was", "read_by": "v", "count": 0.5},
    ]


@pytest.mark.parametrize(
    "groups, positions, message",
    [
        (["v"], {}, "group g0 is read by 'v': expected logits"),
        (
            ["logits", "logits"],
            {},
            "g1 is read by 'logits': expected q or k or v of the",
        ),
        (["logits", "x"], {}, "g1 is read by 'x'"),
        ([("logits", "box")], {}, "g0 is at 'box': expected one of answer"),
        ([("logits", "box")], {"box": [1, 2, 3]}, "3 positions of box for 4 pairs"),
        (
            [("logits", "box")],
            {"box": [1, 5, 6, 6]},
            "position box of pair 1 is 5: expected one of its 5 tokens",
        ),
        ([("logits", "box")], {"box": [1, -1, 6, 6]}, "position box of pair 1 is -1"),
    ],
)
def test_what_cannot_be_patched_is_refused(
    tiny_model, tiny_pairs, groups, positions, message
):
    pairs = [each if isinstance(each, tuple) else (each, "answer") for each in groups]
    groups = [Group(f"g{n}", at, by, 1) for n, (by, at) in enumerate(pairs)]
    with pytest.raises(ValueError, match=message):
        patch_groups(
            tiny_model("llama"), pair_batches(tiny_pairs(4), 4), positions, groups
        )
