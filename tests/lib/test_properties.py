"""What holds of any rows, scores, curves and files, on examples that are drawn."""

import csv
import io
import json
import math
import tempfile
from fractions import Fraction
from pathlib import Path

import numpy as np
import polars as pl
import pytest
import torch
from hypothesis import assume, example, given, settings
from hypothesis import strategies as st
from polars.testing import assert_frame_equal

from circuit_transfer.artifacts.alignments import read_alignment, write_alignment
from circuit_transfer.artifacts.frames import read_frame, write_frame
from circuit_transfer.artifacts.scores import read_scores, write_scores
from circuit_transfer.artifacts.text import read_json, write_json
from circuit_transfer.circuits.masks import circuit_masks
from circuit_transfer.circuits.mib import from_importances, to_importances
from circuit_transfer.importers import FORMATS, import_task
from circuit_transfer.importers.rows import split_by_hash
from circuit_transfer.models.nodes import circuit_size, is_mlp, node_layers, node_names
from circuit_transfer.prompts.encoding import pairs_tokenizer
from circuit_transfer.prompts.pairs import tokenize_pairs
from circuit_transfer.tables.curves import curve_areas, summarise
from circuit_transfer.transfer.training_sets import (
    family_sets,
    leaves_out,
    left_out_sets,
    study_families,
    study_protocols,
    training_sets,
    training_tasks,
)

few = settings(max_examples=40)
TEXTS = st.text(st.characters(exclude_categories=["Cs"]), max_size=12)
FLOATS = st.floats(width=32, allow_nan=False, allow_infinity=False)
NAMES = st.from_regex(r"[a-z0-9][a-z0-9.-]{0,8}", fullmatch=True)


@pytest.fixture(scope="module")
def place():
    """A folder of one's own: examples of one test share it."""
    with tempfile.TemporaryDirectory() as folder:
        yield Path(folder)


# Rows of files


PAIRS = st.lists(
    st.fixed_dictionaries(
        dict.fromkeys(("clean", "corrupted", "answer", "wrong_answer"), TEXTS)
    ),
    min_size=1,
    max_size=6,
)
CELLS = st.recursive(
    st.none() | st.booleans() | st.integers() | FLOATS | TEXTS,
    lambda inner: (
        st.lists(inner, max_size=3) | st.dictionaries(TEXTS, inner, max_size=3)
    ),
    max_leaves=4,
)


def write_jsonl(path, rows):
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return path


def write_csv(path, rows):
    """Not by the library that reads it."""
    file = io.StringIO()
    writer = csv.DictWriter(file, [*rows[0]], quoting=csv.QUOTE_ALL)
    writer.writeheader()
    writer.writerows(rows)
    path.write_bytes(file.getvalue().encode())
    return path


def write_parquet(path, rows):
    pl.DataFrame(rows).write_parquet(path)
    return path


@few
@given(rows=PAIRS)
def test_pairs_of_any_text_come_back_from_every_type(rows, place):
    files = [
        write_jsonl(place / "x.jsonl", rows),
        write_csv(place / "x.csv", rows),
        write_parquet(place / "x.parquet", rows),
    ]
    for path in files:
        imported = import_task({"file": path.name}, path)
        found = imported.prompts
        assert imported.rejects.is_empty()
        assert found["row"].to_list() == list(range(1, len(rows) + 1))
        for name in ("clean", "corrupted"):
            assert found[name].to_list() == [row[name] for row in rows]
        for name in ("answer", "wrong_answer"):
            assert found[f"{name}s"].to_list() == [[row[name]] for row in rows]
        assert found["group"].to_list() == found["clean"].to_list()


@few
@given(rows=PAIRS)
def test_a_prompts_file_is_read_as_it_was_written(rows, place):
    first = import_task({"file": "x"}, write_jsonl(place / "x.jsonl", rows)).prompts
    write_frame(first, place / "again.parquet")
    again = import_task({"file": "x"}, place / "again.parquet").prompts
    assert_frame_equal(again.drop("file"), first.drop("file"))


