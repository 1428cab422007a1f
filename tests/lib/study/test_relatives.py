"""Models that are trained from other ones, as a configuration names them."""

import pytest

from circuit_transfer.study.relatives import (
    check_relatives,
    teacher_of,
    trained_entry,
    with_relatives,
)

SIZES = {"layers": 4, "heads": 4, "kv_heads": 2, "d_model": 32, "d_mlp": 64}
TRAIN = {"architecture": "llama", **SIZES}
SETTINGS = {
    "model_type": "qwen2",
    "num_hidden_layers": 6,
    "num_attention_heads": 8,
    "num_key_value_heads": 4,
    "hidden_size": 96,
    "intermediate_size": 192,
}
MODELS = {
    "whole": {"train": TRAIN},
    "half": {"train": {"init": {"prune": "whole", "keep": {"heads": 2, "layers": 3}}}},
    "further": {"train": {"init": {"from": "half"}, "distil": {}}},
    "taught": {"train": {**TRAIN, "distil": {"teacher": "further"}}},
    "shipped": {"path": "models/shipped"},
    "remote": {"hub": "them/theirs"},
}


def settings_of(name):
    if name != "shipped":
        raise FileNotFoundError(name)
    return SETTINGS


def check(**models):
    check_relatives({**MODELS, **models}, settings_of)


def test_models_that_can_be_made_pass():
    check()
    check(small={"train": {"init": {"prune": "shipped", "keep": {"d_model": 50}}}})
    # Its sizes are not known yet.
    check(tuned={"train": {"init": {"prune": "remote", "keep": {"layers": 900}}}})
    check(same={"train": {"init": {"from": "whole"}, **TRAIN}})


def test_all_that_a_training_reads_is_found():
    assert with_relatives(MODELS, ["taught"]) == ["taught", "further", "half", "whole"]
    assert with_relatives(MODELS, ["shipped"]) == ["shipped"]
    assert teacher_of(MODELS["further"]) == "half"


def test_sizes_are_those_of_the_parent_without_what_is_cut_off():
    entry = trained_entry(MODELS, "further", settings_of)
    sizes = {**SIZES, "layers": 3, "heads": 2, "kv_heads": 1}
    expected = {"architecture": "llama", **sizes, **MODELS["further"]["train"]}
    assert entry == expected
    models = {**MODELS, "tuned": {"train": {"init": {"from": "shipped"}}}}
    entry = trained_entry(models, "tuned", settings_of)
    assert (entry["architecture"], entry["d_mlp"], entry["kv_heads"]) == (
        "qwen2",
        192,
        4,
    )


@pytest.mark.parametrize(
    ("train", "message"),
    [
        ({"init": {}}, "init: expected either `from` or `prune`$"),
        (
            {"init": {"from": "whole", "prune": "half"}},
            "init: expected either `from` or `prune`$",
        ),
        ({"init": {"from": "whole", "keep": {}}}, "init.keep: only with `prune`"),
        ({"init": {"from": "wole"}}, "init: no model .* 'wole'; did you mean 'whole'"),
        (
            {**TRAIN, "distil": {"teacher": "wole"}},
            "distil: no model .* 'wole'; did you mean 'whole'",
        ),
        ({**TRAIN, "distil": {}}, "distil.teacher: missing; expected a model"),
        ({"init": {"from": "own"}}, "init: 'own' is trained from 'own' itself"),
        (
            {"init": {"prune": "whole", "keep": {"heads": 3}}},
            "init: heads: 3, of 2 groups of 2 .* one of 2, 4$",
        ),
        (
            {"init": {"prune": "half", "keep": {"layers": 4}}},
            "init: layers: 4, expected at most the 3 ",
        ),
        (
            {"init": {"from": "half"}, "heads": 4},
            "heads: 4, but by `init` it is 2; expected the same, or none",
        ),
        (
            {"init": {"from": "shipped"}, "architecture": "llama"},
            "architecture: 'llama', but by `init` it is 'qwen2'",
        ),
    ],
)
def test_what_cannot_be_made_is_refused_with_its_place(train, message):
    with pytest.raises(ValueError, match=f"^models.own.train.{message}"):
        check(own={"train": train})


def test_circles_are_refused_of_any_length_and_by_teachers_too():
    first = {"train": {"init": {"from": "third"}}}
    second = {"train": {"init": {"from": "first"}}}
    third = {"train": {**TRAIN, "distil": {"teacher": "second"}}}
    message = (
        "models.second.train.init: 'first' is trained from 'second' itself, as "
        "first <- third <- second <- first; expected a model that does not"
    )
    with pytest.raises(ValueError, match=f"^{message}"):
        check(first=first, second=second, third=third)


def test_families_that_cannot_be_pruned_are_refused_before_a_run():
    models = {
        "theirs": {"path": "gpt2"},
        "own": {"train": {"init": {"prune": "theirs", "keep": {}}}},
    }
    settings = {"model_type": "gpt2", "n_layer": 2, "n_head": 4, "n_embd": 16}
    message = "models.own.train.init: .*'gpt2' cannot be pruned; expected one of llama"
    with pytest.raises(ValueError, match=message):
        check_relatives(models, lambda name: settings)


@pytest.mark.parametrize(
    "settings", [{"model_type": "llama"}, SETTINGS | {"num_hidden_layers": "six"}]
)
def test_a_defective_configuration_is_left_to_the_check_of_its_folder(settings):
    models = {
        "theirs": {"path": "somewhere"},
        "own": {"train": {"init": {"prune": "theirs", "keep": {"layers": 2}}}},
    }
    check_relatives(models, lambda name: settings)
