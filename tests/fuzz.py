"""Change valid configurations and files at random and see how they are refused.

    python tests/fuzz.py --minutes 10 --seed 0

What is given to the checks and the readers must be taken, or be refused by a ValueError
or FileNotFoundError that names the key or the file. Anything else is a finding: another
exception, a message that names nothing, five seconds of computing, 4 GB, or the
end of the process. Findings are printed, each kind once, with the number by which one
case is run again: `--first 1234 --cases 1`.

The cases are run in processes of their own: a crash or a hang ends one of these only.
"""

import argparse
import json
import random
import re
import resource
import signal
import subprocess
import sys
import tempfile
import time
from collections import Counter
from copy import deepcopy
from pathlib import Path

ROOT = Path(__file__).parents[1]
SCHEMA = ROOT / "workflow/schemas/config.schema.yaml"
SECONDS, GIGABYTES = 5, 4
CASES_PER_PROCESS = 1000

# Values that have broken readers and checks elsewhere.
VALUES = [
    *(None, True, False, 0, 1, -1, 0.0, 1.0, 2.5, -0.0, 2**31, 2**63, 2**64, 10**400),
    *(float("nan"), float("inf"), -float("inf"), 1e308, 5e-324),
    *("", " ", "\n", "ioi\n", "../..", "/etc/passwd", "a/b", "~", "$HOME", "{task}"),
    *("<script>", "`id`", "; ls", "=1+1", "\x00", "\x1b[31m", "\ud800", "\u202e", "é"),
    *("null", "1e-3", "9" * 5000, "a" * 5000, "😀", "a.b", "-", ".", "ioi.rejects"),
    *([], {}, [[]], [None], {"": ""}, {None: 1}, {1: 2}, [1, "a", None], (), b"bytes"),
]
SNIPPETS = [
    *(
        b"\x00",
        b"\xff",
        b"\xef\xbb\xbf",
        b"\r",
        b"\n",
        b"\n\n",
        b'"',
        b"\\",
        b",",
        b"{",
    ),
    *(b"[" * 2000, b'{"a":' * 2000, b"9" * 5000, b"1e999", b"NaN", b"-Infinity"),
    *(b"\\ud800", b"\\u0000", b"null", b"true", b"[]", b"{}", b"-1", b"0.5", b'""'),
    *("é😀\u2028\u202e".encode(), b"PAR1", b"<predict>", b"</predict>", b"A" * 70000),
]


def main() -> None:
    """Run cases until the time is over, and print what was found."""
    arguments = _arguments()
    if arguments.worker:
        _work(arguments.seed, arguments.first, arguments.cases)
        return
    outcomes, findings, first = Counter(), {}, arguments.first
    end = time.monotonic() + 60 * arguments.minutes
    while arguments.cases > first - arguments.first or (
        not arguments.cases and time.monotonic() < end
    ):
        left = arguments.first + arguments.cases - first
        cases = min(left, CASES_PER_PROCESS) if arguments.cases else CASES_PER_PROCESS
        for case, kind, outcome in _run(arguments.seed, first, cases):
            first = case + 1
            # Numbers and names in a message do not make it another kind of finding.
            shape = re.sub(r"\d+|(['\"]).*", "..", outcome)
            outcomes[kind, outcome.split(":")[0]] += 1
            if outcome not in ("taken", "refused") and (kind, shape) not in findings:
                findings[kind, shape] = case
                print(f"case {case}: {kind}: {outcome}", flush=True)
    for (kind, outcome), count in sorted(outcomes.items()):
        print(f"{count:8d} {kind}: {outcome}")
    print(f"{first - arguments.first:8d} cases, {len(findings)} kinds of findings")
    sys.exit(bool(findings))


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--minutes", type=float, default=10)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--first", type=int, default=0, help="number of the first case")
    parser.add_argument("--cases", type=int, default=0, help="instead of --minutes")
    parser.add_argument("--worker", action="store_true", help=argparse.SUPPRESS)
    return parser.parse_args()