GIVEN = {
    "eap-ig": {
        "clean": "The war lasted from 1352 to 13",
        "corrupted": "The war lasted from 1301 to 13",
        "label": 52,
    },
    "auto-circuit": {
        "clean": "a",
        "corrupt": "b",
        "answers": ["c"],
        "wrong_answers": ["d"],
    },
    "edge-pruning": {
        "clean": "x <predict> y</predict>",
        "corrupted": "z <predict> w</predict>",
        "split": "train",
    },
    "edge-pruning-ioi": {
        "ioi_sentences": "x y",
        "corr_ioi_sentences": "z w",
        "a": "y",
        "b": "w",
        "split": "train",
    },
    "causal-tom": {
        "characters": ["a", "b"],
        "objects": ["c", "d"],
        "states": ["e", "f"],
        "story": "a c e. b d f.",
        "question": "a c?",
        "target": "e",
        "prompt": "a c e. b d f. a c?",
        "character_idx": 0,
        "object_idx": 0,
    },
    "entity-tracking": {
        "sentence": "The x is in Box A, the y is in Box B. Box A contains the x"
    },
    "ioi": {
        "prompt": "a",
        "metadata": {"indirect_object": "b", "subject": "c"},
        "choices": ["b", "c"],
        "answerKey": 0,
        "s2_io_flip_counterfactual": {
            "prompt": "d",
            "choices": ["b", "c"],
            "answerKey": 1,
        },
    },
    "arc_easy": {
        "prompt": "a",
        "choices": {"label": ["A", "B"], "text": ["x", "y"]},
        "answerKey": 0,
        "symbol_counterfactual": {
            "prompt": "b",
            "choices": {"label": [1, 2]},
            "answerKey": 1,
        },
    },
    "arithmetic_addition": {
        "prompt": "1+2=",
        "label": "3",
        "operator": "+",
        "operand1": 1,
        "operand2": 2,
        "random_counterfactual": {"prompt": "1+1=", "label": 2},
    },
}


@st.composite
def damaged_rows(draw, whole):
    """Rows of which some have other cells than they should, at the top or within."""
    rows = []
    for _ in range(draw(st.integers(0, 5))):
        row = json.loads(json.dumps(whole))
        for _ in range(draw(st.integers(0, 2))):
            inside = draw(
                st.sampled_from(
                    [row, *(v for v in row.values() if isinstance(v, dict))]
                )
            )
            if inside:
                inside[draw(st.sampled_from([*inside]))] = draw(CELLS)
        rows.append(row)
    # One that is whole, so that the file has all columns.
    rows.insert(draw(st.integers(0, len(rows))), whole)
    return rows


@few
@pytest.mark.parametrize("kind", GIVEN)
@given(data=st.data())
def test_every_row_becomes_a_pair_or_a_reject_with_a_reason(kind, data, place):
    rows = data.draw(damaged_rows(GIVEN[kind]))
    if kind == "auto-circuit":
        path = place / "x.json"
        path.write_text(json.dumps({"prompts": rows}))
    else:
        path = write_jsonl(place / "x.jsonl", rows)
    entry = {"file": "x", "format": kind} if kind in FORMATS else {"mib": kind}
    imported = import_task(entry, path)
    numbers = [*imported.prompts["row"], *imported.rejects["row"]]
    assert sorted(numbers) == list(range(1, len(rows) + 1))
    assert imported.prompts["row"].is_sorted() and imported.rejects["row"].is_sorted()
    assert all(imported.rejects["reason"])
    whole = rows.index(GIVEN[kind]) + 1
    assert whole in imported.prompts["row"].to_list()


