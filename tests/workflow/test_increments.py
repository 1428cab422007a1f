"""What runs again after a change: exactly what it can have changed, and nothing else.

A small repository of its own, whose files a test may edit, holds a finished study.
Every expected set is derived by hand from what a stage reads. Results are named by
their paths without `results/` and their endings; costs, which stand beside results, are
left out.
"""

import os
import shutil
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from fnmatch import fnmatchcase
from pathlib import Path

import planner
import pytest
import yaml
from gguf_models import tiny_model, write_gguf

HOME = Path(__file__).parents[2]
TINY = Path(__file__).with_name("tiny.yaml")
# The study, scores by a method that takes no steps, and a model that none of it uses.
TARGETS = (
    "all",
    "results/scores/tiny-source/ioi/nap.safetensors",
    "results/models/quantised/model.json",
)
LIBRARY = "workflow/lib/circuit_transfer"


class Repository:
    """A copy of the workflow, with a study of its own in `config.yaml`."""

    def __init__(self, folder: Path, config: dict, targets: tuple = TARGETS):
        self.folder = folder
        self.config = config
        self.targets = targets
        self.comment = "A study."

    def snakemake(self) -> None:
        """Run the workflow as a user would in this folder."""
        self._write_config()
        result = subprocess.run(
            [sys.executable, "-m", "snakemake", "--cores", "2", *self.targets],
            cwd=self.folder,
            capture_output=True,
            text=True,
            check=False,
        )
        assert result.returncode == 0, result.stdout + result.stderr

    def plan(self) -> dict[str, bool]:
        """Return for every result whether a run would make it again."""
        self._write_config()
        arguments = ("--cores", "2", "--summary", *self.targets)
        result = planner.plan(*arguments, folder=self.folder)
        assert result.returncode == 0, result.stdout + result.stderr
        _, *rows = result.stdout.splitlines()
        plan = {}
        for row in rows:
            path, *_, update = row.split("\t")
            name = str(Path(path).with_suffix("").relative_to("results"))
            if not name.startswith("costs/"):
                plan[name] = update == "update pending"
        return plan

    def _write_config(self) -> None:
        text = yaml.safe_dump(self.config, sort_keys=False)
        (self.folder / "config.yaml").write_text(f"# {self.comment}\n{text}")

    def edit(self, path: str, old: str, new: str) -> None:
        """Replace the first occurrence of a text in a file."""
        file = self.folder / path
        text = file.read_text()
        assert old in text, f"{old!r} is not in {path}"
        file.write_text(text.replace(old, new, 1))

    def touch(self) -> None:
        """Give every file another age, each a second after the one before."""
        files = [each for each in self.folder.rglob("*") if each.is_file()]
        # Not in the order of their making: sources among results.
        files.sort(key=lambda each: each.as_posix()[::-1])
        begin = time.time() - len(files)
        for number, file in enumerate(files):
            os.utime(file, (begin + number, begin + number))


def own_rows() -> str:
    """Return a task's pairs as a file of more than a megabyte.

    Snakemake itself would go by the age of such a file.
    """
    rows = ["clean,corrupted,answer,wrong_answer,note"]
    note = 40_000 * "-"
    for number in range(30):
        one, other = 11 + number, 41 + number
        rows.append(
            f"The sum of {one} and 12 is,The sum of {other} and 12 is,"
            f" {one + 12}, {other + 12},{note}"
        )
    return "\n".join(rows) + "\n"


def own_study() -> dict:
    """Return the tiny study with a task from a file, and with fewer controls."""
    config = yaml.safe_load(TINY.read_text())
    config["tasks"]["own"] = {"file": "own.csv"}
    config["models"]["quantised"] = {"gguf": "tiny.gguf"}
    study = config["study"]
    study["tasks"] = ["ioi", "arithmetic-addition", "own"]
    study["siblings"] = [["arithmetic-addition", "own"]]
    study["families"] = {"arithmetic": ["arithmetic-addition", "own"]}
    # One that is trained and one that is not are there to be added.
    for control in ("mlps-first", "source-free"):
        config["alignment"]["controls"].remove(control)
    config["attribution"]["batch_size"] = 4
    study["edge_methods"] = ["eap", "eap-ig-inputs"]
    return config


@pytest.fixture(scope="module")
def finished(tmp_path_factory) -> Repository:
    """The repository with its study finished."""
    folder = tmp_path_factory.mktemp("repository")
    left_out = shutil.ignore_patterns("__pycache__", "llama-*", "qwen-*")
    for name in ("data", "envs", "workflow"):
        shutil.copytree(HOME / name, folder / name, ignore=left_out)
    shutil.copy(HOME / "Snakefile", folder)
    (folder / "own.csv").write_text(own_rows())
    write_gguf(folder / "tiny.gguf", tiny_model("llama"), "llama")
    repository = Repository(folder, own_study())
    repository.snakemake()
    return repository


@pytest.fixture
def repository(finished):
    """The same, and after the test its sources and its config are put back."""
    own = ("Snakefile", "own.csv", "tiny.gguf")
    names = [finished.folder / name for name in own]
    folders = [finished.folder / name for name in ("data", "workflow")]
    found = (file for folder in folders for file in folder.rglob("*.*"))
    files = [*names, *(file for file in found if file.suffix != ".pyc")]
    before = {file: file.read_bytes() for file in files if file.is_file()}
    yield finished
    finished.config, finished.comment = own_study(), "A study."
    for file, content in before.items():
        if file.read_bytes() != content:
            file.write_bytes(content)


