import polars as pl
import pytest
from transformers import AutoConfig, AutoTokenizer, PreTrainedTokenizerFast

from circuit_transfer.embedded.model import DEFAULT_GENERATORS
from circuit_transfer.embedded.vocabulary import build_tokenizer
from circuit_transfer.generators import GENERATORS, generate_prompts, read_words

ARCHITECTURES = ("llama", "qwen2")
CASES = [
    (name, counterfactual)
    for name, generator in GENERATORS.items()
    for counterfactual in generator.counterfactuals
]


@pytest.fixture(scope="module")
def words():
    return read_words("data/words.yaml", "data/facts.csv")


@pytest.mark.parametrize("architecture", ARCHITECTURES)
@pytest.mark.parametrize(("name", "counterfactual"), CASES)
def test_every_word_is_known_and_pairs_are_equally_long(
    architecture, name, counterfactual, words
):
    tokenizer = build_tokenizer(words, architecture=architecture, generators=[name])
    frame = pl.concat(
        generate_prompts(
            name, words, split, count, seed=0, counterfactual=counterfactual
        )
        for split, count in (("train", 300), ("test", 200))
    )
    texts = {column: frame[column].to_list() for column in ("clean", "corrupted")}
    texts |= {
        column: frame[column].list.first().to_list()
        for column in ("answers", "wrong_answers")
    }
    ids = {column: tokenizer(each).input_ids for column, each in texts.items()}
    for rows in ids.values():
        assert not any(tokenizer.unk_token_id in row for row in rows)
    for clean, corrupted in zip(ids["clean"], ids["corrupted"], strict=True):
        assert len(clean) == len(corrupted)


def test_numbers_are_whole_for_llama_and_digits_for_qwen(words):
    text = "The sum of 52 and 59 is 111"
    llama, qwen = (
        build_tokenizer(words, architecture=name, generators=DEFAULT_GENERATORS)
        for name in ARCHITECTURES
    )
    assert llama.tokenize(text)[-1:] == ["111"]
    assert qwen.tokenize(text)[-3:] == ["1", "1", "1"]
    assert llama(text).input_ids[0] == llama.bos_token_id
    assert qwen.bos_token_id not in qwen(text).input_ids
    answer = llama(" 111", add_special_tokens=False).input_ids
    assert llama(text).input_ids[-1:] == answer


@pytest.mark.parametrize("architecture", ARCHITECTURES)
def test_a_saved_tokenizer_gives_the_same_ids(architecture, words, tmp_path):
    tokenizer = build_tokenizer(words, architecture=architecture, generators=GENERATORS)
    tokenizer.save_pretrained(tmp_path)
    AutoConfig.for_model(architecture).save_pretrained(tmp_path)
    # AutoTokenizer would replace a qwen2 tokenizer by its own.
    loader = {"llama": AutoTokenizer, "qwen2": PreTrainedTokenizerFast}[architecture]
    loaded = loader.from_pretrained(tmp_path)
    for name in GENERATORS:
        texts = generate_prompts(name, words, "train", 20, seed=0)["clean"]
        texts = texts.to_list()
        assert loaded(texts).input_ids == tokenizer(texts).input_ids
    assert loaded.pad_token_id == tokenizer.pad_token_id


def test_unknown_architecture_is_an_error(words):
    with pytest.raises(ValueError, match="'gpt2': expected one of"):
        build_tokenizer(words, architecture="gpt2", generators=["ioi"])


@pytest.mark.parametrize("model", ["llama-small", "qwen-small"])
def test_the_shipped_models_know_the_words_of_the_default_generators(words, model):
    shipped = PreTrainedTokenizerFast.from_pretrained(f"data/models/{model}")
    architecture = {"llama-small": "llama", "qwen-small": "qwen2"}[model]
    made = build_tokenizer(
        words, architecture=architecture, generators=DEFAULT_GENERATORS
    )
    assert made.get_vocab() == shipped.get_vocab()