@few
@given(
    words=st.lists(
        st.lists(
            st.lists(
                st.sampled_from(["w1", "w2", "w3", ".", "new", ""]), max_size=3
            ).map(" ".join),
            min_size=4,
            max_size=4,
        ),
        max_size=6,
    )
)
@example(words=[["w1 w2", "w3", " .", " w1"], ["w1 w2", "w3 w2", " .", " w1"]])
def test_every_pair_becomes_usable_tokens_or_a_reject(words, tiny_tokenizer, place):
    names = ("clean", "corrupted", "answer", "wrong_answer")
    rows = [dict(zip(names, each, strict=True)) for each in words]
    assume(rows)
    prompts = import_task({"file": "x"}, write_jsonl(place / "x.jsonl", rows)).prompts
    known = pairs_tokenizer(tiny_tokenizer(), 4, 49, (0, "<unk>"))
    found = tokenize_pairs(prompts, known)
    numbers = [*found.pairs["row"], *found.rejects["row"]]
    assert sorted(numbers) == list(range(1, len(rows) + 1))
    assert all(found.rejects["reason"])
    for pair in found.pairs.iter_rows(named=True):
        assert 0 < len(pair["clean_ids"]) == len(pair["corrupted_ids"]) <= 4
        assert pair["clean_ids"] != pair["corrupted_ids"]
        assert pair["answer_ids"] and pair["wrong_answer_ids"]
        assert not {*pair["answer_ids"]} & {*pair["wrong_answer_ids"]}
        assert 0 not in pair["clean_ids"] + pair["corrupted_ids"] + pair["answer_ids"]


# Splits


@few
@given(
    groups=st.lists(TEXTS, min_size=1, max_size=10),
    data=st.data(),
)
def test_a_group_is_in_one_split_whatever_the_order_of_the_rows(groups, data, place):
    rows = [
        {
            "clean": f"{n}",
            "corrupted": "b",
            "answer": "c",
            "wrong_answer": "d",
            "group": g,
        }
        for n, g in enumerate(groups)
    ]
    shuffled = data.draw(st.permutations(rows))
    splits = []
    for order in (rows, shuffled):
        path = write_jsonl(place / "x.jsonl", order)
        frame = import_task({"file": "x"}, path).prompts
        assert (
            frame.group_by("group").agg(pl.col("split").n_unique())["split"].max() == 1
        )
        splits.append(dict(frame.select("clean", "split").iter_rows()))
    assert splits[0] == splits[1]


def test_about_half_of_the_groups_are_in_each_split():
    """Five standard deviations of a fair coin, and the same on every machine."""
    halves = [split_by_hash(f"prompt {number}") for number in range(10_000)]
    assert abs(halves.count("train") - 5000) < 250
    assert halves[:8] == [
        *("train", "train", "test", "test", "train", "train", "train", "test"),
    ]


@few
@given(
    rows=st.lists(
        st.tuples(
            st.sampled_from("abc"), st.sampled_from(["train", "test", "validation"])
        ),
        min_size=1,
        max_size=8,
    )
)
def test_no_clean_prompt_is_in_both_splits(rows, place):
    lines = [
        {
            "clean": f"{prompt} <predict> y</predict>",
            "corrupted": "z <predict> w</predict>",
            "split": split,
        }
        for prompt, split in rows
    ]
    path = write_jsonl(place / "x.jsonl", lines)
    imported = import_task({"file": "x", "format": "edge-pruning"}, path)
    by_split = {
        split: {*imported.prompts.filter(split=split)["clean"]}
        for split in ("train", "test")
    }
    assert not by_split["train"] & by_split["test"]
    # Training rows are never given up for it.
    assert by_split["train"] == {prompt for prompt, split in rows if split == "train"}
    assert len(imported.prompts) + len(imported.rejects) == len(rows)


@st.composite
def task_families(draw):
    """Tasks of a study, and families of some of them and of others."""
    names = NAMES.filter(lambda each: not each.startswith("family-"))
    known = draw(st.lists(names, min_size=1, max_size=8, unique=True))
    tasks = known[: draw(st.integers(1, min(5, len(known))))]
    members = draw(st.permutations(known))
    cuts = sorted(draw(st.sets(st.integers(0, len(members)), max_size=4)))
    groups = [members[i:j] for i, j in zip(cuts, cuts[1:], strict=False)]
    # No family has the name of a task.
    return tasks, {f"_{n}": group for n, group in enumerate(groups)}


