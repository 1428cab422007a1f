"""What is read is never run: models, tokenizers, tables and tensors with payloads.

Every payload would make a file, `ran`. That the pickled ones do is tested first.
"""

import ast
import io
import json
import logging
import pickle
import pickletools
import re
import shutil
import sys
from pathlib import Path

import matplotlib
import numpy as np
import polars as pl
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import safetensors.torch
import yaml

from circuit_transfer.artifacts.alignments import read_alignment
from circuit_transfer.artifacts.frames import read_frame
from circuit_transfer.artifacts.scores import read_scores
from circuit_transfer.artifacts.tensors import read_tensors
from circuit_transfer.artifacts.text import read_json
from circuit_transfer.figures.style import panels, save
from circuit_transfer.importers import import_task
from circuit_transfer.jobs.job import job
from circuit_transfer.messages import quoted
from circuit_transfer.models.checkpoints import check_checkpoint
from circuit_transfer.models.description import describe_model
from circuit_transfer.models.loading import load_model, load_tokenizer
from circuit_transfer.tables.typesetting import Table, to_csv, to_html, to_tex

ROOT = Path(__file__).parents[2]
CODE_FILES = (
    "configuration_evil.py",
    "modeling_evil.py",
    "tokenization_evil.py",
    "modeling_llama.py",
    "evil/__init__.py",
    "custom_generate/generate.py",
)
HOSTILE = (
    "<script>document.title = 'ran'</script>",
    "<img src=x onerror=alert(1)>",
    "</td></table><h1>",
    r"\input{/etc/passwd}",
    r"\write18{touch ran} & % $ # _ { } ~ ^ \\",
    "[5pt] $x_{",
    "*",
    '=HYPERLINK("http://x", "y")',
    "+1+cmd|' /C calc'!A0",
    "@SUM(1)",
    "-2+3",
    "\t=1",
    "; touch ran; $(touch ran) `touch ran` | ran",
    "\x1b[31mred\x1b]0;title\x07\x00",
    "two\n\nlines\r",
    "\u202eright to left \U0001f600",
    "{0.__class__} %s {{snakemake.config}}",
)


class Payload:
    """Makes a file when it is unpickled."""

    def __init__(self, path):
        self.path = str(path)

    def __reduce__(self):
        return open, (self.path, "w")


@pytest.fixture
def ran(tmp_path):
    """The file that a payload makes; there must be none in the end."""
    path = tmp_path / "ran"
    yield path
    assert not path.exists(), "a payload was run"


@pytest.fixture(scope="module")
def checkpoint(tiny_checkpoint):
    return tiny_checkpoint("llama", layers=1)


@pytest.fixture
def folder(checkpoint, tmp_path):
    return shutil.copytree(checkpoint, tmp_path / "model")


def put(path, **settings):
    """Add settings to a JSON file."""
    there = json.loads(path.read_text()) if path.exists() else {}
    path.write_text(json.dumps(there | settings))


def readers_of(folder):
    """Read all of a checkpoint; return its only logits and its tokens."""
    import torch

    describe_model(folder)
    with torch.no_grad():
        logits = load_model(folder)(torch.tensor([[4, 5, 6]])).logits
    return logits, load_tokenizer(folder).encode("w1 w2")


def test_the_payloads_would_run(tmp_path):
    pickle.loads(pickle.dumps(Payload(tmp_path / "ran")))
    assert (tmp_path / "ran").exists()
    evil = "; ".join(op.name for op, *_ in pickletools.genops(pickle.dumps(Payload(1))))
    assert "REDUCE" in evil


# Models and tokenizers


