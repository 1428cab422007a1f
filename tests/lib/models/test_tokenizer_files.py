import json

import pytest
from hub_server import point_client_at, serve
from tokenizers import Tokenizer, models, pre_tokenizers
from tokenizers.processors import (
    BertProcessing,
    ByteLevel,
    Sequence,
    TemplateProcessing,
)

from circuit_transfer.models.description import describe_model
from circuit_transfer.models.hub import check_model
from circuit_transfer.models.loading import load_tokenizer
from circuit_transfer.models.tokenizer_files import (
    added_tokens,
    check_text_is_last,
    unknown_token,
)

WORDS = {"<unk>": 0, "<s>": 1, "</s>": 2, "<end>": 3, "yes": 4, "no": 5}


def template(single):
    return TemplateProcessing(single, special_tokens=[*list(WORDS.items())[1:4]])


def write(folder, post_processor=None, model=None, **settings):
    """Write the files of a tokenizer of `WORDS` into a folder."""
    tokenizer = Tokenizer(model or models.WordLevel(WORDS, unk_token="<unk>"))
    tokenizer.pre_tokenizer = pre_tokenizers.Whitespace()
    if post_processor:
        tokenizer.post_processor = post_processor
    # As left by a training: it is nothing that is put after a text.
    tokenizer.enable_padding(length=9, pad_token="<end>", pad_id=3)
    tokenizer.enable_truncation(7)
    tokenizer.save(str(folder / "tokenizer.json"))
    (folder / "tokenizer_config.json").write_text(json.dumps(settings))
    return folder


@pytest.mark.parametrize(
    ("post_processor", "settings", "named"),
    [
        (template("$A </s>"), {}, ["'</s>'", "post_processor"]),
        (template("<s> $A </s>"), {}, ["'</s>'", "post_processor"]),
        (template("$A <end> </s>"), {}, ["'<end>' '</s>'", "post_processor"]),
        (BertProcessing(("</s>", 2), ("<s>", 1)), {}, ["'</s>'", "post_processor"]),
        (
            Sequence([ByteLevel(), template("$A </s>")]),
            {"add_eos_token": False},
            ["'</s>'", "post_processor"],
        ),
        # Settings alone would put a BOS token in the place of the template.
        (template("$A </s>"), {"add_bos_token": True, "bos_token": "<s>"}, ["'</s>'"]),
        (
            None,
            {"add_eos_token": True, "eos_token": "</s>"},
            ["'</s>'", "add_eos_token to false"],
        ),
        (
            template("<s> $A"),
            {"add_eos_token": True, "eos_token": {"content": "<end>"}},
            ["'<end>'", "add_eos_token to false"],
        ),
    ],
)
def test_a_token_after_every_text_is_refused_by_name(
    tiny_checkpoint, post_processor, settings, named
):
    folder = write(tiny_checkpoint("gpt2", layers=1), post_processor, **settings)
    for check in (check_text_is_last, load_tokenizer, describe_model):
        with pytest.raises(ValueError, match="after every text") as error:
            check(folder)
        assert all(each in str(error.value) for each in [str(folder), *named])


@pytest.mark.parametrize(
    ("post_processor", "before"),
    [
        (None, []),
        (ByteLevel(), []),
        (template("$A"), []),
        (template("<s> $A"), ["<s>"]),
        (template("<s> <end> $A"), ["<s>", "<end>"]),
    ],
)
def test_tokens_before_a_text_are_known_and_allowed(tmp_path, post_processor, before):
    folder = write(tmp_path, post_processor, eos_token="</s>")
    check_text_is_last(folder)
    assert added_tokens(folder) == (before, [])


def test_a_damaged_post_processor_is_named(tmp_path):
    (tmp_path / "tokenizer.json").write_text('{"post_processor": {"type": "Odd"}}')
    with pytest.raises(ValueError, match=r"tokenizer.json: no post_processor that can"):
        added_tokens(tmp_path)


def test_a_model_of_the_hub_is_refused_before_its_weights_are_downloaded(
    monkeypatch, tmp_path, tiny_checkpoint
):
    monkeypatch.delenv("HF_TOKEN", raising=False)
    with serve() as server:
        point_client_at(monkeypatch, server.url, tmp_path / "cache")
        folder = write(tiny_checkpoint("gpt2", layers=1), template("$A </s>"))
        server.push("lab/tiny", folder)
        refused = "^lab/tiny@main: .*'</s>' after every text"
        with pytest.raises(ValueError, match=refused):
            check_model("lab/tiny")
        assert "model.safetensors" not in server.files_asked()


@pytest.mark.parametrize(
    ("model", "unknown"),
    [
        (models.WordLevel(WORDS, unk_token="<unk>"), (0, "<unk>")),
        (models.BPE(WORDS, [], unk_token="<end>"), (3, "<end>")),
        (models.WordPiece(WORDS, unk_token="no"), (5, "no")),
        (models.Unigram([("yes", 0.0), ("<unk>", 0.0)], unk_id=1), (1, "<unk>")),
        # A byte-level tokenizer, whatever its settings call `unk_token`.
        (models.BPE(WORDS, []), None),
        (models.Unigram([("yes", 0.0)]), None),
    ],
)
def test_the_token_for_unknown_words_is_that_of_the_model(tmp_path, model, unknown):
    assert unknown_token(write(tmp_path, None, model, unk_token="</s>")) == unknown
