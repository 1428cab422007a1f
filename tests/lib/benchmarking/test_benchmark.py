"""Arithmetic, ideals and memory of the benchmark, against known values."""

from dataclasses import replace
from pathlib import Path

import polars as pl
import pytest
import torch
import yaml

from circuit_transfer.benchmarking import measure as measuring
from circuit_transfer.benchmarking.cases import (
    LIMITS,
    bare_passes,
    cases,
    random_model,
    random_pairs,
)
from circuit_transfer.benchmarking.entries import (
    EDGE_CIRCUITS,
    EDGE_MAP_STEP,
    EXACT_EDGES,
    FORWARD,
    FORWARD_BACKWARD,
    LOAD,
    MEASURED,
    PRUNING_STEP,
    WHOLE_EDGE_CIRCUIT,
    Load,
    Shape,
    resized,
)
from circuit_transfer.benchmarking.measure import machine, measure, peak_memory
from circuit_transfer.benchmarking.runs import run_benchmark, run_scaling
from circuit_transfer.circuits.methods import node_methods
from circuit_transfer.interventions import answer_logits, counting
from circuit_transfer.models.edges import config_graph
from circuit_transfer.tables.benchmark import (
    ABOVE,
    ON,
    SCALING,
    benchmark_rows,
    benchmark_table,
    scaling_slopes,
    scaling_table,
    slope,
)
from circuit_transfer.tables.typesetting import to_html

ROOT = Path(__file__).parents[3]
CPU = torch.device("cpu")
FLOAT32 = 4
# 2 layers of 4 heads and an MLP: 10 nodes at 4 sites.
SHAPE = Shape("llama", 2, 4, 2, 32, 48, 50)
NODES, SITES = 10, 4
# Of 10 nodes: none twice, 3, 5 and all.
LOAD_OF_TEST = Load(4, 8, 3, node_methods(), 2, (0.01, 0.05, 0.3, 0.5, 1.0))
WITH_EDGES = replace(LOAD_OF_TEST, methods=[], edge_methods=["eap", "eap-ig-inputs"])
DIFFERENT = 3


@pytest.fixture(autouse=True)
def hurried(monkeypatch):
    """Time every computation once only."""
    monkeypatch.setattr(measuring, "SHORT_SECONDS", 1e-9)


@pytest.fixture(scope="module")
def model():
    torch.set_num_threads(1)
    return random_model(SHAPE, "float32", "cpu")


@pytest.fixture(scope="module")
def batch():
    return random_pairs(LOAD_OF_TEST, SHAPE.vocabulary)


# Memory


def test_peak_memory_is_the_most_that_is_held_at_one_time():
    def run():
        first = torch.zeros(1000)
        second = torch.zeros(2000)
        del first
        third = torch.zeros(500)
        return second, third

    assert peak_memory(run, CPU) == 3000 * FLOAT32


def test_tensors_that_existed_before_are_not_counted():
    before = torch.ones(5000)
    assert peak_memory(lambda: before.sum(), CPU) == FLOAT32
    assert peak_memory(lambda: before.neg_(), CPU) == 0


def test_activations_saved_for_the_backward_pass_are_counted():
    values = torch.ones(1000, requires_grad=True)

    def chain():
        return values.exp().sin().cos()

    with torch.no_grad():
        assert peak_memory(chain, CPU) == 2000 * FLOAT32
    assert peak_memory(chain, CPU) == 3000 * FLOAT32


# What is measured


def test_random_models_have_their_shape_and_seed():
    model = random_model(SHAPE, "bfloat16", "cpu")
    config = model.config
    assert (config.num_hidden_layers, config.num_attention_heads) == (2, 4)
    assert (config.num_key_value_heads, config.hidden_size) == (2, 32)
    assert (config.intermediate_size, config.vocab_size) == (48, 50)
    assert model.dtype == torch.bfloat16 and not model.training
    again = random_model(SHAPE, "bfloat16", "cpu")
    for one, other in zip(model.parameters(), again.parameters(), strict=True):
        assert torch.equal(one, other) and not one.requires_grad


@pytest.mark.parametrize("shared", [0, 3, 6])
def test_random_pairs_have_the_given_shared_prefix(shared):
    batch = random_pairs(replace(LOAD_OF_TEST, shared=shared), 2)
    assert batch.clean.shape == batch.corrupted.shape == (4, 8)
    same = batch.clean == batch.corrupted
    assert same[:, :shared].all() and not same[:, shared].any() and same[:, -1].all()
    assert (batch.answers != batch.wrong_answers).all()