SETTINGS = {
    "remote code": (
        "config.json",
        {
            "auto_map": {
                "AutoConfig": "configuration_evil.Evil",
                "AutoModelForCausalLM": "modeling_evil.Evil",
                "AutoTokenizer": ["tokenization_evil.Evil", "tokenization_evil.Evil"],
            },
            "architectures": ["EvilForCausalLM"],
            "trust_remote_code": True,
        },
    ),
    "code of a repository": (
        "config.json",
        {"auto_map": {"AutoModelForCausalLM": "evil/evil--modeling_evil.Evil"}},
    ),
    "tokenizer class": (
        "tokenizer_config.json",
        {
            "auto_map": {"AutoTokenizer": ["tokenization_evil.Evil"] * 2},
            "tokenizer_class": "Evil",
            "trust_remote_code": True,
        },
    ),
    "template": (
        "tokenizer_config.json",
        {"chat_template": "{{ cycler.__init__.__globals__.os.system('touch ran') }}"},
    ),
    "generation": (
        "generation_config.json",
        {"custom_generate": "evil/evil", "trust_remote_code": True},
    ),
}


@pytest.mark.parametrize("case", SETTINGS)
def test_code_beside_a_checkpoint_is_not_run(case, folder, checkpoint, ran):
    name, settings = SETTINGS[case]
    put(folder / name, **settings)
    for code in CODE_FILES:
        (folder / code).parent.mkdir(exist_ok=True)
        (folder / code).write_text(f"open({str(ran)!r}, 'w')\n")
    (folder / "chat_template.jinja").write_text(
        "{% for x in range(10**9) %}{% endfor %}"
    )
    found, plain = readers_of(folder), readers_of(checkpoint)
    assert found[0].equal(plain[0]) and found[1] == plain[1]


def test_code_that_an_adapter_names_is_not_run(folder, ran):
    put(
        folder / "adapter_config.json",
        base_model_name_or_path="evil/evil",
        peft_type="LORA",
        auto_mapping={"base_model_class": "Evil", "parent_library": "evil"},
    )
    (folder / "evil.py").write_text(f"open({str(ran)!r}, 'w')\n")
    with pytest.raises(ValueError, match="an adapter .* beside the model: merge it"):
        readers_of(folder)


@pytest.mark.parametrize(
    "name", ["pytorch_model.bin", "model.pt", "training_args.bin", "vocab.pkl", "x.npy"]
)
def test_pickles_beside_a_checkpoint_are_not_read(name, folder, checkpoint, ran):
    (folder / name).write_bytes(pickle.dumps(Payload(ran)))
    assert readers_of(folder)[0].equal(readers_of(checkpoint)[0])


def torch_pickle(payload):
    import torch

    file = io.BytesIO()
    torch.save({"weight": payload}, file)
    return file.getvalue()


@pytest.mark.parametrize("pickled", [pickle.dumps, torch_pickle])
@pytest.mark.parametrize("name", ["model.safetensors", "tokenizer.json", "config.json"])
def test_a_pickle_under_another_name_is_refused(name, pickled, folder, ran):
    (folder / name).write_bytes(pickled(Payload(ran)))
    with pytest.raises(Exception) as caught:  # noqa: PT011, B017
        readers_of(folder)
    assert not isinstance(caught.value, pickle.UnpicklingError)


@pytest.mark.parametrize("shard", ["pytorch_model.bin", "../x/model.safetensors", 3])
def test_an_index_names_safetensors_of_its_folder_alone(shard, folder, ran):
    (folder / "model.safetensors").unlink()
    (folder / "pytorch_model.bin").write_bytes(torch_pickle(Payload(ran)))
    put(folder / "model.safetensors.index.json", weight_map={"lm_head.weight": shard})
    with pytest.raises(ValueError, match=r"model.safetensors.index.json"):
        check_checkpoint(folder)


@pytest.mark.parametrize(
    "key",
    ["attn_implementation", "_attn_implementation", "_attn_implementation_internal"],
)
def test_an_attention_kernel_that_a_checkpoint_names_is_not_fetched(
    key, folder, checkpoint
):
    put(folder / "config.json", **{key: "evil/kernel"})
    assert readers_of(folder)[0].equal(readers_of(checkpoint)[0])