@given(task_families())
def test_a_training_set_is_what_its_name_says(study):
    tasks, families = study
    names = training_sets(tasks, families)
    assert len(names) == len({*names})
    for task in tasks:
        assert training_tasks(f"only-{task}", tasks, families) == [task]
    for each in names:
        chosen = training_tasks(each, tasks, families)
        assert chosen and chosen == [task for task in tasks if task in chosen]
    for name, family in families.items():
        if f"without-family-{name}" in names:
            chosen = training_tasks(f"without-family-{name}", tasks, families)
            assert {*chosen} == {*tasks} - {*family}


@given(task_families())
def test_no_two_training_sets_leave_out_the_same_tasks(study):
    tasks, families = study
    sets = [name for name in training_sets(tasks, families) if leaves_out(name)]
    trained = {tuple(training_tasks(name, tasks, families)) for name in sets}
    assert len(trained) == len(sets) and tuple(tasks) not in trained


@given(task_families())
def test_both_protocols_are_complete_for_every_task(study):
    tasks, families = study
    known, studied = training_sets(tasks, families), study_families(tasks, families)
    for task in tasks:
        sets = left_out_sets(task, studied)
        assert sets.keys() == study_protocols(studied).keys()
        mine = next(each for each in studied.values() if task in each)
        for protocol, name in sets.items():
            left_out = mine if "family" in protocol else [task]
            rest = [each for each in tasks if each not in left_out]
            # There is no set of nothing.
            assert (name in known) == bool(rest)
            if rest:
                assert training_tasks(name, tasks, families) == rest
    left_out = [
        set(tasks) - {*training_tasks(name, tasks, families)}
        for name in family_sets(tasks, families)
    ]
    expected = [set(each) for each in studied.values() if len(studied) > 1]
    assert left_out == expected


# Nodes


