"""GGUF files: the same model and tokenizer as before, or an error before any work."""

import logging
import re

import gguf
import pytest
import torch
from gguf_models import (
    END,
    FAMILIES,
    TOKENS,
    named_tensors,
    tiny_model,
    write_gguf,
)
from safetensors.torch import load_file

from circuit_transfer.models import gguf as ours
from circuit_transfer.models.description import describe_model
from circuit_transfer.models.gguf import check_gguf, convert_gguf
from circuit_transfer.models.gguf_files import read_header
from circuit_transfer.models.loading import load_model, load_tokenizer

PROMPT = torch.tensor([[5, 90, 17, 260, 3, 44, 201]])


@pytest.fixture(scope="module")
def llama():
    return tiny_model("llama")


@pytest.fixture
def written(llama, tmp_path):
    """Write a tiny llama with other settings; return the path."""

    def write(**settings):
        write_gguf(tmp_path / "model.gguf", llama, "llama", **settings)
        return tmp_path / "model.gguf"

    return write


@pytest.mark.parametrize("family", FAMILIES)
def test_a_model_has_the_logits_that_it_had(family, tmp_path):
    model = tiny_model(family)
    write_gguf(tmp_path / "model.gguf", model, family)
    record = convert_gguf(tmp_path / "model.gguf", tmp_path / "checkpoint")
    assert record["quantisation"] == {
        "F32": len(named_tensors(model, FAMILIES[family][0]))
    }
    loaded = load_model(tmp_path / "checkpoint")
    with torch.no_grad():
        expected, found = model(PROMPT).logits, loaded(PROMPT).logits
    assert loaded.config.model_type == model.config.model_type
    torch.testing.assert_close(found, expected, rtol=0, atol=2e-5)
    description = describe_model(tmp_path / "checkpoint")
    assert description["layers"] == 2
    assert description["vocabulary"] == len(TOKENS)


@pytest.mark.parametrize("kind", ["Q8_0", "Q4_0", "F16", "BF16"])
def test_weights_are_those_of_the_package_gguf(kind, written, tmp_path, llama):
    path = written(quantised=kind)
    record = convert_gguf(path, tmp_path / "checkpoint")
    assert record["quantisation"] == {kind: 15, "F32": 5}
    assert record["dtype"] == "float32"
    found = load_file(tmp_path / "checkpoint/model.safetensors")
    assert {each.dtype for each in found.values()} == {torch.float32}
    tensors = {each.name: each for each in gguf.GGUFReader(path).tensors}
    names = {"attn_v": "self_attn.v_proj", "attn_q": "self_attn.q_proj"}
    names |= {"ffn_down": "mlp.down_proj", "attn_k": "self_attn.k_proj"}
    for name, theirs in names.items():
        tensor = tensors[f"blk.1.{name}.weight"]
        expected = torch.tensor(gguf.dequantize(tensor.data, tensor.tensor_type))
        if name in ("attn_q", "attn_k"):
            # A row of the file is of the first half of a head, the next of the second.
            heads = expected.view(-1, 4, 2, 32)
            expected = torch.cat([heads[:, :, 0], heads[:, :, 1]], 1).view(-1, 32)
        assert torch.equal(found[f"model.layers.1.{theirs}.weight"], expected)


def test_the_tokenizer_is_that_of_the_file(written, tmp_path):
    convert_gguf(written(), tmp_path / "checkpoint")
    tokenizer = load_tokenizer(tmp_path / "checkpoint")
    assert tokenizer.convert_ids_to_tokens(range(len(TOKENS))) == TOKENS
    assert tokenizer.encode(END) == [0]
    tokens = tokenizer.convert_ids_to_tokens(tokenizer.encode("an Ox  12"))
    # Digits by themselves, after the spaces before them.
    assert tokens == ["an", "ĠO", "x", "ĠĠ", "1", "2"]


def test_a_sentencepiece_tokenizer_begins_with_bos(written, tmp_path):
    convert_gguf(written(tokenizer="llama"), tmp_path / "checkpoint")
    tokenizer = load_tokenizer(tmp_path / "checkpoint")
    tokens = tokenizer.convert_ids_to_tokens(tokenizer.encode("an an12é"))
    # Such files add a BOS token unless they say otherwise.
    rest = ["1", "2", "<0xC3>", "<0xA9>"]
    assert tokens == ["<s>", "▁an", "▁an", *rest]