def test_hostile_metadata_of_weights_is_text(folder, checkpoint, ran):
    weights = safetensors.torch.load_file(folder / "model.safetensors")
    payload = pickle.dumps(Payload(ran), protocol=0).decode()
    metadata = {"format": "pickle", "__reduce__": payload, "\x1b[31m": HOSTILE[0]}
    safetensors.torch.save_file(weights, folder / "model.safetensors", metadata)
    assert readers_of(folder)[0].equal(readers_of(checkpoint)[0])


# Tables and tensors


def test_the_extension_types_of_a_parquet_file_are_not_unpickled(tmp_path, ran):
    column = pa.array(["a"])
    fields = [
        pa.field(
            name,
            pa.string(),
            metadata={
                b"ARROW:extension:name": kind,
                b"ARROW:extension:metadata": pickle.dumps(Payload(ran)),
            },
        )
        for name, kind in (
            ("clean", b"arrow.py_extension_type"),
            ("corrupted", b"polars.python_object"),
            ("answer", b"pandas.object"),
            ("wrong_answer", b"pickle"),
        )
    ]
    pickled = pickle.dumps(Payload(ran))
    schema = pa.schema(fields, metadata={b"pandas": pickled, b"evil": pickled})
    path = tmp_path / "x.parquet"
    pq.write_table(pa.table([column] * 4, schema=schema), path)
    for read in (
        lambda: import_task({"file": "x"}, path),
        lambda: read_frame(path),
    ):
        try:
            read()
        except ValueError as error:
            assert str(path) in str(error)


def test_a_cell_with_a_pickle_is_no_text(tmp_path, ran):
    cells = dict.fromkeys(("clean", "corrupted", "answer", "wrong_answer"), "x")
    frame = pl.DataFrame([cells | {"clean": pickle.dumps(Payload(ran))}])
    frame.write_parquet(tmp_path / "x.parquet")
    with pytest.raises(ValueError, match="row 1, column clean: expected text"):
        import_task({"file": "x"}, tmp_path / "x.parquet")


def test_pickles_and_arrays_are_no_artifacts(tmp_path, ran):
    array = io.BytesIO()
    np.save(array, np.array([Payload(ran)], dtype=object), allow_pickle=True)
    readers = (
        read_scores,
        read_alignment,
        read_tensors,
        read_frame,
        read_json,
    )
    contents = (
        array.getvalue(),
        pickle.dumps(Payload(ran)),
        torch_pickle(Payload(ran)),
    )
    for content in contents:
        path = tmp_path / "file"
        path.write_bytes(content)
        for read in readers:
            with pytest.raises(ValueError, match="file: not a"):
                read(path)


DIGITS = "9" * 5000


@pytest.mark.parametrize(
    ("name", "content", "entry"),
    [
        ("x.jsonl", f'{{"clean": {DIGITS}}}', {"file": "x"}),
        ("x.json", f'{{"prompts": {DIGITS}}}', {"file": "x", "format": "auto-circuit"}),
        ("x.json", "[" * 100_000, {"file": "x", "format": "auto-circuit"}),
        ("x.jsonl", f'"{DIGITS}"', {"file": "x"}),
        ("x.csv", "clean\n" + "a,b,c\n" * 9999, {"file": "x"}),
    ],
)
def test_what_is_too_long_to_be_read_is_refused_in_few_words(
    name, content, entry, tmp_path
):
    (tmp_path / name).write_text(content)
    with pytest.raises(ValueError, match=name) as caught:
        import_task(entry, tmp_path / name)
    assert len(str(caught.value)) < 1000


def test_numbers_of_thousands_of_digits_are_no_token_ids_and_no_years(tmp_path):
    rows = [{"clean": "from 1352 to 13", "corrupted": "b"} | {"correct_idx": DIGITS}]
    for more in ({}, {"incorrect_idx": "[" * 100_000}):
        pl.DataFrame([rows[0] | more]).write_parquet(tmp_path / "x.parquet")
        entry = {"file": "x", "format": "eap-ig"}
        imported = import_task(entry, tmp_path / "x.parquet")
        assert imported.rejects["row"].to_list() == [1]
        assert len(imported.rejects["reason"][0]) < 1000