def test_prompts_cannot_share_everything():
    with pytest.raises(ValueError, match="7 of 8 positions shared; expected at most 6"):
        random_pairs(replace(LOAD_OF_TEST, shared=7), 50)


def test_bare_passes_run_the_model_once_without_side_effects(model, batch):
    forward, both = bare_passes(model, batch)
    for case, expected in ((forward, (4, 0)), (both, (0, 4))):
        with counting(model) as passes:
            case.run()
        assert (passes.forwards, passes.forward_backwards) == expected
    assert all(parameter.grad is None for parameter in model.parameters())


def test_computations_run_the_passes_of_their_ideal(model, batch):
    """Except those that are known to need less."""
    saved = {"nap-ig-inputs": 1}  # the last step is the clean run
    for case in cases(model, batch, LOAD_OF_TEST):
        with counting(model) as passes:
            case.run()
        later = 2 if "later" in case.name else 0
        found = (passes.forwards / 4, passes.forward_backwards / 4)
        forwards = case.forwards - saved.get(case.name, later)
        assert found == (forwards, case.forward_backwards), case.name


def test_the_ideals_are_those_of_the_specification(model, batch):
    by_name = {case.name: case for case in cases(model, batch, LOAD_OF_TEST)}
    ideals = {
        name: (case.forwards, case.forward_backwards) for name, case in by_name.items()
    }
    assert ideals["nap"] == ideals["nap-relp"] == (1, 1)
    assert ideals["nap-ig-inputs"] == (2, 3)
    assert ideals["nap-ig-activations"] == (2, SITES * 3)
    assert ideals["exact"] == (2 + NODES, 0)
    assert ideals["circuit, first epoch"] == ideals["circuit, later epochs"] == (2, 1)
    assert ideals["sizes of one circuit"] == (2 + DIFFERENT, 0)
    # The empty circuit is the same for both.
    assert ideals["sizes of all circuits"] == (2 + 2 * DIFFERENT - 1, 0)
    limits = {name: c.limit for name, c in by_name.items() if c.limit is not None}
    of_methods = {"nap": 1.15, "nap-ig-inputs": 1.10, "nap-ig-activations": 0.6}
    assert limits == of_methods | LIMITS
    attribution = {name for name, case in by_name.items() if case.memory_limit}
    assert attribution == {*node_methods()}


def test_the_ideals_of_edges_are_those_of_the_specification(model, batch):
    by_name = {case.name: case for case in cases(model, batch, WITH_EDGES)}
    names = ["eap", "eap-ig-inputs", EDGE_CIRCUITS, WHOLE_EDGE_CIRCUIT, EXACT_EDGES]
    names += [PRUNING_STEP, EDGE_MAP_STEP]
    assert list(by_name)[-7:] == names
    found = [
        (case.forwards, case.forward_backwards, case.limit, case.memory_limit)
        for case in map(by_name.get, names)
    ]
    # Five sizes and the corrupted run; all edges of three writers.
    graph = config_graph(model.config, "kv-head")
    assert graph.n_edges == 82
    edges = graph.legal[[1, 5, 9]].sum()
    assert found == [
        (1, 1, 1.25, 2.0),
        (1, 3, 1.3, 2.6),
        (6, 0, 0.8, 1.3),
        (1, 0, 1.3, None),
        (edges, 0, 0.3, None),
        (0, 1, 1.5, 2.3),
        (0, 1, 1.8, 2.3),
    ]
    for name in names:
        by_name[name].run()


def test_only_the_given_methods_are_measured(model, batch):
    load = replace(LOAD_OF_TEST, methods=["exact", "nap"])
    names = [case.name for case in cases(model, batch, load)]
    assert names[:4] == ["capture", "exact", "nap", "circuit, first epoch"]


def test_measuring_changes_no_result(model, batch):
    before = answer_logits(model, batch.clean)
    for case in cases(model, batch, LOAD_OF_TEST):
        case.run()
    assert torch.equal(answer_logits(model, batch.clean), before)


# How it is measured