# Whatever shows measured circuits is made again when one of them is: intervals and
# tests are of the whole study, and so are the costs, which are known anew.
SUMMARIES = [
    *("tables/cpr", "tables/curves", "tables/curve-intervals", "tables/statistics*"),
    *("tables/costs", "tables/break-even"),
    *(f"tables/{each}/*" for each in ("leaderboard", "controls", "maps", "tests")),
    *("tables/scaling/*", "figures/recovery", "figures/curves-by-*"),
    *(f"figures/{each}/*" for each in ("transfer-matrix", "controls", "maps")),
    *("figures/completeness/*", "figures/break-even/*", "summary"),
    *("tables/source-use", "figures/source-use/*", "figures/source-use-by-*"),
]
# What lists the models, and their pairs and rejected rows.
LISTED = ["tables/models", "tables/rejects*"]
# All that is made of circuits of the target for transfers, and shown of it.
TRANSFERRED = [
    *("faithfulness/aligned/*", "projections/*", *SUMMARIES),
    *("tables/correlations*", "figures/correlations/*"),
]
COSTS = ["tables/costs", "tables/break-even", "figures/break-even/*"]
# What whole models do, and what it costs.
MEASURED = ["baselines/*", *COSTS]
# What shows scores and alignments themselves.
SHOWN = [
    *("figures/node-map/*", "figures/alignment-matrix/*", "figures/losses/*"),
    *("figures/stability/*", "tables/stability/*"),
]
# What is made of circuits of edges, or of nodes, with which they are compared.
OF_EDGES = [
    "tables/edge-c*",
    "tables/edge-statistics",
    "tables/edges/*",
    "figures/edge-curves/*",
]
PAIR, BACK = "tiny-source/tiny-target", "tiny-target/tiny-source"


def scored(model: str = "*") -> list[str]:
    """Name what shows the scores of a model, whatever else the study has."""
    names = ("figures/task-correlation", "tables/task-correlation", "tables/top-nodes")
    return [f"{name}/{model}" for name in names]


def shown_edges(task: str = "*", model: str = "*") -> list[str]:
    """Name what shows the scores of edges of a model; a drawing is of one task."""
    names = ("top-edges", "edge-agreement", "edge-stability")
    tables = [f"tables/{name}/{model}" for name in names]
    return [
        *tables,
        f"figures/edge-map/{model}/*",
        f"figures/circuits/{model}/{task}/*",
    ]


def scored_edges(method: str) -> list[str]:
    """Name scores of edges by a method, circuits of them, and what shows them."""
    made = [f"edge-scores/*/{method}", f"faithfulness/edges/*/{method}"]
    drawn = [f"figures/edge-map/*/{method}", f"figures/circuits/*/{method}/30"]
    return [*made, *OF_EDGES, *shown_edges()[:3], *drawn]


def edges_of(task: str = "*", model: str = "*") -> list[str]:
    """Name scores of edges, and circuits of them, on a task, and what shows them."""
    kinds = ("edge-scores", "faithfulness/edges", "faithfulness/lifted")
    made = [f"{kind}/{model}/{task}/*" for kind in kinds]
    return [*made, *OF_EDGES, *shown_edges(task, model)]


@dataclass
class Change:
    """A change, and what it makes a run do again: exactly what fits these patterns."""

    make: Callable[[Repository], None]
    again: list[str]


def setting(section: str, **values) -> Callable[[Repository], None]:
    """Make a change of settings."""
    return lambda repository: repository.config[section].update(values)


def edited(path: str, old: str, new: str) -> Callable[[Repository], None]:
    """Make a change of a file."""
    return lambda repository: repository.edit(path, old, new)


def commented(path: str) -> Callable[[Repository], None]:
    """Make a change of a source file: that it does nothing cannot be known."""
    return edited(path, "\n\n", "\n\n# A comment.\n\n")


def seed_a_task(repository: Repository) -> None:
    repository.config["tasks"]["ioi"]["seed"] = 7


def resize_a_split(split: str) -> Callable[[Repository], None]:
    """Make a change of the number of pairs in a split of a task."""
    return lambda repository: repository.config["tasks"]["ioi"].update({split: 10})


def seed_training(model: str) -> Callable[[Repository], None]:
    """Make a change of the seed that a model is trained with."""
    return lambda repository: repository.config["models"][model]["train"].update(seed=7)


def change_a_row(repository: Repository) -> None:
    """Change a row of a file, and make the file older than all results."""
    repository.edit("own.csv", "The sum of 11", "The sum of 13")
    os.utime(repository.folder / "own.csv", (0, 0))


def write_other_weights(repository: Repository) -> None:
    path = repository.folder / "tiny.gguf"
    write_gguf(path, tiny_model("llama", seed=1), "llama")


def add_a_task(repository: Repository) -> None:
    study = repository.config["study"]
    study["tasks"].append("arithmetic-subtraction")
    study["families"]["arithmetic"].append("arithmetic-subtraction")


def remove_a_task(repository: Repository) -> None:
    study = repository.config["study"]
    study["tasks"].remove("own")
    study["families"]["arithmetic"].remove("own")
    study["siblings"] = []


def add_a_transfer(repository: Repository) -> None:
    transfer = {"source": "tiny-target", "target": "tiny-source"}
    repository.config["study"]["transfers"].append(transfer)


def add_a_method_of_edges(repository: Repository) -> None:
    repository.config["study"]["edge_methods"].append("eap-gim")


def add_a_control(name: str) -> Callable[[Repository], None]:
    return lambda repository: repository.config["alignment"]["controls"].append(name)


def reordered(value):
    """Return a value whose mappings have their keys in the opposite order."""
    if isinstance(value, dict):
        return {key: reordered(value[key]) for key in reversed(value)}
    return [reordered(each) for each in value] if isinstance(value, list) else value


def say_the_same(repository: Repository) -> None:
    """Write the configuration in another way, with entries that nothing uses."""
    repository.config["models"]["unused"] = {"path": "no/folder"}
    repository.config["tasks"]["unused"] = {"generator": "mcqa"}
    repository.config = reordered(repository.config)
    repository.comment = "The same study."


def swap_examples_and_batch_size(repository: Repository) -> None:
    attribution = repository.config["attribution"]
    examples, batch_size = attribution["examples"], attribution["batch_size"]
    assert examples != batch_size
    attribution.update(examples=batch_size, batch_size=examples)


def fits(*names: str) -> list[str]:
    """Name the alignments of training sets."""
    return [f"alignments/*/{name}/seed-?" for name in names]