def test_a_parquet_column_of_lists_in_lists_is_refused_before_it_is_read(tmp_path):
    """Polars takes twice as long for every level: with 150 it would never end."""
    cell = ["deep"]
    for _ in range(30):
        cell = [{"inner": cell}]
    pl.DataFrame({"clean": [cell]}).write_parquet(tmp_path / "x.parquet")
    with pytest.raises(ValueError, match="'clean': 62 levels of nested values"):
        import_task({"file": "x"}, tmp_path / "x.parquet")


@pytest.mark.parametrize("tag", ["python/object/apply:os.system", "python/name:os"])
def test_objects_of_python_are_not_made_from_yaml(tag):
    with pytest.raises(yaml.constructor.ConstructorError):
        yaml.safe_load(f"study: !!{tag} ['touch ran']")


# What is shown


@pytest.mark.parametrize("text", HOSTILE)
def test_a_page_shows_text_as_text(text):
    table = Table(
        pl.DataFrame({text: [text]}), labels=1, note=text, explanations={text: text}
    )
    page = to_html(table, title=text)
    plain = to_html(
        Table(pl.DataFrame({"x": ["x"]}), labels=1, note="x", explanations={"x": "x"}),
        title="x",
    )
    tags = r"<[^>]*>"
    assert re.findall(tags, page) == re.findall(tags, plain)


@pytest.mark.parametrize("text", HOSTILE)
def test_tex_has_no_commands_but_our_own(text):
    found = to_tex(Table(pl.DataFrame({"x": [text] * 2, "y": [text] * 2}), labels=2))
    for command in re.findall(r"\\([a-zA-Z]+|.)", found.replace("\\\\\n", "\n")):
        assert command in OURS, command
    body = found.split("\\midrule\n")[1].split("\\bottomrule")[0]
    rows = body.split(" \\\\\n")
    assert rows.pop() == "" and len(rows) == 2
    for row in rows:
        assert len(re.findall(r"(?<!\\)&", row)) == 1
        assert row[0] not in "[*"
        assert row.isprintable()
        assert not re.search(r"(?<!\\)[%#]", row)
        assert len(re.findall(r"(?<!\\)\{", row)) == len(re.findall(r"(?<!\\)\}", row))
        assert len(re.findall(r"(?<!\\)\$", row)) % 2 == 0


OURS = {
    *("begin", "end", "toprule", "midrule", "bottomrule", "to", "pm", "dagger"),
    *("ddagger", "textbackslash", "textasciitilde", "textasciicircum"),
    *("{", "}", "&", "%", "$", "#", "_"),
}


@pytest.mark.parametrize("text", HOSTILE)
def test_a_spreadsheet_computes_nothing_from_a_csv(text):
    found = to_csv(Table(pl.DataFrame({"x": [text], "number": [-1.5]}), labels=1))
    cell, number = pl.read_csv(found.encode(), infer_schema=False).row(0)
    assert cell.removeprefix("'") == text and number == "-1.5"
    assert cell[0] not in "=+-@\t\r"


@pytest.mark.parametrize("text", HOSTILE)
def test_a_message_is_one_line_without_orders_to_a_terminal(text):
    shown = quoted(text)
    assert shown.isprintable() and len(quoted(text * 1000)) < 1500


def test_a_log_gives_no_orders_to_a_terminal(tmp_path, capsys):
    path = tmp_path / "x.log"
    with pytest.raises(SystemExit), job(path, "x"):
        logging.getLogger("x").info("read %s", "\x1b[31m\u202e.csv")
        raise ValueError("no file \x1b]0;title\x07")
    for text in (path.read_text(), capsys.readouterr().err):
        assert r"read \x1b[31m\u202e.csv" in text and r"\x1b]0;title\x07" in text
        assert all(line.isprintable() for line in text.split("\n"))


