"""The table of methods: its rows are true, and all else follows from it."""

import re
import subprocess
import sys
from fractions import Fraction
from itertools import chain
from pathlib import Path

import pytest
import yaml

from circuit_transfer.benchmarking.cases import cases, random_model, random_pairs
from circuit_transfer.benchmarking.entries import Load, Shape
from circuit_transfer.circuits.attribution import Attribution, attribute
from circuit_transfer.circuits.methods import (
    FUNCTIONS,
    METHODS,
    Method,
    Nodes,
    check_method,
    edge_methods,
    implements,
    learned_methods,
    node_methods,
    step_shares,
    steps_of,
)
from circuit_transfer.prompts.batches import pair_batches
from circuit_transfer.study.checks import check_config
from circuit_transfer.study.costs import pass_counts
from circuit_transfer.study.validation import validate_config
from circuit_transfer.study.work import prompt_tokens
from circuit_transfer.study.workload import study_work

ROOT = Path(__file__).parents[3]
LIBRARY = ROOT / "workflow/lib"
SCHEMA = ROOT / "workflow/schemas/config.schema.yaml"
NODES = Nodes(10, 4)


@pytest.fixture
def halved(monkeypatch):
    """Add a method: a row of the table, and a function that halves the scores of nap.

    By hand, both stand in the table's module and in that of the functions.
    """
    row = Method(
        "nap-halved",
        "half of the scores of nap",
        passes=lambda nodes, steps: (nodes.count, nodes.sites * steps),
        gradients="runs",
        steps=True,
        ablations=("zero",),
        layers=0.25,
        limit=3.0,
    )
    monkeypatch.setitem(METHODS, row.name, row)
    monkeypatch.setitem(FUNCTIONS, row.name, None)  # and out again after the test

    @implements(row.name)
    def score(model, batch, ablated, counts):
        (of_nap,) = FUNCTIONS["nap"](model, batch, ablated, counts)
        return [Attribution(of_nap.nodes / 2, of_nap.effect)]

    return row.name


def study_of(method, ablation):
    """Return the shipped study by one method, and a benchmark of all methods."""
    config = yaml.safe_load((ROOT / "config.yaml").read_text())
    config["study"] |= {"methods": [method], "edge_methods": []}
    config["attribution"]["ablation"] = ablation
    config["benchmark"] = {"speed": {"model": "llama-small"}}
    validate_config(config, SCHEMA)
    return config


def test_a_new_method_scores_nodes(tiny_model, tiny_pairs, halved):
    model = tiny_model("llama").requires_grad_(False)
    batches = pair_batches(tiny_pairs(5), 2)
    settings = {"ablation": "zero"}
    whole = attribute(model, batches, method="nap", **settings)
    half = attribute(model, batches, method=halved, **settings)
    assert (half.nodes * 2).equal(whole.nodes) and half.effect.equal(whole.effect)


def test_a_new_method_is_a_valid_one_and_passes_the_checks(halved):
    check_config(study_of(halved, "zero"), ROOT)
    with pytest.raises(ValueError, match="^study.methods.0: .* mean 'nap-halved'"):
        study_of("nap-halve", "zero")
    message = (
        r"^attribution.ablation: ablation 'mean' with nap-halved \(half of .*\); "
        "expected the ablation zero, or one of the methods nap, nap-ig-act"
    )
    with pytest.raises(ValueError, match=message):
        check_config(study_of(halved, "mean"), ROOT)


def test_a_new_method_is_counted(halved):
    config = study_of(halved, "zero")
    steps, examples = (config["attribution"][key] for key in ("ig_steps", "examples"))
    work = study_work(config, dict.fromkeys(config["models"], NODES))
    jobs = [job for job in work if job.stage == "attribute_nodes"]
    assert len(jobs) == 2 * len(config["study"]["tasks"])
    for job in jobs:
        assert (job.forwards, job.forward_backwards) == (10, 4 * steps)
        assert job.layers == 0.25
    counts = pass_counts(jobs, prompt_tokens(config["tasks"])).to_dicts()
    pairs = len(config["study"]["tasks"]) * examples
    assert {each["forwards"] for each in counts} == {10 * pairs}