CHANGES = {
    "nothing": Change(lambda repository: None, []),
    "the order of keys, comments and unused entries": Change(say_the_same, []),
    "the age of everything": Change(Repository.touch, []),
    # Both models read it. Alignments on it alone and on sets with it; circuits of all
    # tasks come from one of those. It is the other family of the other two tasks, whose
    # controls take its gradients.
    "a task": Change(
        seed_a_task,
        [
            *("prompts/ioi*", "pairs/*/ioi*", "scores/*/ioi/*", "masks/*/ioi/*"),
            *("faithfulness/gold/*/ioi/*", "faithfulness/random/*/ioi"),
            *fits("only-ioi", "without-arithmetic-addition", "without-own"),
            *fits("without-family-arithmetic", "all"),
            *("stitched/*/ioi", "carried/*", *scored(), *SHOWN, *TRANSFERRED),
            *("baselines/*/ioi", *LISTED),
            *edges_of("ioi"),
        ],
    ),
    # Nothing that is made of train pairs.
    "the number of test pairs": Change(
        resize_a_split("test"),
        [
            *("prompts/ioi", "prompts/ioi.rejects", "prompts/ioi/test*"),
            *("pairs/*/ioi", "pairs/*/ioi.rejects", "pairs/*/ioi/test*"),
            *("faithfulness/gold/*/ioi/*", "faithfulness/random/*/ioi"),
            *("faithfulness/aligned/*/ioi/*", "projections/*/ioi/*", *SUMMARIES),
            *("tables/correlations*", "figures/correlations/*"),
            *("baselines/*/ioi", *LISTED),
            *("faithfulness/edges/*/ioi/*", "faithfulness/lifted/*/ioi/*", *OF_EDGES),
        ],
    ),
    # The circuits that are measured are others; the pairs that measure them stay.
    "the number of train pairs": Change(
        resize_a_split("train"),
        [
            *("prompts/ioi", "prompts/ioi.rejects", "prompts/ioi/train*"),
            *("pairs/*/ioi", "pairs/*/ioi.rejects", "pairs/*/ioi/train*"),
            *("scores/*/ioi/*", "masks/*/ioi/*", "faithfulness/gold/*/ioi/*"),
            *fits("only-ioi", "without-arithmetic-addition", "without-own"),
            *fits("without-family-arithmetic", "all"),
            *("stitched/*/ioi", "carried/*", *scored(), *SHOWN, *TRANSFERRED),
            *LISTED,
            *("edge-scores/*/ioi/*", "faithfulness/edges/*/ioi/eap*"),
            *("faithfulness/lifted/*/ioi/*", *OF_EDGES, *shown_edges("ioi")),
        ],
    ),
    "the weights in a GGUF file": Change(write_other_weights, ["models/quantised/*"]),
    # As before, but of its family is another task, which takes no gradients of it.
    "a row of a task's file": Change(
        change_a_row,
        [
            *("prompts/own*", "pairs/*/own*", "scores/*/own/*", "masks/*/own/*"),
            *("faithfulness/gold/*/own/*", "faithfulness/random/*/own"),
            *fits("only-own", "without-arithmetic-addition", "without-ioi", "all"),
            *("stitched/*/own", "carried/*/own/*", "carried/*/ioi/*"),
            *(*scored(), *SHOWN, *TRANSFERRED),
            *("baselines/*/own", *LISTED),
            *edges_of("own"),
        ],
    ),
    # Alignments on one task, and on all but a family that it joins, stay.
    "a task added": Change(
        add_a_task,
        [
            *("prompts/*-subtraction*", "pairs/*/*-subtraction*"),
            *("scores/*/*-subtraction/*", "masks/*/*-subtraction/*"),
            *(
                "faithfulness/gold/*/*-subtraction/*",
                "faithfulness/random/*-subtraction",
            ),
            *fits("only-arithmetic-subtraction", "without-arithmetic-subtraction"),
            *fits("without-ioi", "without-arithmetic-addition", "without-own", "all"),
            *("stitched/*/*-subtraction", "carried/*/*-subtraction/*"),
            *("carried/*/ioi/*", *scored(), *SHOWN, *TRANSFERRED),
            *("baselines/*/*-subtraction", *LISTED),
            *edges_of("*-subtraction"),
        ],
    ),
    # Nothing that is of one task. Training sets that had it are other sets now.
    "a task removed": Change(
        remove_a_task,
        [
            *fits("without-ioi", "without-arithmetic-addition", "all"),
            *("carried/*/ioi/*", *scored(), *SHOWN, *TRANSFERRED),
            *LISTED,
            *OF_EDGES,
            *shown_edges()[:-1],
        ],
    ),
    # The source's own scores stay.
    "the target's training": Change(
        seed_training("tiny-target"),
        [
            *(f"{each}/tiny-target/*" for each in ("models", "pairs", "scores")),
            *("masks/*", "faithfulness/gold/*", "faithfulness/random/*"),
            *("alignments/*", "stitched/*", "carried/*"),
            *(*scored("tiny-target"), *SHOWN, *TRANSFERRED),
            *("baselines/tiny-target/*", *LISTED),
            *edges_of(model="tiny-target"),
        ],
    ),
    # What the target does by itself stays.
    "the source's training": Change(
        seed_training("tiny-source"),
        [
            *(f"{each}/tiny-source/*" for each in ("models", "pairs", "scores")),
            *("alignments/*", "stitched/*", "carried/*"),
            *(*scored("tiny-source"), *SHOWN, *TRANSFERRED),
            *("baselines/tiny-source/*", *LISTED),
            *("edge-scores/tiny-source/*", *shown_edges(model="tiny-source")),
        ],
    ),
    # Both models were scored before. What shows one transfer alone stays.
    "a transfer added": Change(
        add_a_transfer,
        [
            *("faithfulness/gold/tiny-source/*", "faithfulness/random/tiny-source/*"),
            "masks/tiny-source/*",
            *(f"{each}/{BACK}/*" for each in ("alignments", "stitched", "carried")),
            *(f"{each}/{BACK}/*" for each in ("projections", "faithfulness/aligned")),
            *(each.replace("*", f"{BACK}/*") for each in SHOWN),
            *("tables/correlations*", "figures/correlations/*", *SUMMARIES),
            *("faithfulness/edges/tiny-source/*", "faithfulness/lifted/tiny-source/*"),
            *OF_EDGES,
        ],
    ),
    "lambda": Change(
        setting("alignment", sparsity=0.2),
        ["alignments/*", "masks/*", *SHOWN, *TRANSFERRED],
    ),
    "the threshold of matched nodes": Change(
        setting("alignment", prior={"threshold": 0.5}),
        ["alignments/*", *SHOWN, *TRANSFERRED],
    ),
    "the correspondence that a trained map begins with": Change(
        setting("alignment", prior={"correspondence": "matched"}),
        ["alignments/*", *SHOWN, *TRANSFERRED, *COSTS],
    ),
    "an untrained control added": Change(add_a_control("mlps-first"), TRANSFERRED),
    # It is trained beside the alignments that have not seen a task.
    "a trained control added": Change(
        add_a_control("source-free"),
        [
            *fits("without-*"),
            *(each for each in SHOWN if "alignment-matrix" not in each),
            *TRANSFERRED,
        ],
    ),
    "the sizes of circuits": Change(
        setting("evaluation", proportions=[0.1, 0.5, 1.0]),
        [
            *("faithfulness/gold/*", "faithfulness/random/*"),
            *("figures/stability/*", "tables/stability/*", *TRANSFERRED),
            *("faithfulness/edges/*", "faithfulness/lifted/*", *OF_EDGES),
            *("tables/edge-agreement/*", "tables/edge-stability/*"),
        ],
    ),
    "the steps of integrated gradients": Change(
        setting("attribution", ig_steps=3),
        [
            *("scores/*/nap-ig-inputs", "faithfulness/gold/*", "carried/*"),
            *("alignments/*", *scored(), *SHOWN, *TRANSFERRED),
            *("faithfulness/lifted/*", *scored_edges("eap-ig-inputs")),
        ],
    ),
    # Nothing of nodes, apart from their scores as edges.
    "the heads of the graph of edges": Change(
        setting("attribution", kv="kv-head"),
        [*edges_of(), *COSTS, "summary"],
    ),
    # Nothing of a method without steps.
    "where the gradients of steps are taken": Change(
        setting("attribution", grid="left"),
        [*scored_edges("eap-ig-inputs"), *COSTS, "summary"],
    ),
    # Neither random circuits of edges nor those by scores of nodes.
    "whether scores of examples are kept": Change(
        setting("attribution", keep_examples=False),
        [*scored_edges("eap*"), *COSTS, "summary"],
    ),
    "single edges ablated to verify their scores": Change(
        setting("attribution", verify=2),
        ["verified/*", "tables/edge-agreement/*", *COSTS, "summary"],
    ),
    "a method of edges added": Change(
        add_a_method_of_edges,
        [*scored_edges("eap-gim"), *COSTS, "summary"],
    ),
    # The same two numbers, in each other's place.
    "examples and batch size swapped": Change(
        swap_examples_and_batch_size,
        [
            *("scores/*", "faithfulness/gold/*", "carried/*", "stitched/*"),
            *("alignments/*", *scored(), *SHOWN, *TRANSFERRED),
            *("edge-scores/*", "faithfulness/edges/*/eap*", "faithfulness/lifted/*"),
            *(*OF_EDGES, *shown_edges()),
        ],
    ),
    # The stability and the correlation of tasks have tables from the same jobs.
    "the style of figures": Change(
        commented(f"{LIBRARY}/figures/style.py"),
        ["figures/*", "tables/stability/*", "tables/task-correlation/*", "summary"],
    ),
    "a module of some figures": Change(
        commented(f"{LIBRARY}/figures/comparisons.py"),
        ["figures/controls/*", "figures/maps/*", "summary"],
    ),
    "a module of tests": Change(
        commented(f"{LIBRARY}/statistics.py"),
        [
            *("tables/statistics*", "tables/curve-intervals", *MEASURED, *LISTED),
            *("tables/scaling/*", "figures/recovery"),
            *("tables/source-use", "figures/source-use/*", "figures/source-use-by-*"),
            *(f"tables/{each}/*" for each in ("leaderboard", "controls", "tests")),
            *("tables/maps/*", "figures/curves-by-*", "figures/completeness/*"),
            *("tables/top-nodes/*", "figures/controls/*", "figures/maps/*", "summary"),
            *("tables/edge-c*", "tables/edge-statistics", "tables/edges/*"),
            *("tables/edge-agreement/*", "tables/top-edges/*"),
            *("figures/edge-curves/*", "figures/circuits/*"),
        ],
    ),
    "a module of the page": Change(
        commented(f"{LIBRARY}/summary/sections.py"), ["summary"]
    ),
    "how whole models are measured": Change(
        commented(f"{LIBRARY}/circuits/baseline.py"),
        [*MEASURED, *LISTED, "summary"],
    ),
    "how alignments are trained": Change(
        commented(f"{LIBRARY}/transfer/alignment.py"),
        ["alignments/*", "masks/*", *SHOWN, *TRANSFERRED],
    ),
    # Every stage with a model; not the prompts, and not the training of models.
    "how activations are captured": Change(
        commented(f"{LIBRARY}/interventions/hooks.py"),
        [
            *("models/tiny-source/model", "models/tiny-target/model", "pairs/*"),
            "models/quantised/model",
            *("scores/*", "masks/*", "alignments/*", "stitched/*", "carried/*"),
            "faithfulness/*",
            *(*scored(), *SHOWN, *TRANSFERRED),
            *("baselines/*", *LISTED),
            *edges_of(),
        ],
    ),
    "a stage": Change(
        commented("workflow/scripts/evaluate_random.py"),
        ["faithfulness/random/*", *SUMMARIES],
    ),
    "a generator": Change(commented(f"{LIBRARY}/generators/ioi.py"), ["*"]),
    "a word": Change(edited("data/words.yaml", "Anna", "Annabel"), ["*"]),
}
# The models were trained on what the generators make of the words: all but the prompts
# and the model that are read from a file depends on them.
FROM_A_FILE = ("prompts/own*", "models/quantised/*")


