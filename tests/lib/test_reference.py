"""The oracle itself: does it compute what Hugging Face computes?"""

import pytest
import reference
import torch

from circuit_transfer.models.architectures import ARCHITECTURES

FAMILIES = sorted(ARCHITECTURES)
VARIANTS = [
    *((family, {}) for family in FAMILIES),
    ("gpt_neox", {"use_parallel_residual": False}),
    ("llama", {"tie_word_embeddings": True}),
    (
        "qwen2",
        {"use_sliding_window": True, "sliding_window": 3, "max_window_layers": 1},
    ),
]


@pytest.mark.parametrize(("family", "settings"), VARIANTS)
def test_the_plain_forward_pass_equals_hugging_face(tiny_model, family, settings):
    model = tiny_model(family, **settings)
    ids = torch.randint(0, 40, (3, 7), generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        theirs = model(ids).logits.double()
        ours, outputs = reference.run(model, ids)
        embeddings = reference.embed(model, ids)
        embedded, _ = reference.run(model, embeddings=embeddings)
        read = model.get_input_embeddings()(ids).double()
    torch.testing.assert_close(ours, theirs, rtol=0, atol=1e-5 * theirs.abs().max())
    torch.testing.assert_close(embeddings, read, rtol=1e-6, atol=0)
    assert torch.equal(ours, embedded)
    assert len(outputs) == 10


def test_an_edit_changes_what_a_node_adds(tiny_model):
    model = tiny_model("llama")
    ids = torch.tensor([[5, 6, 7]])
    plain, outputs = reference.run(model, ids)
    same, _ = reference.run(model, ids, edit=reference.replaced(outputs))
    zero = {"a0.h1": torch.zeros_like(outputs["a0.h1"])}
    other, edited = reference.run(model, ids, edit=reference.replaced(zero))
    assert torch.equal(plain, same)
    assert not torch.allclose(plain, other)
    assert torch.equal(edited["a0.h0"], outputs["a0.h0"])