def test_every_computation_is_measured_in_every_repetition(model, batch):
    bare = bare_passes(model, batch)
    some = cases(model, batch, LOAD_OF_TEST)[:2]
    frame = measure(model, bare, some, tokens=4 * 8, repetitions=3)
    assert dict(frame.schema) == MEASURED
    names = [FORWARD, FORWARD_BACKWARD, "capture", "nap"]
    rows = [(number, name) for number in range(3) for name in names]
    assert frame.select("repetition", "case").rows() == rows
    times = frame.select("seconds", "forward_seconds", "forward_backward_seconds")
    assert times.to_numpy().min() > 0
    first = frame.filter(repetition=0)
    assert first["run_forwards"].to_list() == [1, 0, 2, 1]
    assert first["run_forward_backwards"].to_list() == [0, 1, 0, 1]
    assert first["peak_bytes"].min() > 4 * 8 * SHAPE.d_model * FLOAT32


def test_long_computations_are_measured_once(model, batch, monkeypatch):
    monkeypatch.setattr(measuring, "LONG_SECONDS", 0.0)
    frame = measure(model, bare_passes(model, batch), [], tokens=32, repetitions=3)
    assert frame["repetition"].to_list() == [0, 0]


def test_a_benchmark_has_loads_without_and_with_a_shared_prefix(model):
    frame = run_benchmark(model, LOAD_OF_TEST, repetitions=1)
    assert frame.columns == [*LOAD, *MEASURED]
    loads = frame.select(LOAD).unique(maintain_order=True).rows()
    assert loads == [(4, 8, 0, 2), (4, 8, 4, 2)]
    # The shared half of the tokens of every prompt is run once.
    later = frame.filter(case="circuit, later epochs")
    assert later["run_forward_backwards"].to_list() == [1, 0.5]


def test_the_machine_is_named(model):
    found = machine(model)
    assert f"torch {torch.__version__}, float32" in found and "1 used" in found


# Scaling


def test_every_axis_of_the_schema_changes_one_size():
    schema = yaml.safe_load((ROOT / "workflow/schemas/config.schema.yaml").read_text())
    axes = schema["$defs"]["benchmark"]["properties"]["scaling"]["properties"]
    changed = {
        "examples": (SHAPE, replace(LOAD_OF_TEST, examples=8)),
        "positions": (SHAPE, replace(LOAD_OF_TEST, positions=8)),
        "circuits": (SHAPE, replace(LOAD_OF_TEST, circuits=8)),
        "layers": (replace(SHAPE, layers=8), LOAD_OF_TEST),
        "heads": (replace(SHAPE, heads=8, kv_heads=2), LOAD_OF_TEST),
    }
    for axis in axes:
        found = resized(SHAPE, LOAD_OF_TEST, axis, 8)
        if axis == "sizes":
            sizes = [n / 9 for n in range(1, 9)]
            assert found == (SHAPE, replace(LOAD_OF_TEST, proportions=sizes))
        else:
            assert found == changed[axis]
    with pytest.raises(ValueError, match="unknown axis 'width': expected examples"):
        resized(SHAPE, LOAD_OF_TEST, "width", 8)


def test_fewer_heads_than_key_heads_have_as_many_key_heads():
    assert resized(SHAPE, LOAD_OF_TEST, "heads", 1)[0].kv_heads == 1


def test_scaling_measures_what_grows(model):
    axes = {"heads": [2, 4], "circuits": [1, 2]}
    made = []

    def make(shape):
        made.append(shape.heads)
        return random_model(shape, "float32", "cpu")

    frame = run_scaling(make, SHAPE, LOAD_OF_TEST, axes, repetitions=1)
    assert frame.columns == ["axis", "value", *MEASURED]
    assert made == [2, 4, 4, 4]
    nap = frame.filter(axis="heads", case="nap")
    assert nap["value"].to_list() == [2, 4]
    of_circuits = frame.filter(axis="circuits", value=2)["case"].to_list()
    assert of_circuits == [FORWARD, FORWARD_BACKWARD, "sizes of all circuits"]
    ideals = frame.filter(axis="circuits", case="sizes of all circuits")
    assert ideals["ideal_forwards"].to_list() == [
        2 + DIFFERENT,
        2 + 2 * DIFFERENT - 1,
    ]


# Tables


def measured_rows(*rows, labels):
    """Rows of `case, repetition, seconds, ideal` with bare passes of 1 and 3 s."""
    common = {"forward_seconds": 1.0, "forward_backward_seconds": 3.0}
    common |= {"run_forwards": 1.0, "run_forward_backwards": 0.5}
    columns = ("case", "repetition", "seconds", "ideal_forwards")
    columns += ("ideal_forward_backwards", "peak_bytes", "limit", "memory_limit")
    made = [labels | common | dict(zip(columns, row, strict=True)) for row in rows]
    schema = dict.fromkeys(labels, None) | MEASURED
    return pl.DataFrame(made, schema_overrides=MEASURED).select(*schema)


