import pytest

from circuit_transfer.models.lineage import nodes_in_ancestors, origin, relation

GRANDPARENT = {
    "relation": "pruned",
    "parent": "whole",
    "teacher": "whole",
    "nodes": {"a0.h0": "a2.h5", "a0.h1": "a2.h7", "m0": "m2"},
    "parent_lineage": None,
}
LINEAGE = {
    "relation": "pruned",
    "parent": "half",
    "teacher": None,
    "nodes": {"a0.h0": "a0.h1", "m0": "m0"},
    "parent_lineage": GRANDPARENT,
}


def test_nodes_are_followed_to_every_ancestor():
    assert nodes_in_ancestors(["a0.h0", "m0"], LINEAGE) == {
        "half": {"a0.h0": "a0.h1", "m0": "m0"},
        "whole": {"a0.h0": "a2.h7", "m0": "m2"},
    }


def test_a_model_without_a_parent_has_no_ancestors():
    taught = {**GRANDPARENT, "relation": "distilled", "parent": None, "nodes": {}}
    assert nodes_in_ancestors(["a0.h0"], taught) == {}
    assert nodes_in_ancestors(["a0.h0"], None) == {}
    assert origin(taught) == "distilled from whole"
    assert origin(GRANDPARENT) == "pruned from whole, distilled from whole"
    assert origin({**LINEAGE, "relation": "finetuned"}) == "trained further from half"


def described(name, parent=None, teacher=None, how="distilled"):
    """Describe a model that was made from a described one, or taught by a named one."""
    if parent is None and teacher is None:
        return {"model": name}
    lineage = {"relation": how, "teacher": teacher, "nodes": {}}
    lineage["parent"] = parent and parent["model"]
    lineage["parent_lineage"] = parent and parent.get("lineage")
    return {"model": name, "lineage": lineage}


WHOLE = described("whole")
LATER = described("later", WHOLE, how="finetuned")
CUT = described("cut", WHOLE, "whole", how="pruned")
TAUGHT = described("taught", teacher="whole")
RELATED = [
    (WHOLE, WHOLE, "finetuned"),
    (WHOLE, LATER, "finetuned"),
    # Distilled as well, but the nodes are those of the parent.
    (WHOLE, CUT, "pruned"),
    (WHOLE, described("half", CUT, how="finetuned"), "pruned"),
    (WHOLE, described("small", LATER, how="pruned"), "pruned"),
    (WHOLE, TAUGHT, "distilled"),
    (WHOLE, described("second", TAUGHT, how="finetuned"), "distilled"),
    (WHOLE, described("stranger"), "apart"),
    # Through a common ancestor, or a common teacher.
    (LATER, CUT, "pruned"),
    (LATER, described("longer", WHOLE, how="finetuned"), "finetuned"),
    (CUT, TAUGHT, "distilled"),
    (TAUGHT, described("sibling", teacher="whole"), "distilled"),
    (CUT, described("stranger", teacher="other"), "apart"),
]


@pytest.mark.parametrize(
    ("one", "other", "how"),
    RELATED,
    ids=[f"{one['model']}-{other['model']}" for one, other, _ in RELATED],
)
def test_two_models_are_related_by_the_least_close_link_between_them(one, other, how):
    assert relation(one, other) == relation(other, one) == how