def test_a_new_method_is_measured_by_a_benchmark(halved):
    assert study_of(halved, "zero")["benchmark"]["speed"]["methods"][-1] == halved
    shape = Shape("llama", 2, 4, 2, 32, 48, 50)
    load = Load(4, 8, 3, ["nap", halved], 1, (0.5, 1.0))
    model = random_model(shape, "float32", "cpu")
    case = cases(model, random_pairs(load, 50), load)[2]
    assert (case.name, case.limit) == (halved, 3.0)
    assert (case.forwards, case.forward_backwards) == (10, 4 * 3)


def test_every_row_has_a_function_and_every_function_a_row():
    kinds = node_methods(), edge_methods(), learned_methods()
    assert {*METHODS} == {*chain(*kinds)} and len(METHODS) == sum(map(len, kinds))
    # As in the process of a stage, which imports no more than this.
    code = (
        "from circuit_transfer.circuits import attribution, edge_attribution, methods"
    )
    code += "\nfrom circuit_transfer.pruning import learned"
    code += "\nprint(*methods.FUNCTIONS)"
    assert {*printed(code).split()} == {*METHODS}
    with pytest.raises(ValueError, match="'nip' is not one of nap, nap-ig-inputs"):
        implements("nip")


def test_all_that_scores_edges_comes_with_the_module_that_runs_it():
    """A stage imports that module alone, and runs methods by their names."""
    code = (
        "from circuit_transfer.circuits import edge_attribution, methods\n"
        "print(*methods.FUNCTIONS)"
    )
    command, library = [sys.executable, "-c", code], {"PYTHONPATH": str(LIBRARY)}
    printed = subprocess.run(command, env=library, stdout=subprocess.PIPE, text=True)
    assert {*printed.stdout.split()} >= {*edge_methods()} & {*FUNCTIONS}


@pytest.mark.parametrize("name", METHODS)
def test_a_row_agrees_with_itself(name):
    """What takes no gradient runs nothing backward, and only steps make more passes."""
    row = METHODS[name]
    few, many = row.passes(NODES, 2), row.passes(NODES, 3)
    assert row.name == name
    assert (few[1] == 0) == (row.gradients == "none")
    assert (few != many) == row.steps
    assert steps_of(name, 7) == (7 if row.steps else 1)
    # Only what moves one site of the clean run need not begin at the first layer.
    assert (row.layers < 1) == (row.gradients in ("sites", "none"))


def test_shares_of_several_numbers_of_steps_stand_once_in_order():
    assert step_shares([3]) == [Fraction(1, 3), Fraction(2, 3), 1]
    quarters = [Fraction(1, 4), Fraction(1, 2), Fraction(3, 4), 1]
    assert step_shares([4, 2]) == step_shares([2, 4, 1]) == quarters


def test_a_method_is_checked_under_an_ablation():
    check_method("nap-ig-inputs", "counterfactual")
    check_method("exact", "zero")
    with pytest.raises(ValueError, match="'mean' with nap-ig-inputs .* expected the"):
        check_method("nap-ig-inputs", "mean")


def test_the_readme_and_the_default_config_name_every_method():
    text = (ROOT / "README.md").read_text()
    named = r"attribution of nodes \((`[^)]*`)\) and of edges \((`[^)]*`)\)"
    (lists,) = re.findall(named, text)
    found = tuple(tuple(re.findall(r"`([^`]+)`", each)) for each in lists)
    assert found == (node_methods(), edge_methods())
    page = (ROOT / "workflow/docs/studies.md").read_text()
    rows = page.partition("| attribution method |")[2].partition("\n\n")[0]
    found = dict(re.findall(r"^\| `(.*)` \| (.*) \|$", rows, re.MULTILINE))
    assert found == {name: METHODS[name].label for name in node_methods()}
    text = (ROOT / "config.yaml").read_text()
    names, others = re.search(r"  methods: \[(.*)\] +# also: (.*)\n", text).groups()
    assert (*names.split(", "), *others.split(", ")) == node_methods()


def test_planning_a_study_loads_no_torch():
    modules = ("circuits.methods", "study.checks", "study.validation", "study.workload")
    code = "".join(f"import circuit_transfer.{name}\n" for name in modules)
    code += "import sys\nprint({'torch', 'transformers'} & set(sys.modules))"
    assert printed(code) == "set()\n"


def printed(code):
    """Return what a new process prints that runs some code with the library."""
    library = {"PYTHONPATH": str(ROOT / "workflow/lib")}
    command = [sys.executable, "-c", code]
    return subprocess.run(
        command, env=library, check=True, capture_output=True, text=True
    ).stdout
