"""Bad input through the real command line: refused early, in a few lines, nothing lost.

One study is run once; every test then spoils something of it, runs it again, and puts
it back.
"""

import json
import shutil
import subprocess
import sys
from collections.abc import Callable
from copy import deepcopy
from dataclasses import dataclass
from html import escape
from pathlib import Path

import numpy as np
import polars as pl
import pytest
import yaml
from planner import plan
from safetensors import safe_open
from safetensors.numpy import load_file, save_file

from circuit_transfer.artifacts.edge_scores import write_edge_scores
from circuit_transfer.artifacts.tensors import FORMAT
from circuit_transfer.generators import generate_prompts, read_words
from circuit_transfer.models.edges import described_graph
from circuit_transfer.study.file_checks import HEAD

HOME = Path(__file__).parents[2]
CONFIG = {
    "study": {
        "tasks": ["own"],
        "methods": ["nap"],
        "edge_methods": ["eap"],
        "transfers": [{"source": "small", "target": "mute"}],
    },
    "models": {"small": {"path": "models/small"}, "mute": {"path": "models/mute"}},
    "tasks": {"own": {"file": "own.csv"}},
    "attribution": {"examples": 4},
    "alignment": {
        "epochs": 1,
        "learning_rate": 0.1,
        "sparsity": 0.1,
        "batch_size": 4,
        "examples": 4,
    },
    "evaluation": {"proportions": [0.2, 1.0], "examples": 4, "random_rankings": 2},
}
QUIET = ["--quiet", "host", "rules", "progress"]
# Lines of output: Snakemake itself needs more than twenty to say that a job failed.
SHORT = 30
# Legal, though no word of them is known to the model: rows to reject, not to change.
ODD = [
    "Is 🦊 a 👩‍👩‍👧 :",
    "שלום עולם، مرحبا :",
    "say \"yes\", 'no' & `$(x)` :",
    "<b>bold</b><script>alert(1)</script> :",
    "two\nlines\ttab :",
]


@dataclass
class Study:
    """A folder with the study above, finished, whose parts a test may spoil."""

    folder: Path

    def run(self, config: dict | str, *arguments: str) -> tuple[int, str]:
        """Run Snakemake; return its exit code and all that it printed."""
        text = config if isinstance(config, str) else yaml.safe_dump(config)
        (self.folder / "study.yaml").write_text(text)
        command = ["--cores", "2", "--snakefile", str(HOME / "Snakefile")]
        command += ["--directory", ".", "--configfile", "study.yaml", *arguments]
        if "--dry-run" in arguments:
            result = plan(*command, folder=self.folder)
        else:
            result = subprocess.run(
                [sys.executable, "-m", "snakemake", *command],
                cwd=self.folder,
                capture_output=True,
                text=True,
                check=False,
            )
        return result.returncode, result.stdout + result.stderr

    def results(self) -> dict[str, bytes]:
        """Return the content of every file that runs have made."""
        files = [path for path in self.folder.glob("results/**/*") if path.is_file()]
        return {str(path.relative_to(self.folder)): path.read_bytes() for path in files}


def write_pairs(path: Path) -> None:
    """Write pairs that the models know and odd ones as a spreadsheet program does."""
    words = read_words(HOME / "data/words.yaml", HOME / "data/facts.csv")
    splits = ("train", "test")
    prompts = [generate_prompts("ioi", words, split, 6, seed=0) for split in splits]
    odd = {"corrupted": "x :", "answer": " a", "wrong_answer": " b", "split": "test"}
    frame = (
        pl.concat(prompts)
        .select(
            "clean",
            "corrupted",
            pl.col("answers").list.first().alias("answer"),
            pl.col("wrong_answers").list.first().alias("wrong_answer"),
            "split",
        )
        .vstack(
            pl.DataFrame([{"clean": clean} | odd for clean in ODD]).select(
                "clean", "corrupted", "answer", "wrong_answer", "split"
            )
        )
    )
    text = frame.write_csv(line_terminator="\r\n")
    path.write_bytes(b"\xef\xbb\xbf" + text.encode())


@pytest.fixture(scope="module")
def study(tmp_path_factory) -> Study:
    """The study, finished: a known model, and one that says the same whatever it reads.

    Its last norm is zero, and so are all of its logits.
    """
    folder = tmp_path_factory.mktemp("inputs")
    for name in ("small", "mute"):
        shutil.copytree(HOME / "data/models/llama-small", folder / "models" / name)
    change_weights(folder / "models/mute", **{"model.norm.weight": 0.0})
    write_pairs(folder / "own.csv")
    study = Study(folder)
    code, output = study.run(CONFIG)
    assert code == 0, output
    study.output = output
    return study