def _run(seed: int, first: int, cases: int):
    """Yield number, kind and outcome of cases that a process of their own runs."""
    command = [sys.executable, __file__, "--worker", "--seed", str(seed)]
    command += ["--first", str(first), "--cases", str(cases)]
    begun = None
    with subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True
    ) as process:
        for line in process.stdout:
            case, kind, *outcome = json.loads(line)
            begun = None if outcome else (case, kind)
            if outcome:
                yield case, kind, outcome[0]
    if begun:
        yield *begun, f"process ended: {process.returncode}"
    elif process.returncode:
        raise RuntimeError(f"{command} ended with {process.returncode}")


def _work(seed: int, first: int, cases: int) -> None:
    sys.path.insert(0, str(ROOT / "workflow/lib"))
    limit = GIGABYTES * 2**30
    resource.setrlimit(resource.RLIMIT_AS, (limit, limit))
    with tempfile.TemporaryDirectory() as folder:
        seeds = valid_files(Path(folder, "valid"))
        config = valid_config(Path(folder))
        for case in range(first, first + cases):
            rng = random.Random(f"{seed} {case}")
            kind = "config" if rng.random() < 0.33 else rng.choice([*seeds])
            print(json.dumps([case, kind]), flush=True)
            if kind == "config":
                outcome = try_config(rng, config, Path(folder))
            else:
                outcome = try_file(rng, seeds[kind], Path(folder, "case"))
            print(json.dumps([case, kind, outcome]), flush=True)


def outcome_of(action, *names: str) -> str:
    """Say how something ended: taken, refused in words that name it, or a finding."""
    # Nothing handles the signal: it ends the process, wherever it hangs.
    signal.setitimer(signal.ITIMER_PROF, SECONDS)
    try:
        action()
    except (ValueError, FileNotFoundError) as error:
        text = str(error)
        if not any(name in text for name in names):
            return f"names nothing: {type(error).__name__}: {text[:150]!r}"
        if len(text) > 2000:
            return f"wall of text: {type(error).__name__}: {len(text)} letters"
        return "refused"
    # Also what is no Exception: the panic of a reader that is not written in Python.
    except BaseException as error:  # noqa: B902
        where = _innermost(error)
        return f"{type(error).__name__}: {where}: {str(error)[:100]!r}"
    finally:
        signal.setitimer(signal.ITIMER_PROF, 0)
    return "taken"


def _innermost(error: BaseException) -> str:
    place, trace = "?", error.__traceback__
    while trace:
        code = trace.tb_frame.f_code
        if str(ROOT) in code.co_filename and code.co_filename != __file__:
            place = f"{Path(code.co_filename).name}, {code.co_name}"
        trace = trace.tb_next
    return place


# Configurations


def valid_config(folder: Path) -> dict:
    """Return a config that uses every part of the schema, and make its files."""
    import yaml

    config = yaml.safe_load((ROOT / "config.yaml").read_text())
    (folder / "mine.csv").write_text("clean,corrupted,answer,wrong_answer\na,b,c,d")
    (folder / "circuit.json").touch()
    training = {"architecture": "llama", "layers": 2, "heads": 4, "kv_heads": 2}
    training |= {"d_model": 32, "d_mlp": 64, "learning_rate": 0.004, "seed": 3}
    config["models"] |= {
        "own": {"train": training | {"generators": ["ioi"]}},
        "far": {"hub": "a/b", "revision": "main", "dtype": "bfloat16"},
    }
    config["tasks"] |= {
        "mine": {"file": "mine.csv"},
        "theirs": {"mib": "ioi", "path": "mine.csv", "train": 10, "test": 10},
        "remote": {"mib": "arc_easy", "hub": "a/b", "revision": "main"},
        "twins": {"generator": "ioi", "counterfactual": "s2_io_flip", "seed": 1},
    }
    config["study"]["tasks"] += ["mine"]
    config["study"]["models"] = ["own"]
    config["evaluation"]["circuits"] = {
        "x": {"importances": "circuit.json", "target": "llama-medium", "task": "ioi"}
    }
    config["sensitivity"] = {"sparsity": [0.1], "proportions": {"few": [0.5, 1.0]}}
    config["alignment"]["prior"] = {"scale": 1.0}
    return config