@given(layers=st.integers(1, 130), heads=st.integers(1, 130))
def test_names_and_places_of_nodes_tell_each_other(layers, heads):
    names = node_names(layers, heads)
    assert len({*names}) == len(names) == layers * (heads + 1)
    for layer, head in ((0, 0), (layers - 1, heads - 1), (layers // 2, heads // 2)):
        assert names[layer * (heads + 1) + head] == f"a{layer}.h{head}"
        assert names[layer * (heads + 1) + heads] == f"m{layer}"
    assert node_layers(names) == [n // (heads + 1) for n in range(len(names))]
    assert [*map(is_mlp, names)] == [
        n % (heads + 1) == heads for n in range(len(names))
    ]


@given(
    thousandths=st.integers(0, 1000),
    n_nodes=st.sampled_from([100, 1000, 2000]) | st.integers(1, 100_000),
)
@example(thousandths=290, n_nodes=100)
def test_a_proportion_is_meant_as_its_decimal(thousandths, n_nodes):
    exact = math.floor(Fraction(thousandths, 1000) * n_nodes)
    assert circuit_size(thousandths / 1000, n_nodes) == exact


@few
@given(
    scores=st.lists(
        st.sampled_from([-1.0, -0.0, 0.0, 0.5, 2.0]) | FLOATS, min_size=1, max_size=40
    )
)
@example(scores=[0.0, -0.0] * 300)
def test_circuits_are_the_first_of_a_stable_order(scores):
    """Ties keep the order of the nodes, as in Python's own stable sort."""
    exact = torch.tensor([scores], dtype=torch.float32)
    values = exact[0].tolist()
    order = sorted(range(len(values)), key=lambda node: -values[node])
    sizes = [0.001, 0.1, 0.25, 0.5, 0.9, 1.0]
    masks = circuit_masks(exact, sizes)[0]
    for mask, size in zip(masks, sizes, strict=True):
        kept = math.floor(Fraction(str(size)) * len(values))
        assert {*mask.nonzero()[:, 0].tolist()} == {*order[:kept]}
    # Smaller circuits lie within larger ones.
    assert all(
        (small <= large).all() for small, large in zip(masks, masks[1:], strict=False)
    )


# Areas of curves


@st.composite
def curves(draw):
    """Increasing sizes and a value at each."""
    values = st.floats(-3, 3)
    sizes = sorted(draw(st.sets(st.integers(1, 1000), min_size=2, max_size=8)))
    found = draw(st.lists(values, min_size=len(sizes), max_size=len(sizes)))
    return [size / 1000 for size in sizes], found


def exactly(sizes, values):
    """The area of the trapezoids, in fractions."""
    points = [*zip(map(Fraction, sizes), map(Fraction, values), strict=True)]
    return sum(
        (b - a) * (u + v) / 2
        for (a, u), (b, v) in zip(points, points[1:], strict=False)
    )


near = pytest.approx


@given(curve=curves())
def test_areas_are_those_of_the_trapezoids(curve):
    sizes, values = curve
    cpr, cmd = curve_areas(sizes, values)
    assert cpr == near(float(exactly(sizes, values)), abs=1e-12)
    distances = [abs(1 - Fraction(value)) for value in values]
    assert cmd == near(float(exactly(sizes, distances)), abs=1e-12)


@given(curve=curves(), constant=st.floats(-3, 3))
def test_areas_have_their_closed_forms_and_bounds(curve, constant):
    sizes, values = curve
    width = sizes[-1] - sizes[0]
    cpr, cmd = curve_areas(sizes, [constant] * len(sizes))
    assert (cpr, cmd) == near((constant * width, abs(1 - constant) * width), abs=1e-12)
    line, _ = curve_areas(sizes, sizes)
    assert line == near((sizes[-1] ** 2 - sizes[0] ** 2) / 2, abs=1e-12)
    cpr, cmd = curve_areas(sizes, values)
    assert min(values) * width - 1e-12 <= cpr <= max(values) * width + 1e-12
    # Overshooting and falling short do not cancel in CMD, as they do in CPR.
    assert cmd >= abs(width - cpr) - 1e-12
    below = [min(value, 1.0) for value in values]
    cpr, cmd = curve_areas(sizes, below)
    assert cmd == near(width - cpr, abs=1e-12)


@given(curve=curves(), more=st.floats(0, 2), data=st.data())
def test_a_curve_that_lies_higher_has_the_larger_area(curve, more, data):
    sizes, values = curve
    place = data.draw(st.integers(0, len(values) - 1))
    higher = [*values]
    higher[place] += more
    assert curve_areas(sizes, higher)[0] >= curve_areas(sizes, values)[0]


@given(curve=curves())
def test_a_point_on_the_line_between_two_changes_no_area(curve):
    sizes, values = curve
    middle = (sizes[0] + sizes[1]) / 2
    between = [sizes[0], middle, *sizes[1:]]
    cpr, _ = curve_areas(between, [values[0], (values[0] + values[1]) / 2, *values[1:]])
    assert cpr == near(curve_areas(sizes, values)[0], abs=1e-12)


@given(curve=curves())
def test_sizes_that_do_not_increase_are_refused(curve):
    sizes, values = curve
    for wrong in (sizes[::-1], [sizes[0], *sizes[:-1]]):
        with pytest.raises(ValueError, match="proportions must increase"):
            curve_areas(wrong, values)


@few
@given(curve=curves(), data=st.data())
def test_the_order_of_the_rows_changes_no_area(curve, data):
    sizes, values = curve
    rows = [
        {
            "target": "m",
            "task": task,
            "method": "nap",
            "ablation": "zero",
            "proportion": size,
            "n_nodes": 1,
            "logit_diff": 0.0,
            "kl": 0.0,
            "accuracy": 0.0,
            "faithfulness": value + shift,
            "logit_diffs": [0.0],
        }
        for task, shift in (("a", 0.0), ("b", 1.0))
        for size, value in zip(sizes, values, strict=True)
    ]
    shuffled = data.draw(st.permutations(rows))
    found = [
        summarise([pl.DataFrame(order)], [], [], siblings=[], families={})
        for order in (rows, shuffled)
    ]
    for before, after in zip(*found, strict=True):
        assert_frame_equal(before, after)


# Artefacts


ARRAYS = st.lists(st.floats(width=32), min_size=1, max_size=20).map(
    lambda values: np.array(values, np.float32)
)
SETTINGS = st.dictionaries(
    TEXTS.filter(lambda key: key not in {"format", "nodes"}),
    st.recursive(
        st.none() | st.booleans() | st.integers() | FLOATS | TEXTS,
        lambda inner: (
            st.lists(inner, max_size=3) | st.dictionaries(TEXTS, inner, max_size=3)
        ),
        max_leaves=4,
    ),
    max_size=4,
)


@few
@given(scores=ARRAYS, metadata=SETTINGS, data=st.data())
@example(
    scores=np.zeros(1, np.float32),
    metadata={"note": "2024", "other": "null", "third": "[1", "task": "7"},
    data=None,
)
def test_scores_and_settings_come_back_from_their_file(scores, metadata, data, place):
    assume(not {*metadata} & {"path", "scores", "by_example"})
    nodes = [f"n{number}" for number in range(len(scores))]
    if data:
        nodes = data.draw(st.lists(TEXTS, min_size=len(nodes), max_size=len(nodes)))
    path = place / "scores.safetensors"
    write_scores(path, scores, nodes=nodes, **metadata)
    found = read_scores(path)
    assert found.scores.tobytes() == scores.tobytes()
    assert found.nodes == tuple(nodes)
    assert found.metadata == metadata
    first = path.read_bytes()
    write_scores(path, scores, nodes=nodes, **metadata)
    assert path.read_bytes() == first


@few
@given(
    tensors=st.dictionaries(
        TEXTS.filter(lambda name: name != "__metadata__"), ARRAYS, max_size=4
    ),
    alignment=ARRAYS,
)
def test_an_alignment_comes_back_under_any_names(tensors, alignment, place):
    tensors = tensors | {"alignment": alignment}
    path = place / "alignment.safetensors"
    write_alignment(path, tensors, {"maps": ["free"], "source_nodes": ["é"]})
    found = read_alignment(path)
    assert {name: each.tobytes() for name, each in found.tensors.items()} == {
        name: each.tobytes() for name, each in tensors.items()
    }
    assert found.metadata == {"maps": ["free"], "source_nodes": ["é"]}


@few
@given(texts=st.lists(TEXTS | st.none(), max_size=5), name=TEXTS)
def test_frames_and_json_come_back_with_any_text(texts, name, place):
    frame = pl.DataFrame({name: texts}, schema={name: pl.String})
    write_frame(frame, place / "frame.parquet")
    assert_frame_equal(read_frame(place / "frame.parquet"), frame)
    write_json({name: texts}, place / "value.json")
    assert read_json(place / "value.json") == {name: texts}


@given(layers=st.integers(1, 4), heads=st.integers(1, 4), data=st.data())
def test_scores_go_through_the_format_of_mib_unchanged(layers, heads, data):
    nodes = node_names(layers, heads)
    drawn = data.draw(st.lists(FLOATS, min_size=len(nodes), max_size=len(nodes)))
    scores = np.array(drawn, np.float32)
    model = {"layers": layers, "heads": heads, "d_model": 8, "nodes": nodes}
    graph = to_importances(scores, nodes, model | {"parallel_mlp": False})
    again = from_importances(json.loads(json.dumps(graph)), nodes)
    assert again.tobytes() == scores.tobytes()