@pytest.fixture
def spoilt(study):
    """The finished study, every file of which is put back after the test."""
    kept = study.folder.with_name("kept")
    shutil.copytree(study.folder, kept, symlinks=True)
    yield study
    shutil.rmtree(study.folder)
    kept.rename(study.folder)


def change_weights(folder: Path, **values: float) -> None:
    weights = load_file(folder / "model.safetensors")
    for name, value in values.items():
        weights[name] = np.full_like(weights[name], value)
    save_file(weights, folder / "model.safetensors", {"format": "pt"})


def add_weights(folder: Path, *names: str) -> None:
    weights = load_file(folder / "model.safetensors")
    weights |= {name: np.ones(4, np.float32) for name in names}
    save_file(weights, folder / "model.safetensors", {"format": "pt"})


def change_json(path: Path, **values) -> None:
    path.write_text(json.dumps(json.loads(path.read_text()) | values))


# What is fine


def test_what_is_odd_but_legal_arrives_unchanged(study):
    """A byte order mark, line ends of Windows, and every script there is."""
    prompts = pl.read_parquet(study.folder / "results/prompts/own.parquet")
    assert prompts["clean"].to_list()[-len(ODD) :] == ODD
    rejects = pl.read_csv(study.folder / "results/tables/rejects.csv")
    of_one = rejects.filter(pl.col("model") == "small")
    assert of_one["clean"].to_list() == ODD
    assert of_one["row"].to_list() == [*range(13, 13 + len(ODD))]
    page = (study.folder / "results/tables/rejects.html").read_text()
    for text in ODD:
        assert f">{escape(text)}</td>" in page
    assert "<script>" not in page


def test_undefined_faithfulness_is_said_and_leaves_cells_empty(study):
    path = study.folder / "results/faithfulness/gold/mute/own/nap.parquet"
    curve = pl.read_parquet(path)
    assert curve["faithfulness"].null_count() == curve.height == 2
    assert curve["logit_diff"].to_list() == [0.0, 0.0]
    areas = pl.read_parquet(study.folder / "results/tables/cpr.parquet")
    assert areas["cpr"].null_count() == areas["cmd"].null_count() == areas.height > 0
    table = study.folder / "results/tables/leaderboard/small/mute"
    assert pl.read_csv(f"{table}.csv")["own"].null_count() == 18
    assert Path(f"{table}.html").read_text().count("<td>-</td>") >= 12
    log = (study.folder / "results/logs/summarise_faithfulness.log").read_text()
    said = "mute on own, counterfactual ablation: the whole model and the empty circuit"
    assert log.count(said) == study.output.count(said) == 1


# What stops before any job


def in_config(*keys, value) -> Callable:
    """Make a change of the configuration: a value put where keys lead."""

    def change(study: Study, config: dict) -> None:
        *path, last = keys
        for key in path:
            config = config[key]
        config[last] = value

    return change


def in_file(path: str, spoil: Callable[[bytes], bytes]) -> Callable:
    """Make a change of a file's bytes."""

    def change(study: Study, config: dict) -> None:
        file = study.folder / path
        file.write_bytes(spoil(file.read_bytes()))

    return change


def new_file(name: str, content: bytes) -> Callable:
    """Make a change that has the task read another file."""

    def change(study: Study, config: dict) -> None:
        (study.folder / name).write_bytes(content)
        config["tasks"]["own"]["file"] = name

    return change


def in_new_file(path: str, content: bytes) -> Callable:
    """Make a change that puts a file where there is none."""
    return lambda study, config: (study.folder / path).write_bytes(content)


def gguf_file(content: bytes) -> Callable:
    """Make a change that has a model read from a GGUF file."""

    def change(study: Study, config: dict) -> None:
        (study.folder / "x.gguf").write_bytes(content)
        config["models"]["small"] = {"gguf": "x.gguf"}

    return change


def verified_exactly(study: Study, config: dict) -> None:
    config["study"]["edge_methods"] = ["eap-exact"]
    config["attribution"]["verify"] = 5


def steps_without_corrupted_inputs(study: Study, config: dict) -> None:
    config["study"]["edge_methods"] = ["eap", "eap-ig-inputs"]
    config["attribution"]["ablation"] = "zero"


def a_folder_for_a_file(study: Study, config: dict) -> None:
    (study.folder / "pairs.csv").mkdir()
    config["tasks"]["own"]["file"] = "pairs.csv"


def another_shard(study: Study, config: dict) -> None:
    folder = study.folder / "models/small"
    (folder / "model.safetensors").unlink()
    index = {"weight_map": {"lm_head.weight": "model-00001-of-00002.safetensors"}}
    (folder / "model.safetensors.index.json").write_text(json.dumps(index))