@pytest.mark.parametrize("change", CHANGES.values(), ids=CHANGES)
def test_a_change_runs_again_what_it_can_have_changed(repository, change):
    change.make(repository)
    plan = repository.plan()
    assert all(any(fnmatchcase(name, each) for name in plan) for each in change.again)
    expected = {
        name for name in plan if any(fnmatchcase(name, each) for each in change.again)
    }
    if change.again == ["*"]:
        expected = {
            name
            for name in expected
            if not any(fnmatchcase(name, each) for each in FROM_A_FILE)
        }
    assert {name for name, again in plan.items() if again} == expected


def test_a_copy_elsewhere_has_nothing_to_do_and_runs_what_it_plans(finished, tmp_path):
    # Unlike copies of the files, those of their ages would say what is new.
    folder = tmp_path / "copy"
    shutil.copytree(finished.folder, folder, copy_function=shutil.copyfile)
    copy = Repository(folder, own_study())
    assert not any(copy.plan().values())

    CHANGES["a module of some figures"].make(copy)
    planned = {name for name, again in copy.plan().items() if again}
    before = _ages(copy)
    copy.snakemake()
    changed = {name for name, age in _ages(copy).items() if age != before[name]}
    assert changed == planned
    assert not any(copy.plan().values())


def test_without_transfers_a_removed_task_is_gone_from_summaries_alone(
    finished, tmp_path
):
    folder = tmp_path / "copy"
    shutil.copytree(finished.folder, folder, copy_function=shutil.copyfile)
    copy = Repository(folder, own_study())
    copy.config["study"].update(transfers=[], models=["tiny-target"])
    copy.snakemake()
    assert not any(copy.plan().values())

    remove_a_task(copy)
    planned = {name for name, again in copy.plan().items() if again}
    assert {"tables/models", "tables/statistics"} <= planned
    kinds = {name.partition("/")[0] for name in planned}
    assert kinds <= {"tables", "figures", "summary"}


