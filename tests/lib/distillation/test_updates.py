"""Nothing but the chosen heads is trained, in every family."""

import pytest
import torch
from reference import run
from students import MATCHED, taught, weights_of

from circuit_transfer.distillation.updates import (
    Updates,
    head_masks,
    shared_readers,
)
from circuit_transfer.models.architectures import ARCHITECTURES
from circuit_transfer.pruning.training import batch_order

IDS = torch.tensor([[5, 9, 7, 30], [8, 6, 11, 12]])
FAMILIES = [*sorted(ARCHITECTURES)]
HEADS = [student for student, _ in MATCHED]


def by_hand(family, weights, freeze_kv=False):
    """Return which entries belong to a0.h1 and a1.h2."""
    masks = {name: torch.zeros_like(w, dtype=bool) for name, w in weights.items()}
    for layer, head in ((0, 1), (1, 2)):
        if family == "llama":
            own = f"model.layers.{layer}.self_attn."
            masks[f"{own}q_proj.weight"][8 * head : 8 * head + 8] = True
            masks[f"{own}o_proj.weight"][:, 8 * head : 8 * head + 8] = True
            for kind in "kv" if not freeze_kv else "":
                key = head // 2
                masks[f"{own}{kind}_proj.weight"][8 * key : 8 * key + 8] = True
        elif family == "gpt2":
            own, at = f"transformer.h.{layer}.attn.", slice(8 * head, 8 * head + 8)
            masks[f"{own}c_proj.weight"][at] = True
            for kind in range(1 if freeze_kv else 3):
                columns = slice(32 * kind + at.start, 32 * kind + at.stop)
                masks[f"{own}c_attn.weight"][:, columns] = True
                masks[f"{own}c_attn.bias"][columns] = True
        else:
            own, at = f"gpt_neox.layers.{layer}.attention.", 27 * head
            rows = slice(at, at + (9 if freeze_kv else 27))
            masks[f"{own}query_key_value.weight"][rows] = True
            masks[f"{own}query_key_value.bias"][rows] = True
            masks[f"{own}dense.weight"][:, 9 * head : 9 * head + 9] = True
    return masks


@pytest.mark.parametrize("freeze_kv", [False, True])
@pytest.mark.parametrize("family", ["llama", "gpt2", "gpt_neox"])
def test_only_the_entries_of_matched_heads_change(
    tiny_model, tiny_pairs, family, freeze_kv
):
    model, teacher = tiny_model(family), tiny_model(family, seed=1)
    before, pairs = weights_of(model), tiny_pairs(40)
    own = {"weight_decay": 0.5, "learning_rate": 0.01, "freeze_kv": freeze_kv}
    student, found = taught(model, teacher, pairs, **own)
    masks = by_hand(family, before, freeze_kv)
    for name, weight in student.named_parameters():
        changed = weight != before[name]
        assert torch.equal(changed, masks[name]), name
        assert weight[~masks[name]].numpy().tobytes() == (
            before[name][~masks[name]].numpy().tobytes()
        )
        assert not weight.requires_grad and weight.grad is None
    assert found.record["parameters"] == sum(int(each.sum()) for each in masks.values())
    shared = {"a0.kv0": ["a0.h0"], "a1.kv1": ["a1.h3"]}
    expected = shared if family == "llama" and not freeze_kv else {}
    assert found.record["shared"] == expected


@pytest.mark.parametrize("family", FAMILIES)
def test_masked_entries_are_a_head_and_no_other_one(tiny_model, family):
    model = tiny_model(family, dtype=torch.float64)
    _, before = run(model, IDS)
    for name, mask in head_masks(model, ["a1.h2"], freeze_kv=True).items():
        weight = model.get_parameter(name).data
        weight[mask] = torch.randn(int(mask.sum()), dtype=weight.dtype)
    _, after = run(model, IDS)
    changed = {node for node in before if not torch.equal(before[node], after[node])}
    # A norm over the queries of all heads changes those of the others.
    others = {f"a1.h{head}" for head in range(4)} if family == "olmo2" else set()
    # Not the MLP of a GPT-NeoX, which runs in parallel.
    after_it = {"m1"} if family != "gpt_neox" else set()
    assert changed == {"a1.h2"} | others | after_it
    for name, mask in head_masks(model, ["a1.h2"], freeze_kv=True).items():
        model.get_parameter(name).data[mask] = 0.0
    assert (run(model, IDS)[1]["a1.h2"] == 0).all()


@pytest.mark.parametrize("family", FAMILIES)
def test_a_key_and_value_are_trained_with_every_head_that_has_them(tiny_model, family):
    model = tiny_model(family, dtype=torch.float64)
    _, before = run(model, IDS)
    frozen = head_masks(model, ["a1.h2"], freeze_kv=True)
    for name, mask in head_masks(model, ["a1.h2"]).items():
        own = mask & ~frozen.get(name, torch.zeros_like(mask))
        model.get_parameter(name).data[own] = 0.0
    _, after = run(model, IDS)
    (shared,) = shared_readers(model, ["a1.h2"]).values() or [[]]
    # Without a value a head writes nothing.
    silent = {node for node in after if before[node].any() and not after[node].any()}
    assert silent == {"a1.h2", *shared}


def test_a_step_follows_the_loss_as_plain_torch_does(tiny_model, tiny_pairs):
    model, teacher = (tiny_model("llama", dtype=torch.float64, seed=s) for s in (0, 1))
    pairs = tiny_pairs(8)
    how = {"steps": 4, "gradient_norm": 1e9, "learning_rate": 0.01}
    found, _ = taught(model, teacher, pairs, "ce-heads", batch_size=8, **how)
    masks = by_hand("llama", weights_of(model))
    groups = [pairs[0::2], pairs[1::2]]
    order = batch_order(2, 0)
    optimiser = torch.optim.AdamW(model.requires_grad_().parameters(), lr=0.01)
    for group in optimiser.param_groups:
        group["weight_decay"] = 0.0
    for _ in range(4):
        rows = groups[next(order)]
        ids = torch.tensor(rows["clean_ids"].to_list())
        right = torch.tensor(rows["answer_ids"].to_list())[:, 0]
        loss = torch.nn.functional.cross_entropy(model(ids).logits[:, -1], right)
        optimiser.zero_grad()
        loss.backward()
        for name, weight in model.named_parameters():
            weight.grad = torch.where(masks[name], weight.grad, 0.0)
        optimiser.step()
    for name, weight in found.named_parameters():
        torch.testing.assert_close(weight, model.get_parameter(name), msg=name)


@pytest.mark.parametrize("variant", ["fine-tune", "logits"])
def test_everything_is_trained_if_a_variant_says_so(tiny_model, tiny_pairs, variant):
    model, teacher = tiny_model("llama"), tiny_model("llama", seed=1)
    before = weights_of(model)
    student, found = taught(model, teacher, tiny_pairs(16), variant)
    for name, weight in student.named_parameters():
        # Of the embeddings, those of tokens in the prompts.
        assert not torch.equal(weight, before[name]), name
    assert found.record["parameters"] == sum(each.numel() for each in before.values())
    assert found.record["trained_heads"] == []


def test_a_student_of_half_the_precision_is_refused(tiny_model):
    model = tiny_model("llama", dtype=torch.bfloat16)
    with pytest.raises(ValueError, match=r"bfloat16.*float32"):
        Updates(model, head_masks(model, HEADS))