def without_tokenizer(study: Study, config: dict) -> None:
    (study.folder / "models/small/tokenizer.json").unlink()


def with_an_end_token(study: Study, config: dict) -> None:
    """Put a token after every text, as a tokenizer of embeddings does."""
    path = study.folder / "models/small/tokenizer.json"
    tokenizer = json.loads(path.read_text())
    end = {"id": "<eos>", "type_id": 0}
    tokenizer["post_processor"]["single"].append({"SpecialToken": end})
    tokenizer["post_processor"]["special_tokens"]["<eos>"] = {
        "id": "<eos>",
        "ids": [3],
        "tokens": ["<eos>"],
    }
    path.write_text(json.dumps(tokenizer))


GOOD = {"clean": "a b :", "corrupted": "c b :", "answer": " d", "wrong_answer": " e"}
LINE = json.dumps(GOOD).encode() + b"\n"
HEADER = b"clean,corrupted,answer,wrong_answer\n"
WEIGHTS = "models/small/model.safetensors"
TRANSFER = ("study", "transfers", 0, "target")
AT_PARSING = {
    "unknown key": (
        in_config("alignment", "learnig_rate", value=1),
        "alignment: unknown key 'learnig_rate'; did you mean 'learning_rate'?",
    ),
    "unknown task": (
        in_config("study", "tasks", value=["onw"]),
        "study.tasks: no task under `tasks` is called 'onw'; did you mean 'own'?",
    ),
    "unknown model": (
        in_config(*TRANSFER, value="mutt"),
        "study.transfers.target: no model under `models` is called 'mutt'; did",
    ),
    "transfer to itself": (
        in_config(*TRANSFER, value="small"),
        "'small' is both source and target; expected two different models",
    ),
    "method of edges for nodes": (
        in_config("study", "methods", value=["eap"]),
        "'exact']; it scores edges, which `edge_methods` is for",
    ),
    "ablation that a method of edges cannot do": (
        steps_without_corrupted_inputs,
        "attribution.ablation: ",
    ),
    "edges to verify where all are exact": (
        verified_exactly,
        "attribution.verify: 5 edges of every method that estimates scores, but",
    ),
    "sibling of no task": (
        in_config("study", "siblings", value=[["own", "other"]]),
        "study.siblings: no task under `tasks` is called 'other'; known: own",
    ),
    "number as text": (
        in_config("alignment", "learning_rate", value="1e-3"),
        "alignment.learning_rate: '1e-3' is not of type 'number'; write 0.001",
    ),
    "not a number": (
        in_config("alignment", "sparsity", value=float("nan")),
        "alignment.sparsity: nan is not of type 'number'",
    ),
    "empty list": (
        in_config("study", "tasks", value=[]),
        "study.tasks: [] should be non-empty",
    ),
    "sizes out of order": (
        in_config("evaluation", "proportions", value=[1.0, 0.2]),
        "evaluation.proportions: 1.0 comes before 0.2; expected increasing",
    ),
    "reserved name": (
        in_config("tasks", "own.rejects", value={"file": "own.csv"}),
        "tasks: 'own.rejects' would read as the rejected rows of a task; expected",
    ),
    "benchmark of no model": (
        in_config("benchmark", value={"b": {"model": "smal"}}),
        "benchmark.b.model: no model under `models` is called 'smal'; did you mean",
    ),
    "no such file": (
        in_config("tasks", "own", "file", value="nowhere.csv"),
        "tasks.own.file: no file nowhere.csv in /",
    ),
    "no such GGUF file": (
        in_config("models", "small", value={"gguf": "nowhere.gguf"}),
        "models.small.gguf: no file nowhere.gguf in /",
    ),
    "folder for a file": (
        a_folder_for_a_file,
        "tasks.own.file: pairs.csv is a folder; expected a file",
    ),
    "folder without data": (
        in_config("tasks", "own", value={"mib": "ioi", "path": "models"}),
        "tasks.own.path: models: no data files (.parquet, .jsonl) in this folder",
    ),
    "weights cut short": (
        in_file(WEIGHTS, lambda content: content[:-100]),
        f"models.small.path: {WEIGHTS}: 773,700 bytes, expected 773,800 by its",
    ),
    "pointer for weights": (
        in_file(WEIGHTS, lambda _: b"version https://git-lfs.github.com/spec/v1\n"),
        f"models.small.path: {WEIGHTS}: a Git LFS pointer instead of the weights;",
    ),
    "missing shard": (
        another_shard,
        "models.small.path: models/small: no model-00001-of-00002.safetensors, which",
    ),
    "quantised weights": (
        lambda study, config: change_json(
            study.folder / "models/small/config.json",
            quantization_config={"quant_method": "gptq", "bits": 4},
        ),
        "models.small.path: models/small/config.json: quantization_config: quantised",
    ),
    "adapter beside a model": (
        in_new_file("models/small/adapter_config.json", b"{}"),
        "models.small.path: models/small: an adapter (adapter_config.json) beside the",
    ),
    "no tokenizer": (
        without_tokenizer,
        "models.small.path: models/small: no tokenizer (tokenizer.json); convert one",
    ),
    "a token after every text": (
        with_an_end_token,
        "models.small.path: models/small: the tokenizer puts '<eos>' after every text",
    ),
    "missing columns": (
        in_file("own.csv", lambda content: content.replace(b"wrong_answer", b"worse")),
        "tasks.own.file: own.csv: no column ['wrong_answer'], only ['clean',",
    ),
    "no rows": (new_file("x.csv", HEADER), "tasks.own.file: x.csv: no rows"),
    "ragged row": (
        new_file("x.csv", HEADER + b"a,b,c,d\na,b,c,d,e\n"),
        "tasks.own.file: x.csv: not a readable CSV file (",
    ),
    "broken last line": (
        new_file("x.jsonl", LINE * 3 + LINE[:20] + b"\n"),
        "tasks.own.file: x.jsonl: row 4: not JSON (",
    ),
    "not UTF-8": (
        new_file("x.csv", HEADER + b"a,b,c,d\n\xe9,b,c,d\n"),
        "tasks.own.file: x.csv: line 3: not UTF-8 (",
    ),
    "number for text": (
        new_file("x.jsonl", LINE + json.dumps(GOOD | {"answer": 7}).encode()),
        "tasks.own.file: x.jsonl: row 2, column answer: expected text, found 7",
    ),
    "cut Parquet": (
        new_file("x.parquet", b"PAR1 and no more"),
        "tasks.own.file: x.parquet: not a readable Parquet file (",
    ),
    "another format": (
        in_config("tasks", "own", value={"file": "own.csv", "format": "edge-pruning"}),
        "own.csv: of the format 'pairs', not 'edge-pruning', which needs clean and",
    ),
}