def try_config(rng: random.Random, valid: dict, folder: Path) -> str:
    """Change a valid config in a few places and check it."""
    from circuit_transfer.study.checks import check_config
    from circuit_transfer.study.validation import validate_config

    def outcome(config: dict) -> str:
        def check() -> None:
            validate_config(config, SCHEMA)
            check_config(config, folder, ROOT)

        return outcome_of(check, "config", *valid)

    if (told := outcome(deepcopy(valid))) != "taken":
        raise RuntimeError(f"the configuration to start from is {told}")
    config = deepcopy(valid)
    for _ in range(rng.choice((1, 1, 1, 2, 3))):
        config = changed_value(rng, config, valid)
    return outcome(config)


def changed_value(rng: random.Random, value, donor):
    """Return a value like JSON with one place in it deleted, renamed, replaced, ..."""
    value = deepcopy(value)
    places = [*_places(value)]
    if not places:
        return rng.choice(VALUES)
    parent, key = rng.choice(places)
    other = rng.choice(VALUES)
    change = rng.randrange(8)
    if change == 0:
        del parent[key]
    elif change == 1 and isinstance(parent, dict):
        name = other if isinstance(other, str | int | None) else "x"
        parent[name] = parent.pop(key)
    elif change == 2 and isinstance(parent, dict):
        text = str(key)
        place = rng.randrange(len(text) + 1)
        parent[text[:place] + rng.choice("xX-_. é\n") + text[place:]] = parent.pop(key)
    elif change == 3:
        where, which = rng.choice([*_places(donor)])
        parent[key] = deepcopy(where[which])
    elif change == 4:
        for _ in range(rng.choice((1, 2, 50, 150))):
            parent[key] = rng.choice(([parent[key]], {"a": parent[key]}))
    elif change == 5:
        parent[key] = [deepcopy(parent[key])] * rng.choice((0, 1, 2, 300))
    elif change == 6 and isinstance(parent[key], str):
        place = rng.randrange(len(parent[key]) + 1)
        text = rng.choice([value for value in VALUES if isinstance(value, str)])
        parent[key] = parent[key][:place] + text + parent[key][place:]
    else:
        parent[key] = deepcopy(other)
    return value


def _places(value):
    """Yield every container within a value with each of its keys or indices."""
    stack = [value] if isinstance(value, dict | list) else []
    while stack:
        parent = stack.pop()
        keys = parent if isinstance(parent, dict) else range(len(parent))
        for key in keys:
            yield parent, key
            if isinstance(parent[key], dict | list):
                stack.append(parent[key])


# Files