LABELS = {"benchmark": "one", "machine": "a, b", "examples": 2, "positions": 5}
LABELS |= {"shared": 0, "circuits": 3}


def by_hand():
    bare = ((FORWARD, 1, 0, 1_000_000), (FORWARD_BACKWARD, 0, 1, 4_000_000))
    rows = [
        (name, n, 1.0, f, b, peak, None, None)
        for n in range(3)
        for name, f, b, peak in bare
    ]
    # Of an ideal of 2 * 1 + 1 * 3 seconds.
    rows += [("nap", n, s, 2, 1, 6_000_000, 1.15, 2.0) for n, s in enumerate((5, 9, 6))]
    rows += [("exact", 0, 8.0, 10, 0, 10_000_000, 1.1, 2.0)]
    return measured_rows(*rows, labels=LABELS)


def test_ratios_are_medians_relative_to_interleaved_passes():
    rows = benchmark_rows(by_hand())
    assert rows["case"].to_list() == [FORWARD, FORWARD_BACKWARD, "nap", "exact"]
    nap, exact = rows[2:].to_dicts()
    assert nap["seconds"] == 6.0 and nap["ratio"] == pytest.approx(6 / 5)
    assert exact["ratio"] == pytest.approx(0.8)
    assert (nap["memory_mb"], nap["memory_ratio"]) == (6.0, 1.5)
    # Three passes of ten tokens in six seconds.
    assert nap["tokens_per_second"] == 5
    assert nap["ideal"] == "2 + 1b" and nap["run"] == "1 + 0.5b"
    assert exact["ideal"] == "10" and rows["ideal"][1] == "1b"


def test_a_ratio_is_of_the_bare_passes_of_its_own_repetition():
    slow = pl.when(pl.col("repetition") == 1).then(10.0).otherwise(1.0)
    names = ("seconds", "forward_seconds", "forward_backward_seconds")
    slowed = by_hand().with_columns(pl.col(name) * slow for name in names)
    ratios = benchmark_rows(by_hand())["ratio"].to_list()
    assert benchmark_rows(slowed)["ratio"].to_list() == pytest.approx(ratios)


def test_the_table_marks_what_is_above_its_limit():
    table = benchmark_table(by_hand())
    assert table.frame["ratio_mark"].to_list() == ["", "", ABOVE, ""]
    assert table.frame["memory_ratio_mark"].to_list() == ["", "", "", ABOVE]
    assert f"<td>1.200{ABOVE}</td>" in to_html(table, "x")


def growing(case, power, ideal_power):
    rows = [
        (case, 0, 3.0 * n**power, n**ideal_power, 0, 1, None, None) for n in (2, 4, 16)
    ]
    frame = measured_rows(*rows, labels=dict.fromkeys(ON, "x") | {"axis": "layers"})
    return frame.with_columns(value=pl.Series([2, 4, 16])).select(*SCALING)


def test_slopes_are_the_powers():
    rows = scaling_slopes(pl.concat([growing("nap", 1.5, 1), growing("exact", 2, 2)]))
    assert rows["slope"].to_list() == pytest.approx([1.5, 2])
    assert rows["ideal_slope"].to_list() == pytest.approx([1, 2])
    assert rows["ratio_slope"].to_list() == pytest.approx([0.5, 0])
    assert rows["sizes"].to_list() == [[2, 4, 16]] * 2
    assert rows["seconds"][1].to_list() == pytest.approx([12, 48, 768])
    assert slope([5], [1.0]) is None
    assert slope([1, 10, 100], [7, 7, 7]) == pytest.approx(0)


def test_the_table_marks_scaling_worse_than_that_of_the_model():
    powers = {"steep": (1.5, 1), "as ideal": (2, 2), "slow": (0.9, 0.5)}
    frames = [growing(case, *pair) for case, pair in powers.items()]
    table = scaling_table(pl.concat(frames))
    assert table.frame["slope_mark"].to_list() == [ABOVE, "", ""]
    assert table.frame["sizes"].to_list() == ["2, 4, 16"] * 3
    assert scaling_table(pl.DataFrame(schema=SCALING)).frame.is_empty()


# Configuration