# Circuits of edges of one task by transferred scores, beside those of nodes.
OF_IOI = "results/faithfulness/aligned-edges/tiny-source/tiny-target/ioi/eap.parquet"
PROJECTED = ["edge-projections/*", "faithfulness/aligned-edges/*"]
NODES_OF_IOI = ["projections/*", "faithfulness/aligned/*"]


@pytest.fixture(scope="module")
def transferring(finished, tmp_path_factory) -> Repository:
    """A copy that transfers scores of edges, finished for one task."""
    folder = tmp_path_factory.mktemp("transferring") / "copy"
    shutil.copytree(finished.folder, folder, copy_function=shutil.copyfile)
    copy = Repository(folder, transferring_study(), (OF_IOI,))
    copy.snakemake()
    return copy


def transferring_study() -> dict:
    config = own_study()
    config["alignment"]["edges"] = {
        "methods": ["eap"],
        "compare": ["depth-prior", "stitched", "lifted-free"],
        "nodes": "nap-ig-inputs",
        "epochs": 1,
        "examples": 8,
        "controls": ["ridge"],
    }
    return config


def of_edges(**values) -> Callable[[Repository], None]:
    """Make a change of settings of transferred edges."""
    return lambda repository: repository.config["alignment"]["edges"].update(values)


@pytest.mark.parametrize(
    ("change", "again", "stays"),
    [
        (lambda repository: None, [], ["*"]),
        (
            of_edges(learning_rate=0.3),
            ["edge-alignments/*", *PROJECTED],
            ["alignments/*", "stitched-edges/*", "edge-scores/*", *NODES_OF_IOI],
        ),
        (
            of_edges(ranking="signed"),
            ["edge-alignments/*", *PROJECTED],
            ["alignments/*", "stitched-edges/*", "edge-scores/*", *NODES_OF_IOI],
        ),
        # Neither is trained, and the second comes with the stitched map.
        (
            of_edges(controls=["ridge", "mean-gold", "edge-changes"]),
            PROJECTED,
            ["edge-alignments/*", "stitched-edges/*", *NODES_OF_IOI],
        ),
        # It is trained beside the maps that have not seen a task.
        (
            of_edges(controls=["ridge", "degree-source"]),
            ["edge-alignments/*/without-ioi/*", *PROJECTED],
            ["edge-alignments/*/all/*", "edge-alignments/*/only-*", *NODES_OF_IOI],
        ),
        (
            of_edges(compare=["depth-prior", "stitched"]),
            PROJECTED,
            ["edge-alignments/*", "stitched-edges/*", "edge-scores/*"],
        ),
        # By their scores circuits of edges are ranked too.
        (
            setting("alignment", learning_rate=0.2),
            ["alignments/*", *NODES_OF_IOI, *PROJECTED],
            ["edge-alignments/*", "stitched-edges/*"],
        ),
        # Both levels are matched by it.
        (
            setting("alignment", prior={"threshold": 0.5}),
            ["alignments/*", "edge-alignments/*", *PROJECTED],
            ["stitched-edges/*", "edge-scores/*"],
        ),
        (
            setting("evaluation", proportions=[0.1, 0.5, 1.0]),
            PROJECTED,
            ["edge-alignments/*", "stitched-edges/*", "edge-scores/*"],
        ),
        (
            setting("attribution", kv="kv-head"),
            ["edge-scores/*", "edge-alignments/*", "stitched-edges/*", *PROJECTED],
            ["alignments/*", *NODES_OF_IOI],
        ),
        (
            commented(f"{LIBRARY}/transfer/edge_stitching.py"),
            ["stitched-edges/*", *PROJECTED],
            ["edge-alignments/*", "alignments/*", *NODES_OF_IOI],
        ),
    ],
)
def test_transfers_of_edges_run_again_for_their_own_causes(
    transferring, change, again, stays
):
    transferring.config = transferring_study()
    file = transferring.folder / LIBRARY / "transfer/edge_stitching.py"
    before = file.read_bytes()
    change(transferring)
    plan = transferring.plan()
    file.write_bytes(before)
    for patterns, expected in ((again, True), (stays, False)):
        for pattern in patterns:
            found = [name for name in plan if fnmatchcase(name, pattern)]
            assert found and {plan[name] for name in found} == {expected}, pattern


CONVERGENCE = ("circuits/convergence.py", "figures/convergence.py")
COMPARED = ["convergence/*", "tables/convergence", "figures/convergence/*"]


@pytest.fixture(scope="module")
def comparing(finished, tmp_path_factory) -> Repository:
    """A copy that compares numbers of steps of one model, finished."""
    folder = tmp_path_factory.mktemp("comparing") / "copy"
    shutil.copytree(finished.folder, folder, copy_function=shutil.copyfile)
    copy = Repository(folder, compared_study())
    copy.snakemake()
    return copy