def refused(study: Study, config: dict | str, *arguments: str) -> str:
    """Run what must be refused, and return what is said."""
    code, output = study.run(config, *arguments)
    assert code != 0, output
    assert "Traceback" not in output
    return output


@pytest.mark.parametrize(("change", "message"), AT_PARSING.values(), ids=AT_PARSING)
def test_a_plain_mistake_stops_a_dry_run(spoilt, change, message):
    config, before = deepcopy(CONFIG), spoilt.results()
    change(spoilt, config)
    output = refused(spoilt, config, "--dry-run")
    assert output.count(message) == 1
    assert output.count("\n") < 8
    assert spoilt.results() == before


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("study: [\n", "not valid JSON or YAML"),
        ("study:\n\ttasks: [own]\n", "not mix whitespace and tab indentation"),
        ("", "with keys at top level"),
        ("study: {tasks: [a]}\nstudy: {}\n", "line 2: the key 'study' is already in"),
    ],
    ids=["broken", "tab", "empty", "key twice"],
)
def test_a_configuration_that_is_no_mapping_stops_before_any_job(study, text, message):
    before = study.results()
    output = refused(study, text)
    assert message in output
    assert output.count("\n") < 8
    assert study.results() == before


# What stops when a run starts, before its first job

AT_START = {
    "broken last line of many": (
        new_file("x.jsonl", LINE * HEAD + LINE[:20] + b"\n"),
        f"tasks.own.file: x.jsonl: row {HEAD + 1}: not JSON (",
    ),
    "one split": (
        new_file("x.jsonl", LINE * 4),
        "tasks.own.file: no train pairs, all 4 rows are in the test split: ",
    ),
    "text for a GGUF file": (
        gguf_file(b"hello"),
        "models.small.gguf: x.gguf: not a GGUF file: expected the first bytes b'GGUF'",
    ),
    "cut GGUF file": (
        gguf_file(b"GGUF\x03\0\0\0"),
        "models.small.gguf: x.gguf: damaged or truncated in its header (8 bytes)",
    ),
}


@pytest.mark.parametrize(("change", "message"), AT_START.values(), ids=AT_START)
def test_a_broken_file_stops_before_any_job(spoilt, change, message):
    config, before = deepcopy(CONFIG), spoilt.results()
    change(spoilt, config)
    output = refused(spoilt, config, *QUIET)
    assert output.count(message) == 1
    assert output.count("\n") < 12
    assert spoilt.results() == before