def test_a_split_without_a_name_is_that_of_gpt2_with_a_warning(
    written, tmp_path, caplog
):
    with caplog.at_level(logging.WARNING):
        convert_gguf(written(split=None), tmp_path / "checkpoint")
    assert "tokenizer.ggml.pre" in caplog.text
    tokenizer = load_tokenizer(tmp_path / "checkpoint")
    tokens = tokenizer.convert_ids_to_tokens(tokenizer.encode("an  12"))
    assert tokens == ["an", "Ġ", "Ġ", "1", "2"]


def test_a_file_without_the_package_is_an_error_with_the_command(written, monkeypatch):
    path = written()
    monkeypatch.setattr(ours, "find_spec", lambda name: None)
    with pytest.raises(ValueError, match=r"pip install '\.\[gguf\]'"):
        check_gguf(path)


REFUSED = {
    "another tokenizer": (
        {"tokenizer": "bert"},
        "tokenizer.ggml.model is 'bert'.*give the safetensors checkpoint",
    ),
    "no tokenizer": ({"tokenizer": None}, "tokenizer.ggml.model is None"),
    "another split": ({"split": "chameleon"}, "tokenizer.ggml.pre is 'chameleon'"),
    "scaled positions": (
        {"rope__scaling__type": "linear"},
        "rotary position embeddings .llama.rope.scaling.type",
    ),
    "factors of positions": (
        {"tensors": {"rope_freqs.weight": torch.ones(4).numpy()}},
        "rotary position embeddings .rope_freqs.weight",
    ),
}


@pytest.mark.parametrize(("change", "message"), REFUSED.values(), ids=REFUSED)
def test_what_would_be_left_out_is_an_error(change, message, written):
    path = written(**change)
    with pytest.raises(ValueError, match=f"^{re.escape(str(path))}: .*{message}"):
        check_gguf(path)


def test_tensors_without_a_place_are_errors(written, tmp_path):
    bias = {"blk.0.attn_q.bias": torch.ones(32).numpy()}
    with pytest.raises(ValueError, match="no place for the tensors blk.0.attn_q.bias"):
        convert_gguf(written(tensors=bias), tmp_path / "checkpoint")
    assert not (tmp_path / "checkpoint").exists()


def test_a_setting_that_transformers_ignores_is_an_error(tmp_path):
    settings = {"attn_logit_softcapping": 1.5}
    write_gguf(tmp_path / "m.gguf", tiny_model("gemma2"), "gemma2", **settings)
    message = "gemma2.attn_logit_softcapping is 1.5, but .* with 50.0"
    with pytest.raises(ValueError, match=message):
        convert_gguf(tmp_path / "m.gguf", tmp_path / "checkpoint")


def test_another_family_is_named_before_its_tensors_are_read(written):
    path = written()
    path.write_bytes(path.read_bytes().replace(b"llama", b"bloom"))
    with pytest.raises(ValueError, match="'bloom' is not supported; known: gemma2"):
        check_gguf(path)


DAMAGED = {
    "text": (lambda data: b"hello", "not a GGUF file"),
    "nothing": (lambda data: b"", "not a GGUF file"),
    "a pointer": (lambda data: b"version https://git-lfs.github", "git lfs pull"),
    "version": (lambda data: data[:4] + b"\x01\0\0\0" + data[8:], "version 1 of GGUF"),
    "magic alone": (lambda data: data[:4], "truncated in its header"),
    "half a header": (lambda data: data[:2000], "truncated in its header"),
    "half the tensors": (lambda data: data[:-20_000], "expected .* for 20 tensors"),
}


@pytest.mark.parametrize(("damage", "message"), DAMAGED.values(), ids=DAMAGED)
def test_a_damaged_file_is_named(damage, message, written):
    path = written()
    path.write_bytes(damage(path.read_bytes()))
    with pytest.raises(ValueError, match=f"^{re.escape(str(path))}: .*{message}"):
        check_gguf(path)


def test_no_part_of_a_header_is_read_wrongly(written):
    """Every prefix of a header is an error in words."""
    path = written()
    data, start = path.read_bytes(), read_header(path).start
    for end in range(24, start - 40, 97):
        path.write_bytes(data[:end])
        with pytest.raises(ValueError, match="truncated"):
            read_header(path)


def test_the_header_is_that_of_the_package_gguf(written):
    path = written(quantised="Q8_0")
    header, reader = read_header(path), gguf.GGUFReader(path)
    assert {
        name: (tensor.shape, tensor.type, header.start + tensor.offset)
        for name, tensor in header.tensors.items()
    } == {
        each.name: (tuple(each.shape.tolist()), each.tensor_type, each.data_offset)
        for each in reader.tensors
    }
    fields = {
        name: field.contents()
        for name, field in reader.fields.items()
        if not name.startswith("GGUF.")
    }
    assert header.settings == fields