def compared_study() -> dict:
    config = own_study()
    config["study"].update(transfers=[], models=["tiny-target"])
    return config | {"sensitivity": {"ig_steps": [3]}}


@pytest.mark.parametrize(
    ("change", "again", "stays"),
    [
        (lambda repository: None, [], ["*"]),
        (setting("sensitivity", ig_steps=[4]), COMPARED, ["scores/*", "faith*"]),
        # The configured number is among those that are compared.
        (setting("attribution", ig_steps=4), COMPARED, ["scores/*/nap", "pairs/*"]),
        (seed_a_task, ["convergence/*/ioi/*", *COMPARED[1:]], ["convergence/*/own/*"]),
        (commented(f"{LIBRARY}/circuits/convergence.py"), COMPARED, ["scores/*"]),
        (commented(f"{LIBRARY}/figures/convergence.py"), COMPARED[2:], ["tables/*"]),
    ],
)
def test_compared_numbers_of_steps_run_again_for_their_own_causes(
    comparing, change, again, stays
):
    comparing.config = compared_study()
    files = [comparing.folder / LIBRARY / each for each in CONVERGENCE]
    before = {file: file.read_bytes() for file in files}
    change(comparing)
    plan = comparing.plan()
    for file, content in before.items():
        file.write_bytes(content)
    for patterns, expected in ((again, True), (stays, False)):
        for pattern in patterns:
            found = [name for name in plan if fnmatchcase(name, pattern)]
            assert found and {plan[name] for name in found} == {expected}, pattern


@pytest.fixture(scope="module")
def planting(finished, tmp_path_factory) -> Repository:
    """A copy that looks for the circuits that were planted in two models, finished."""
    folder = tmp_path_factory.mktemp("planting") / "copy"
    shutil.copytree(finished.folder, folder, copy_function=shutil.copyfile)
    copy = Repository(folder, planted_study())
    copy.snakemake()
    return copy


def planted_study() -> dict:
    config = own_study()
    config["models"] |= {
        "gates": {"planted": {"construction": "gates"}},
        "head": {"planted": {"construction": "induction"}},
    }
    config["tasks"] |= {
        "classes": {"generator": "planted-classes", "train": 8, "test": 8},
        "letters": {"generator": "planted-induction", "train": 8, "test": 8},
    }
    study = {"transfers": [], "models": ["gates", "head"], "siblings": []}
    study |= {"tasks": ["classes", "letters"], "families": {}, "edge_methods": ["eap"]}
    config["study"].update(study)
    return config


def sharpen(repository: Repository) -> None:
    repository.config["models"]["head"]["planted"]["sharpness"] = 6.0


def corrupt_values(repository: Repository) -> None:
    repository.config["tasks"]["letters"]["counterfactual"] = "value"


@pytest.mark.parametrize(
    ("change", "again", "stays"),
    [
        (lambda repository: None, [], ["*"]),
        (
            sharpen,
            ["models/head/*", "edge-scores/head/*", "tables/planted"],
            ["models/gates/*", "edge-scores/gates/*", "prompts/*"],
        ),
        (
            corrupt_values,
            ["edge-scores/*/letters/*", "tables/planted"],
            ["models/*", "edge-scores/*/classes/*"],
        ),
        (
            commented(f"{LIBRARY}/tables/planted.py"),
            ["tables/planted"],
            ["models/*", "edge-scores/*"],
        ),
    ],
)
def test_planted_circuits_are_looked_for_again_for_their_own_causes(
    planting, change, again, stays
):
    planting.config = planted_study()
    file = planting.folder / LIBRARY / "tables/planted.py"
    before = file.read_bytes()
    change(planting)
    plan = planting.plan()
    file.write_bytes(before)
    for patterns, expected in ((again, True), (stays, False)):
        for pattern in patterns:
            found = [name for name in plan if fnmatchcase(name, pattern)]
            assert found and {plan[name] for name in found} == {expected}, pattern


@pytest.fixture(scope="module")
def inheriting(finished, tmp_path_factory) -> Repository:
    """A copy with models that are made from others, finished."""
    folder = tmp_path_factory.mktemp("inheriting") / "copy"
    shutil.copytree(finished.folder, folder, copy_function=shutil.copyfile)
    copy = Repository(folder, inherited_study())
    copy.snakemake()
    return copy


def inherited_study() -> dict:
    config = own_study()
    entry = dict(config["models"]["tiny-target"]["train"])
    for size in ("architecture", "layers", "heads", "kv_heads", "d_model", "d_mlp"):
        del entry[size]
    half = {"prune": "tiny-target", "keep": {"heads": 2}, "fade_steps": 4}
    config["models"] |= {
        "half": {"train": entry | {"init": half}},
        "last": {
            "train": entry
            | {"init": {"from": "half"}, "distil": {"teacher": "tiny-source"}}
        },
    }
    study = {"transfers": [], "models": ["last"], "siblings": [], "families": {}}
    config["study"].update(study, tasks=["ioi"], edge_methods=[])
    return config


def train(model: str, **values) -> Callable[[Repository], None]:
    """Make a change of the training of one model."""
    return lambda repository: repository.config["models"][model]["train"].update(values)


MADE = "models/{}/checkpoint/*"