@pytest.mark.parametrize("text", ["$x_{", "$", r"\$\frac{$", "$a$"])
def test_a_figure_shows_a_dollar_as_a_dollar(text, tmp_path):
    figure, (axes,) = panels(1, columns=1, width=2, height=2)
    axes.set_title(text)
    axes.plot([1, 1000], [1, 2], label=text)
    axes.set_xscale("log")
    axes.legend()
    save(figure, tmp_path / "x.png")
    shown = [each for each in figure.findobj(matplotlib.text.Text) if each.get_text()]
    formulas = {each.get_text() for each in shown if each.get_parse_math()}
    assert text not in formulas
    assert any("mathdefault" in each for each in formulas), "powers of ten are formulas"


# What the code never does


SOURCES = sorted([*(ROOT / "workflow").rglob("*.py")])
RULES = sorted([ROOT / "Snakefile", *(ROOT / "workflow").rglob("*.smk")])
UNPICKLERS = {"pickle", "cPickle", "shelve", "joblib", "marshal", "dill", "cloudpickle"}
FORBIDDEN = {
    *("eval", "exec", "compile", "__import__", "os.system", "os.popen", "os.execv"),
    *("torch.load", "torch.hub.load", "np.load", "numpy.load", "np.fromfile"),
    *(
        "yaml.load",
        "yaml.unsafe_load",
        "yaml.full_load",
        "pl.read_ipc",
        "pd.read_pickle",
    ),
    *("importlib.import_module", "jinja2.Template", "subprocess.getoutput"),
}


def called(node):
    """Return the dotted name that a call is of."""
    return ast.unparse(node.func) if isinstance(node, ast.Call) else ""


@pytest.mark.parametrize("path", SOURCES, ids=lambda path: path.stem)
def test_no_module_runs_what_it_reads(path):
    for node in ast.walk(ast.parse(path.read_text())):
        names = {
            alias.name
            for alias in getattr(node, "names", ()) or ()
            if isinstance(alias, ast.alias)
        }
        names.add(getattr(node, "module", None))
        roots = {name.split(".")[0] for name in names if name}
        assert not roots & (UNPICKLERS | {"subprocess", "jinja2"}) or names == {
            "CalledProcessError",
            "subprocess",
        }
        name = called(node)
        assert name not in FORBIDDEN, name
        for keyword in getattr(node, "keywords", ()):
            value = getattr(keyword.value, "value", None)
            assert (keyword.arg, value) not in {
                ("shell", True),
                ("trust_remote_code", True),
                ("allow_pickle", True),
                ("use_safetensors", False),
            }


def test_every_reader_of_transformers_says_no_to_remote_code():
    calls = [
        node
        for path in SOURCES
        for node in ast.walk(ast.parse(path.read_text()))
        if called(node).endswith(".from_pretrained")
    ]
    assert calls
    for call in calls:
        settings = {k.arg: getattr(k.value, "value", None) for k in call.keywords}
        assert settings["local_files_only"] is True
        # The tokenizer's class is given, so that none is looked for.
        if not called(call).startswith("PreTrainedTokenizerFast"):
            assert settings["trust_remote_code"] is False


@pytest.mark.parametrize("path", RULES, ids=lambda path: path.stem)
def test_no_rule_has_a_shell(path):
    text = path.read_text()
    assert not re.search(
        r"^\s*(shell|run|notebook|wrapper|cwl)\s*:", text, re.MULTILINE
    )
    assert not re.search(r"\b(shell|eval|exec|system|popen)\(", text)
    scripts = re.findall(r"script:\s+(.+)", text)
    assert all(re.fullmatch(r'"\.\./scripts/\w+\.py"', each) for each in scripts)


def test_the_checks_of_the_code_see_what_they_look_for():
    """Of code that does it, everything is found."""
    bad = "import pickle\nimport torch\ntorch.load(x)\nf(shell=True)\neval(x)\n"
    nodes = [*ast.walk(ast.parse(bad))]
    assert {called(node) for node in nodes} & FORBIDDEN == {"torch.load", "eval"}
    assert sys.version_info >= (3, 11)