def valid_files(folder: Path) -> dict:
    """Make valid files of all kinds; return their bytes, rows and readers by kind."""
    import numpy as np
    import polars as pl

    from circuit_transfer.artifacts.alignments import read_alignment, write_alignment
    from circuit_transfer.artifacts.frames import read_frame, write_frame
    from circuit_transfer.artifacts.scores import read_scores, write_scores
    from circuit_transfer.artifacts.tensors import write_tensors
    from circuit_transfer.artifacts.text import write_json
    from circuit_transfer.circuits.mib import to_importances
    from circuit_transfer.circuits.mib_edges import edge_importances, edge_tensors
    from circuit_transfer.importers import import_task
    from circuit_transfer.models.checkpoints import read_model_type
    from circuit_transfer.models.edges import described_graph
    from circuit_transfer.models.nodes import node_names
    from circuit_transfer.stages.imported import read_imported

    for path in (ROOT / "tests/lib/importers", ROOT / "tests/lib"):
        sys.path.insert(0, str(path))
    from test_mib import ioi_row, labelled, mcqa_row, sum_row

    folder.mkdir()
    pair = {"clean": "a b", "corrupted": "c d", "answer": " e", "wrong_answer": " f"}
    own = [pair | {"split": s, "group": s} for s in ("train", "test")]
    ids = [{"clean": "a", "corrupted": "b", "correct_idx": 3, "incorrect_idx": [4, 5]}]
    years = [
        {"clean": "from 1352 to 13", "corrupted": "from 1301 to 13", "label": "52"}
    ]
    prompt = {"clean": "a", "corrupt": "b", "answers": ["c"], "wrong_answers": ["d"]}
    marked = {
        "clean": "x <predict> y</predict>",
        "corrupted": "z <predict> w</predict>",
    }
    arc = labelled([*"ABC"], 0, ["x", "y", "z"])
    arc |= {"symbol_counterfactual": labelled([1, 2, 3], 1, ["x", "y", "z"])}
    kinds = {}

    def add(name, rows, **entry):
        path = folder / name
        path.parent.mkdir(exist_ok=True)
        if path.suffix == ".parquet":
            pl.DataFrame(rows, infer_schema_length=None).write_parquet(path)
        elif path.suffix == ".csv":
            pl.DataFrame(rows).write_csv(path)
        elif path.suffix == ".jsonl":
            path.write_text("".join(json.dumps(row) + "\n" for row in rows))
        else:
            path.write_text(json.dumps(rows))
        kinds[name] = (path, rows, lambda path: import_task(entry, path))

    add("own.json", own, file="x")
    for suffix in (".jsonl", ".csv", ".parquet"):
        add(f"own{suffix}", own, file="x")
        add(f"years{suffix}", years, file="x", format="eap-ig")
    add("ids.jsonl", ids, file="x", format="eap-ig")
    add("ids.parquet", ids, file="x")
    add("prompts.json", {"prompts": [prompt] * 2}, file="x")
    add("marked.jsonl", [marked | {"split": "test"}], file="x", format="edge-pruning")
    sentences = {
        "ioi_sentences": "x y",
        "corr_ioi_sentences": "z w",
        "a": "y",
        "b": "w",
    }
    add("sentences.jsonl", [sentences], file="x")
    belief = {
        "characters": ["x", "y"],
        "objects": ["c", "d"],
        "states": ["e", "f"],
        "story": "x c e. y d f.",
        "question": "x c?",
        "target": "e",
        "prompt": "x c e. y d f. x c?",
        "character_idx": 0,
        "object_idx": 0,
    }
    boxes = "The x is in Box A, the y is in Box B. Box A contains the x"
    for suffix in (".jsonl", ".parquet"):
        add(f"beliefs{suffix}", [belief], file="x")
        add(f"boxes{suffix}", [{"sentence": boxes}], file="x")
    for task, row in (
        ("ioi", ioi_row()),
        ("copycolors_mcqa", mcqa_row()),
        ("arc_easy", arc),
        ("arithmetic_addition", sum_row()),
    ):
        for suffix in (".jsonl", ".parquet"):
            add(f"{task}{suffix}", [row], mib=task)
    model = {
        "architecture": "llama",
        "layers": 1,
        "heads": 2,
        "kv_heads": 1,
        "d_model": 4,
    }
    model |= {"nodes": (nodes := node_names(1, 2)), "parallel_mlp": False}
    graph = described_graph(model)
    scores = np.arange(graph.n_edges, dtype=np.float32)
    importances = to_importances(scores[:3], nodes, model)
    edges = json.loads("".join(edge_importances(scores, graph, model)))
    of_modules = {
        "blocks.0.hook_mlp_in": [1, 2, 3],
        "blocks.0.hook_resid_post": [4] * 4,
    }
    of_modules |= {f"blocks.0.hook_{kind}_input": [[5.0], [6.0]] for kind in "qkv"}
    gates = {"q_read": [[1.0, 2.0]] * 4, "k_read": [[1.0]] * 4, "v_read": [[1.0]] * 4}
    gates |= {"mlp_read": [1.0] * 4, "attn_write": [1.0, 2.0], "mlp_write": [3.0]}
    gates = {f"h.0.{name}_log_alphas": value for name, value in gates.items()}
    gates |= {"final_read_log_alphas": [1.0] * 4, "token_write_log_alpha": [1.0]}

    def add_artifact(name, read, rows=None):
        kinds[name] = (folder / name, rows, read)

    for name, content in (
        ("importances.json", importances),
        ("edge-importances.json", edges),
        ("prune-scores.json", of_modules),
        ("log-alphas.json", gates),
        ("edges.json", [["embeds", "a0.h1.q"], ["a0.h1", "resid_post"]]),
    ):
        write_json(content, folder / name)
        add_artifact(name, lambda path: read_imported(path, model), content)
    for name, tensors in (
        ("edges.safetensors", edge_tensors(scores, graph, model)[0]),
        ("log-alphas.safetensors", {k: np.array(v) for k, v in gates.items()}),
    ):
        write_tensors(folder / name, tensors)
        add_artifact(name, lambda path: read_imported(path, model))
    write_json({"model_type": "llama"}, folder / "config.json")
    add_artifact(
        "config.json",
        lambda path: read_model_type(path.parent),
        {"model_type": "llama"},
    )
    write_frame(pl.DataFrame(own), folder / "frame.parquet")
    add_artifact("frame.parquet", lambda path: read_frame(path, ["clean"]), own)
    write_scores(
        folder / "scores.safetensors",
        np.arange(3, dtype=np.float32),
        nodes=nodes,
        model="m",
        examples=3,
    )
    add_artifact("scores.safetensors", read_scores)
    write_alignment(
        folder / "alignment.safetensors",
        {"alignment": np.ones((3, 3), np.float32)},
        {"maps": ["free"], "source_nodes": list(nodes)},
    )
    add_artifact("alignment.safetensors", read_alignment)
    return kinds