@pytest.mark.parametrize(
    ("change", "again", "stays"),
    [
        (lambda repository: None, [], ["*"]),
        (
            train("tiny-target", seed=7),
            ["tiny-target", "half", "last"],
            ["tiny-source"],
        ),
        (
            train("tiny-source", seed=7),
            ["tiny-source", "last"],
            ["tiny-target", "half"],
        ),
        (
            train("half", init={"prune": "tiny-target", "keep": {"heads": 4}}),
            ["half", "last"],
            ["tiny-target", "tiny-source"],
        ),
        (train("last", distil={}), ["last"], ["half", "tiny-target", "tiny-source"]),
        (train("last", seed=7), ["last"], ["half", "tiny-target", "tiny-source"]),
        (
            commented(f"{LIBRARY}/embedded/fading.py"),
            ["half", "last"],
            ["tiny-target", "tiny-source"],
        ),
        # By its scores is chosen what is kept.
        (
            commented(f"{LIBRARY}/interventions/hooks.py"),
            ["half", "last"],
            ["tiny-target", "tiny-source"],
        ),
        (
            commented(f"{LIBRARY}/embedded/objective.py"),
            ["half", "last", "tiny-target", "tiny-source"],
            [],
        ),
    ],
)
def test_models_are_trained_again_for_their_own_causes_and_those_of_their_parents(
    inheriting, change, again, stays
):
    inheriting.config = inherited_study()
    names = ("embedded/fading.py", "interventions/hooks.py", "embedded/objective.py")
    files = {inheriting.folder / LIBRARY / name for name in names}
    before = {file: file.read_bytes() for file in files}
    change(inheriting)
    plan = inheriting.plan()
    for file, content in before.items():
        file.write_bytes(content)
    for models, expected in ((again, True), (stays, False)):
        for model in models:
            pattern = MADE.format(model) if model != "*" else "models/*"
            found = [name for name in plan if fnmatchcase(name, pattern)]
            assert found and {plan[name] for name in found} == {expected}, pattern


@pytest.fixture(scope="module")
def learning(finished, tmp_path_factory) -> Repository:
    """A copy that learns circuits of edges of one model by three methods, finished."""
    folder = tmp_path_factory.mktemp("learning") / "copy"
    shutil.copytree(finished.folder, folder, copy_function=shutil.copyfile)
    copy = Repository(folder, learned_study())
    copy.snakemake()
    return copy


def learned_study() -> dict:
    config = own_study()
    study = {"transfers": [], "models": ["tiny-target"], "siblings": []}
    study |= {"tasks": ["ioi"], "families": {}}
    study |= {"edge_methods": ["eap", "edge-pruning", "hap", "discogp"]}
    config["study"].update(study)
    gates = {"steps": 3}
    config["pruning"] = {"examples": 4, "batch_size": 4, "sizes": [0.4, 0.3]}
    config["pruning"] |= {
        "edge-pruning": gates,
        "hap": gates | {"filter": "eap", "keep": 0.6},
        "discogp": {"masks": "weights", "weight_steps": 3, "weight_init": 0.1},
    }
    return config


MASKS, EDGE_SCORES = "edge-masks/*/{}/seed-?", "edge-scores/*/{}"
MEASURED_BY = "faithfulness/edges/*/{}"


def of_methods(*methods: str) -> list[str]:
    """Name what methods find, by attribution or by learning, and how faithful it is."""
    kinds = {each: EDGE_SCORES if each == "eap" else MASKS for each in methods}
    found = [kinds[each].format(each) for each in methods]
    return found + [MEASURED_BY.format(each) for each in methods]


def prune(method: str, **values) -> Callable[[Repository], None]:
    """Make a change of settings of one method that learns."""
    return lambda repository: repository.config["pruning"][method].update(values)


def add_a_seed(repository: Repository) -> None:
    repository.config["study"]["seeds"].append(2)


def name_heads(repository: Repository) -> None:
    repository.config["evaluation"]["heads"] = {"tiny-target": ["a0.h1"]}


@pytest.mark.parametrize(
    ("change", "again", "stays"),
    [
        (lambda repository: None, [], ["*"]),
        # A null, and the value that the preset has anyway.
        (prune("edge-pruning", warmup=None, ramp="geometric"), [], ["*"]),
        (prune("soft-top-k", steps=4), [], ["*"]),
        (
            prune("hap", keep=0.7),
            of_methods("hap"),
            of_methods("edge-pruning", "discogp", "eap"),
        ),
        (
            prune("discogp", completeness=2.0),
            of_methods("discogp"),
            of_methods("edge-pruning", "hap", "eap"),
        ),
        (
            setting("pruning", sizes=[0.4]),
            [*of_methods("hap", "edge-pruning", "discogp"), "faithfulness/sizes/*"],
            of_methods("eap"),
        ),
        (
            setting("pruning", resamples=2),
            [
                *("edge-masks/*/resample-[01]", "tables/edge-stability/*"),
                *("tables/methods/*", "tables/costs"),
            ],
            [*of_methods("hap", "edge-pruning", "discogp", "eap"), "faithfulness/*"],
        ),
        # What compares all methods, and their costs.
        (
            prune("hap", keep=0.7),
            ["faithfulness/weights/*", "tables/methods/*", "figures/learning-curves/*"],
            ["faithfulness/sizes/*", "heads/*"],
        ),
        (
            commented(f"{LIBRARY}/tables/methods.py"),
            ["tables/methods/*", "tables/method-tests/*", "figures/methods/*"],
            ["edge-masks/*", "faithfulness/*", "tables/head-survival/*"],
        ),
        (
            add_a_seed,
            of_methods("hap", "edge-pruning", "discogp"),
            [*of_methods("eap"), "scores/*", "faithfulness/gold/*"],
        ),
        # The filter's scores.
        (
            setting("attribution", examples=4),
            of_methods("hap", "eap"),
            of_methods("edge-pruning", "discogp"),
        ),
        (
            setting("evaluation", examples=4),
            ["faithfulness/edges/*", "heads/*"],
            ["edge-masks/*", "edge-scores/*"],
        ),
        (
            name_heads,
            ["heads/*", "tables/head-survival/*"],
            ["faithfulness/edges/*", "edge-masks/*", "edge-scores/*"],
        ),
        # Heads are ablated by the first one.
        (
            setting("evaluation", ablations=["counterfactual", "zero"]),
            ["faithfulness/edges/*"],
            ["heads/*", "edge-masks/*"],
        ),
        (
            commented(f"{LIBRARY}/pruning/hap.py"),
            of_methods("hap", "edge-pruning", "discogp"),
            of_methods("eap"),
        ),
    ],
)
def test_circuits_are_learned_again_for_their_own_causes(
    learning, change, again, stays
):
    learning.config = learned_study()
    learning.config["pruning"]["soft-top-k"] = {}
    names = ("pruning/hap.py", "tables/methods.py")
    files = [learning.folder / LIBRARY / name for name in names]
    before = {file: file.read_bytes() for file in files}
    change(learning)
    plan = learning.plan()
    for file, content in before.items():
        file.write_bytes(content)
    for patterns, expected in ((again, True), (stays, False)):
        for pattern in patterns:
            found = [name for name in plan if fnmatchcase(name, pattern)]
            assert found and {plan[name] for name in found} == {expected}, pattern