# What the first job of a model finds, before any other job of the model; the rest of it
# is in tests/lib/test_checkpoints.py

IN_THE_FIRST_JOB = {
    "weights without a place": (
        lambda folder: add_weights(folder, "model.layers.0.self_attn.q_proj.bias"),
        "1 have no place (model.layers.0.self_attn.q_proj.bias): biases that config",
    ),
    "weights that are no numbers": (
        lambda folder: change_weights(folder, **{"model.norm.weight": float("nan")}),
        "models/small/model.safetensors: weight model.norm.weight is not finite",
    ),
    "small vocabulary": (
        lambda folder: change_json(folder / "config.json", vocab_size=300),
        "models/small: tokenizer.json has 347 tokens, but config.json a vocab_size of",
    ),
}


@pytest.mark.parametrize(
    ("spoil", "message"), IN_THE_FIRST_JOB.values(), ids=IN_THE_FIRST_JOB
)
def test_a_broken_model_stops_its_first_job(spoilt, spoil, message):
    before = spoilt.results()
    spoil(spoilt.folder / "models/small")
    output = refused(spoilt, CONFIG, *QUIET, "--keep-going")
    assert message in output
    assert output.count("\n") < SHORT
    # The job's own output is out of date, and its log is new; no other job has run.
    after = spoilt.results()
    own = ("results/models/small/model.json", "results/logs/describe_model/small.log")
    others = [
        {path: data for path, data in found.items() if not path.startswith(own)}
        for found in (before, after)
    ]
    assert others[0] == others[1]


# What an older version has left in results


def older_scores(folder: Path) -> None:
    path = folder / "results/scores/mute/own/nap.safetensors"
    save_file(load_file(path), path, {"format": "circuit-transfer/0"})


def older_frame(folder: Path) -> None:
    path = folder / "results/faithfulness/gold/mute/own/nap.parquet"
    pl.read_parquet(path).drop("kl").write_parquet(path)


EDGE_SCORES = "results/edge-scores/mute/own/eap.safetensors"


def without_legal_edges(folder: Path) -> None:
    path = folder / EDGE_SCORES
    with safe_open(path, "numpy") as file:
        metadata = file.metadata()
    tensors = load_file(path)
    del tensors["legal"]
    save_file(tensors, path, metadata)


def scores_of_shared_heads(folder: Path) -> None:
    """Put scores in place that were written with another `attribution.kv`."""
    path = folder / EDGE_SCORES
    description = json.loads((folder / "results/models/mute/model.json").read_text())
    graph = described_graph(description, "kv-head")
    scores = np.zeros(graph.legal.shape, np.float32)
    write_edge_scores(path, scores, **graph.description())


@pytest.mark.parametrize(
    ("spoil", "target", "own", "message"),
    [
        (
            older_scores,
            "results/faithfulness/gold/mute/own/nap.parquet",
            ("/evaluate_gold/mute/", "/gold/mute/"),
            "results/scores/mute/own/nap.safetensors: its format is "
            f"'circuit-transfer/0', expected '{FORMAT}'; delete the file and run again",
        ),
        (
            older_frame,
            "results/tables/cpr.parquet",
            ("/summarise_faithfulness.", "/cpr.parquet", "/curves.parquet"),
            "results/faithfulness/gold/mute/own/nap.parquet: no column ['kl'], only",
        ),
        (
            without_legal_edges,
            "results/faithfulness/edges/mute/own/eap.parquet",
            ("/evaluate_edges/mute/", "/edges/mute/"),
            f"{EDGE_SCORES}: no tensor ['legal']",
        ),
        (
            scores_of_shared_heads,
            "results/faithfulness/edges/mute/own/eap.parquet",
            ("/evaluate_edges/mute/", "/edges/mute/"),
            f"{EDGE_SCORES}: scores of 21 writers and 37 readers; expected 21 and 53",
        ),
    ],
    ids=["scores", "frame", "edges without a graph", "edges of another graph"],
)
def test_an_old_artefact_is_named_with_the_way_out(spoilt, spoil, target, own, message):
    spoil(spoilt.folder)
    (spoilt.folder / target).unlink()
    before = spoilt.results()
    again = ("--rerun-triggers", "mtime", "--", target)
    output = refused(spoilt, CONFIG, *QUIET, *again)
    assert message in output
    assert output.count("\n") < SHORT
    after = spoilt.results()
    changed = {path for path in before | after if after.get(path) != before.get(path)}
    # Only what the failed job makes itself, and its log.
    assert all(any(part in path for part in own) for path in changed)
