"""What several files say together: by hand, from what the documentation promises."""

from copy import deepcopy

import pytest

from circuit_transfer.study.configuration import overlaid

TRANSFER = {"source": "small", "target": "large"}
DEFAULT = {
    "study": {
        "tasks": ["ioi", "mcqa", "arc"],
        "transfers": [TRANSFER],
        "families": {"choice": ["mcqa", "arc"], "ioi": ["ioi"]},
    },
    "models": {"small": {"path": "s"}, "large": {"path": "l"}},
    "sensitivity": {"sparsity": [1], "proportions": {"dense": [0.5, 1]}},
}


def of_study(*layers):
    return overlaid([DEFAULT, *layers])["study"]


def test_lists_are_replaced_and_mappings_added_to():
    before = deepcopy(DEFAULT)
    layer = {"study": {"tasks": ["own"]}, "models": {"mine": {"path": "m"}}}
    found = overlaid([DEFAULT, layer])
    assert found["study"] == {**DEFAULT["study"], "tasks": ["own"]}
    assert list(found["models"]) == ["small", "large", "mine"]
    found["models"]["small"]["path"] = "changed"
    assert before == DEFAULT


@pytest.mark.parametrize(
    ("layers", "transfers"),
    [
        ([{"study": {"models": ["mine"]}}], []),
        ([{"study": {"models": ["mine"], "transfers": [TRANSFER]}}], [TRANSFER]),
        # Another file, or the command line, has the last word.
        ([{"study": {"models": ["a"]}}, {"study": {"transfers": ["b"]}}], ["b"]),
        ([{"study": {"transfers": ["b"]}}, {"study": {"models": ["a"]}}], []),
        # Models that are only described are not studied, and an empty list names none.
        ([{"models": {"mine": {"path": "m"}}}], [TRANSFER]),
        ([{"study": {"models": []}}], [TRANSFER]),
    ],
)
def test_models_without_transfers_have_none(layers, transfers):
    assert of_study(*layers)["transfers"] == transfers


def test_an_empty_mapping_clears_those_before_it():
    assert of_study({"study": {"families": {}}})["families"] == {}
    cleared = {"sensitivity": {"proportions": {}}}
    assert overlaid([DEFAULT, cleared])["sensitivity"] == {
        "sparsity": [1],
        "proportions": {},
    }
    again = {"models": {"mine": {"path": "m"}}}
    assert overlaid([DEFAULT, {"models": {}}, again])["models"] == again["models"]
    # Neither an empty file nor an empty command line says anything.
    assert overlaid([DEFAULT, {}]) == DEFAULT


def test_a_task_leaves_the_family_that_another_file_put_it_in():
    own = {"giving": ["own", "ioi"], "tests": ["mcqa"]}
    found = of_study({"study": {"families": own}})["families"]
    assert found == {"choice": ["arc"], **own}


@pytest.mark.parametrize("wrong", [None, 3, "text", ["text"], {"a": None}, {"a": [{}]}])
@pytest.mark.parametrize("keys", [("study",), ("study", "families")])
def test_wrong_types_are_left_to_the_check(keys, wrong):
    layer = wrong
    for key in reversed(keys):
        layer = {key: layer}
    for layers in ([DEFAULT, layer], [layer, DEFAULT]):
        assert overlaid(layers).keys() == DEFAULT.keys()