@pytest.fixture(scope="module")
def distilling(finished, tmp_path_factory) -> Repository:
    """A copy that distils one model into the other by three variants, finished."""
    folder = tmp_path_factory.mktemp("distilling") / "copy"
    shutil.copytree(finished.folder, folder, copy_function=shutil.copyfile)
    copy = Repository(folder, distilled_study())
    copy.snakemake()
    return copy


def distilled_study() -> dict:
    config = own_study()
    models = ["tiny-source", "tiny-target"]
    study = {"transfers": [], "models": models, "siblings": [], "families": {}}
    config["study"].update(study, tasks=["ioi", "own"])
    config["distillation"] = {
        "teacher": "tiny-target",
        "student": "tiny-source",
        "tasks": ["ioi", "own"],
        "heads": {"count": 1, "examples": 8},
        "matching": {"method": "depth"},
        "compared": ["impact", "profile"],
        "objectives": ["matched-cka", "ce-heads", "logits"],
        "seeds": [0, 1],
        "steps": 2,
        # With so few pairs, the debiased one has too few features.
        "positions": "all",
    }
    return config


def distil(**values) -> Callable[[Repository], None]:
    """Make a change of settings of the distillation."""
    return lambda repository: repository.config["distillation"].update(values)


def students(task: str = "*", variant: str = "*", seed: str = "?") -> str:
    """Name the checkpoints of students; `*` may stand for several folders."""
    return f"distilled/{PAIRED}/{task}/{variant}/seed-{seed}/*"


PAIRED = "tiny-target/tiny-source"
MATCHED = f"matched-heads/{PAIRED}"
CRITICAL = "critical-heads/*"
# What is measured of the students of a variant, a file beside their folders.
OF_VARIANT = f"distilled/{PAIRED}/{{}}/{{}}"
VARIANTS = ("matched-cka", "ce-heads", "logits")
MEASURES = [
    OF_VARIANT.format(task, name) for task in ("ioi", "own") for name in VARIANTS
]


@pytest.mark.parametrize(
    ("change", "again", "stays"),
    [
        (lambda repository: None, [], ["*"]),
        # A null, and the value that the preset has anyway.
        (distil(temperature=None, learning_rate=1e-3), [], ["*"]),
        # What it does to the students of the other task is measured again.
        (
            seed_a_task,
            [*("critical-heads/*/ioi", f"{MATCHED}/ioi/*", students("ioi")), *MEASURES],
            ["critical-heads/*/own", f"{MATCHED}/own/[di]*", students("own")],
        ),
        # The matching that compares scores of several tasks.
        (seed_a_task, [f"{MATCHED}/own/profile"], []),
        # Students are measured on test pairs meanwhile too.
        (
            resize_a_split("test"),
            [students("ioi"), *MEASURES],
            [CRITICAL, f"{MATCHED}/*", students("own")],
        ),
        (
            distil(objectives=["matched-cka", "ce-heads", "fine-tune"]),
            [students(variant="fine-tune"), OF_VARIANT.format("ioi", "fine-tune")],
            [
                students(variant="matched-cka"),
                students(variant="ce-heads"),
                *MEASURES[:2],
            ],
        ),
        (
            distil(seeds=[0, 1, 2]),
            [students(seed="2"), *MEASURES],
            [students(seed="0"), students(seed="1"), CRITICAL, f"{MATCHED}/*"],
        ),
        (distil(steps=3), [students(), *MEASURES], [CRITICAL, f"{MATCHED}/*"]),
        (
            distil(cka_weight=0.5),
            [students(variant="matched-cka"), MEASURES[0]],
            [students(variant="ce-heads"), students(variant="logits"), *MEASURES[1:3]],
        ),
        (
            distil(temperature=1.0),
            [students(variant="logits"), MEASURES[2]],
            [students(variant="ce-heads"), *MEASURES[:2]],
        ),
        (distil(accuracy=0.5), MEASURES, [students(), CRITICAL, f"{MATCHED}/*"]),
        (
            distil(matching={"method": "impact"}),
            [students(), *MEASURES],
            [CRITICAL, f"{MATCHED}/*"],
        ),
        (
            distil(matching={"method": "depth", "baseline": "own"}),
            [f"{MATCHED}/*/impact"],
            [f"{MATCHED}/*/depth", f"{MATCHED}/*/profile", students(), *MEASURES],
        ),
        (
            distil(compared=["impact", "profile", "random"]),
            [f"{MATCHED}/*/random"],
            [f"{MATCHED}/*/impact", CRITICAL, students(), *MEASURES],
        ),
        (
            distil(heads={"count": 2, "examples": 8}),
            [CRITICAL, f"{MATCHED}/*", students(), *MEASURES],
            ["scores/*", "pairs/*"],
        ),
        (
            seed_training("tiny-target"),
            ["critical-heads/tiny-target/*", f"{MATCHED}/*", students(), *MEASURES],
            ["critical-heads/tiny-source/*"],
        ),
        (
            commented(f"{LIBRARY}/distillation/targets.py"),
            [students()],
            [CRITICAL, f"{MATCHED}/*"],
        ),
    ],
)
def test_students_are_trained_again_for_their_own_causes(
    distilling, change, again, stays
):
    distilling.config = distilled_study()
    file = distilling.folder / LIBRARY / "distillation/targets.py"
    before = file.read_bytes()
    change(distilling)
    plan = distilling.plan()
    file.write_bytes(before)
    for patterns, expected in ((again, True), (stays, False)):
        for pattern in patterns:
            found = [name for name in plan if fnmatchcase(name, pattern)]
            assert found and {plan[name] for name in found} == {expected}, pattern


def _ages(repository: Repository) -> dict[str, int]:
    results = repository.folder / "results"
    return {
        name: max(file.stat().st_mtime_ns for file in results.glob(f"{name}.*"))
        for name in repository.plan()
    }
