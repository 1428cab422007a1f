"""Which pairs of a study have a map by lineage, and what is refused."""

import json

import pytest

from circuit_transfer.study.map_checks import (
    are_related,
    check_maps,
    maps_by_lineage,
    recorded_ancestors,
)
from circuit_transfer.study.names import Names

MODELS = {
    "whole": {"path": "whole"},
    "half": {"train": {"init": {"prune": "whole"}}},
    "later": {"train": {"init": {"from": "half"}}},
    "other": {"train": {"init": {"prune": "whole"}}},
    "apart": {"train": {}},
    "taught": {"train": {"distil": {"teacher": "whole"}}},
    "shipped": {"path": "shipped"},
}
ABOVE = {"relation": "pruned", "parent": "whole", "teacher": None, "nodes": {}}
ABOVE |= {"parent_lineage": None}
RECORD = {"lineage": ABOVE | {"parent": "middle", "parent_lineage": ABOVE}}


def config(
    *pairs,
    main="free",
    compare=("lineage",),
    chosen="cka",
    sensitivity=(),
    edges=None,
):
    return {
        "models": MODELS,
        "study": {"transfers": [{"source": a, "target": b} for a, b in pairs]},
        "alignment": {
            "map": main,
            "compare": [*compare],
            "prior": {"correspondence": chosen},
            "edges": edges or {"methods": []},
        },
        "sensitivity": dict.fromkeys(sensitivity, [1]),
    }


@pytest.fixture
def folder(tmp_path):
    for name, record in (("shipped", RECORD), ("whole", {"accuracy": {}})):
        (tmp_path / name).mkdir()
        (tmp_path / name / "training.json").write_text(json.dumps(record))
    return tmp_path


@pytest.mark.parametrize(
    ("pair", "related"),
    [
        (("half", "whole"), True),
        (("whole", "later"), True),
        (("later", "other"), True),
        (("shipped", "whole"), True),
        (("other", "shipped"), True),
        (("apart", "whole"), False),
        (("taught", "whole"), False),
        (("taught", "half"), False),
    ],
)
def test_models_are_related_by_what_they_were_made_from(folder, pair, related):
    recorded = recorded_ancestors(config(), [folder])
    assert recorded == {"shipped": ["middle", "whole"]}
    assert are_related(MODELS, recorded, *pair) is related
    assert are_related(MODELS, recorded, *reversed(pair)) is related


def test_no_record_is_read_where_no_map_needs_one(folder):
    assert recorded_ancestors(config(compare=["matched"]), [folder]) == {}


def test_a_trained_map_may_begin_with_the_lineage():
    names = ["prior-residual", "stitched", "lineage-filled"]
    assert maps_by_lineage(config(compare=names)) == ["lineage-filled"]
    found = maps_by_lineage(config(compare=names, chosen="lineage"))
    assert found == ["prior-residual", "lineage-filled"]


def test_a_study_without_a_related_pair_is_refused(folder):
    wanted = r"alignment\.compare: 'lineage' needs .*; apart → whole is not related"
    with pytest.raises(ValueError, match=wanted):
        check_maps(config(("apart", "whole")), [folder])
    check_maps(config(("apart", "whole"), compare=["matched"]), [folder])
    check_maps(config(), [folder])


def test_beside_a_related_pair_the_others_have_no_map_by_lineage(folder):
    pairs = ("apart", "whole"), ("shipped", "whole")
    edges = {"methods": ["eap"], "map": "prior-residual", "compare": ["lifted-lineage"]}
    compared = ["depth-prior", "mean-gold-lineage"]
    mixed = config(*pairs, compare=compared, edges=edges)
    check_maps(mixed, [folder])
    mixed["study"]["methods"] = ["nap"]
    names = Names(mixed, recorded_ancestors(mixed, [folder]))
    assert names.maps_of("apart", "whole") == ["free", "depth-prior"]
    every = ["free", "depth-prior", "mean-gold-lineage"]
    assert names.maps == names.maps_of("shipped", "whole") == every
    # Of edges as well, so that the page does not count a map that is not there.
    omitted = ["mean-gold-lineage", "lifted-lineage"]
    assert names.omitted_maps == [["apart", "whole", name] for name in omitted]


def test_the_main_map_is_one_that_every_pair_has(folder):
    pairs = ("apart", "whole"), ("half", "whole")
    with pytest.raises(ValueError, match=r"alignment\.map: 'lineage' needs .* apart"):
        check_maps(config(*pairs, main="lineage", compare=[]), [folder])
    check_maps(config(pairs[1], main="lineage", compare=[]), [folder])


def test_filled_maps_need_the_changes_that_come_with_stitched(folder):
    pair = ("half", "whole")
    with pytest.raises(ValueError, match="expected 'stitched' there too"):
        check_maps(config(pair, compare=["matched-filled"]), [folder])
    compare = ["matched-filled", "stitched"]
    check_maps(config(pair, compare=compare), [folder])
    check_maps(config(pair, compare=compare, sensitivity=["sparsity"]), [folder])
    main = {"main": "matched-filled", "compare": ["stitched"]}
    with pytest.raises(ValueError, match="sensitivity: settings are varied of"):
        check_maps(config(pair, **main, sensitivity=["sparsity"]), [folder])