def try_file(rng: random.Random, kind: tuple, folder: Path) -> str:
    """Change a valid file, its bytes or what it says, and read it."""
    valid, rows, read = kind
    folder.mkdir(exist_ok=True)
    path = folder / valid.name
    content = valid.read_bytes()
    if rows is not None and rng.random() < 0.6:
        content = _written(rng, rows, path) or content
    if rng.random() < 0.5 or content == valid.read_bytes():
        content = changed_bytes(rng, content)
    path.write_bytes(content)
    return outcome_of(lambda: read(path), valid.name)


def _written(rng: random.Random, rows, path: Path) -> bytes | None:
    """Return a file of its type with other rows, if these can be written so."""
    import polars as pl

    for _ in range(rng.choice((1, 1, 2, 4))):
        rows = changed_value(rng, rows, rows)
    try:
        if path.suffix == ".json":
            return json.dumps(rows).encode()
        if path.suffix == ".jsonl":
            lines = rows if isinstance(rows, list) else [rows]
            return "".join(json.dumps(line) + "\n" for line in lines).encode()
        frame = pl.DataFrame(rows, infer_schema_length=None, strict=False)
        if path.suffix == ".csv":
            return frame.write_csv().encode()
        frame.write_parquet(path)
        return path.read_bytes()
    except BaseException:  # noqa: B902
        return None  # no such file can be written: its bytes are changed instead


def changed_bytes(rng: random.Random, content: bytes) -> bytes:
    """Return bytes with a few places cut, doubled, overwritten or filled."""
    for _ in range(rng.choice((1, 1, 2, 5, 20))):
        start = rng.randrange(len(content) + 1)
        stop = min(len(content), start + rng.choice((1, 1, 4, 16, 200)))
        filling = rng.choice(
            (
                b"",
                rng.choice(SNIPPETS),
                rng.randbytes(stop - start),
                content[start:stop] * 2,
                content[: rng.randrange(len(content) + 1)],
            )
        )
        end = len(content) if rng.random() < 0.05 else stop
        content = content[:start] + filling + content[end:]
    return content


if __name__ == "__main__":
    main()
