from circuit_transfer.models.lineage import nodes_in_ancestors, origin

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
