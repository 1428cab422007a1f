import json
import shutil
from copy import deepcopy

import pytest
from gguf_models import tiny_model, write_gguf

from circuit_transfer.study.checks import check_benchmark, check_config, studied_models
from circuit_transfer.study.validation import nearest

TRAIN = {"layers": 2, "heads": 4, "kv_heads": 2, "d_model": 32}
TRAIN |= {"generators": ["ioi", "mcqa"]}
CONFIG = {
    "study": {
        "tasks": ["ioi", "mine"],
        "models": [],
        "methods": ["nap"],
        "edge_methods": [],
        "transfers": [{"source": "small", "target": "large"}],
        "siblings": [["ioi", "mcqa"]],
        "families": {"choice": ["mcqa"], "unused": ["theirs"]},
    },
    "models": {
        "small": {"train": TRAIN},
        "large": {"path": "models/large"},
        "unused": {"path": "nowhere"},
    },
    "tasks": {
        "ioi": {"generator": "ioi"},
        "mcqa": {"generator": "mcqa"},
        "mine": {"file": "mine.csv"},
        "unused": {"file": "nowhere.csv"},
        "theirs": {"mib": "ioi", "path": "mib"},
    },
    "attribution": {"ablation": "counterfactual", "grid": "right", "verify": 0},
    "alignment": {
        "map": "free",
        "compare": [],
        "prior": {"correspondence": "cka"},
        "edges": {"methods": []},
    },
    "pruning": {"sizes": [0.1, 0.05], "ablation": "counterfactual"},
    "sensitivity": {},
    "benchmark": {},
    "evaluation": {"proportions": [0.1, 0.5, 1.0], "circuits": {}, "heads": {}},
}


# A safetensors file without a tensor: the length of the header, and the header.
WHOLE = b"\x02\0\0\0\0\0\0\0{}"


@pytest.fixture
def folder(tmp_path):
    checkpoint = tmp_path / "models/large"
    checkpoint.mkdir(parents=True)
    (checkpoint / "model.safetensors").write_bytes(WHOLE)
    (checkpoint / "tokenizer.json").write_text("{}")
    (checkpoint / "config.json").write_text('{"model_type": "llama"}')
    (tmp_path / "mine.csv").write_text("clean,corrupted,answer,wrong_answer\na,b,c,d")
    return tmp_path


def test_good_config_passes_whatever_lies_in_unused_entries(folder):
    check_config(CONFIG, folder)


def test_study_of_attribution_alone_passes(folder):
    config = deepcopy(CONFIG)
    config["study"].update(models=["large"], transfers=[], siblings=[])
    check_config(config, folder)


def test_files_may_lie_in_any_of_the_directories(folder, tmp_path_factory):
    check_config(CONFIG, tmp_path_factory.mktemp("elsewhere"), folder)


def test_relative_paths_start_in_the_working_directory(folder, monkeypatch):
    monkeypatch.chdir(folder)
    check_config(CONFIG)


@pytest.mark.parametrize(
    ("keys", "value", "message"),
    [
        (
            "study.tasks",
            ["iio"],
            "study.tasks: no task .* 'iio'; did you mean 'ioi'",
        ),
        (
            "study.models",
            ["larg"],
            "study.models: no model .* 'larg'; did you mean 'large'",
        ),
        ("study.models", ["unused"], "models.unused.path: no folder nowhere in /"),
        (
            "study.transfers",
            [{"source": "smal", "target": "large"}],
            "study.transfers.source: no model .* 'smal'; did you mean 'small'",
        ),
        (
            "study.transfers",
            [{"source": "small", "target": "xyz"}],
            "study.transfers.target: no model .* 'xyz'; known: small, large, unused",
        ),
        (
            "study.transfers",
            [{"source": "small", "target": "small"}],
            "study.transfers: 'small' is both source and target",
        ),
        (
            "study.siblings",
            [["ioi", "mqca"]],
            "study.siblings: no task .* 'mqca'; did you mean 'mcqa'",
        ),
        (
            "study.siblings",
            [["ioi", "mcqa"], ["mine", "ioi"]],
            "study.siblings: 'ioi' is in two pairs",
        ),
        (
            "study.families",
            {"choice": ["mqca"]},
            "study.families.choice: no task .* 'mqca'; did you mean 'mcqa'",
        ),
        (
            "study.families",
            {"one": ["mcqa"], "two": ["mcqa"]},
            "study.families.two: 'mcqa' is in 'one' too; expected one family a task",
        ),
        (
            "study.families",
            {"ioi": ["mine"]},
            "study.families: 'ioi' is a task of another family",
        ),
        (
            "evaluation.proportions",
            [0.1, 0.5, 0.5, 1.0],
            "evaluation.proportions: 0.5 comes before 0.5",
        ),
        (
            "models.small",
            {},
            "models.small: expected either `path`, `hub`, `gguf`, `train` or "
            "`planted`$",
        ),
        (
            "models.small.path",
            "models/large",
            "models.small: expected either `path`, `hub`, `gguf`, `train` or "
            "`planted`, but 2 are given: `path`, `train`$",
        ),
        (
            "models.small.train.d_model",
            30,
            "models.small.train.d_model: 30 .* multiple of 8",
        ),
        (
            "models.small.train.d_model",
            36,
            "models.small.train.d_model: 36 .* multiple of 8",
        ),
        (
            "models.small.train.kv_heads",
            3,
            "models.small.train.kv_heads: 3 does not divide .* 4",
        ),
        (
            "models.small.train.generators",
            ["ioy"],
            "models.small.train.generators: no generator is called 'ioy'",
        ),
        ("tasks.ioi", {}, "tasks.ioi: expected either `generator`, `file` or `mib`"),
        (
            "tasks.ioi.generator",
            "arithmetic",
            "tasks.ioi.generator: no generator .* did you mean 'arithmetic-",
        ),
        (
            "tasks.ioi.counterfactual",
            "other-operands",
            "tasks.ioi.counterfactual: no counterfactual of ioi .* 'other-operands'",
        ),
        ("tasks.mine.file", "mine.txt", "tasks.mine.file: 'mine.txt'; .* .parquet"),
        (
            "tasks.mine.file",
            "mine.XLSX",
            "tasks.mine.file: 'mine.XLSX'; .* .* \"CSV UTF-8\"$",
        ),
        (
            "tasks.mine.file",
            "mine.csv.zip",
            "tasks.mine.file: 'mine.csv.zip'; .*; unpack it first$",
        ),
        (
            "tasks.mine.format",
            "auto-circuit",
            "tasks.mine.file: 'mine.csv'; .* ends in .json for the format auto-circuit",
        ),
        ("models.large.revision", "main", "models.large.revision: only a `hub` model"),
        ("tasks.theirs.hub", "a/b", "tasks.theirs: expected either `path` or `hub`"),
        (
            "tasks.theirs",
            {"mib": "ioi", "hub": "a/b"},
            "tasks.theirs.revision: missing",
        ),
        ("tasks.theirs.revision", "main", "tasks.theirs.revision: only a `hub` data"),
        ("study.tasks", ["theirs"], "tasks.theirs.path: no file or folder mib in /"),
        (
            "evaluation.circuits",
            {"found": {"importances": "x.json", "target": "small", "task": "ioi"}},
            "evaluation.circuits.found.target: no target of the study .* 'small'",
        ),
        (
            "evaluation.circuits",
            {"found": {"importances": "x.json", "target": "large", "task": "mcqa"}},
            "evaluation.circuits.found.task: no studied task is called 'mcqa'",
        ),
        (
            "evaluation.circuits",
            {"nap": {"importances": "x.json", "target": "large", "task": "ioi"}},
            "evaluation.circuits.nap: 'nap' is a method",
        ),
        (
            "evaluation.circuits",
            {"found": {"importances": "x.json", "target": "large", "task": "ioi"}},
            "evaluation.circuits.found.importances: no file x.json in /",
        ),
        (
            "evaluation.heads",
            {"larg": ["a0.h0"]},
            "evaluation.heads: no model of the study is called 'larg'; did you mean "
            "'large'",
        ),
        ("tasks.mine.file", "none.csv", "tasks.mine.file: no file none.csv in /"),
        ("models.large.path", "none", "models.large.path: no folder none in /"),
        (
            "models.large",
            {"gguf": "none.gguf"},
            "models.large.gguf: no file none.gguf in /",
        ),
        (
            "models.large",
            {"gguf": "models"},
            "models.large.gguf: .*models is a folder; expected a file",
        ),
    ],
)
def test_broken_rule_is_named_with_key_and_value(folder, keys, value, message):
    config = deepcopy(CONFIG)
    *path, last = keys.split(".")
    entry = config
    for key in path:
        entry = entry[key]
    entry[last] = value
    with pytest.raises(ValueError, match=f"^{message}"):
        check_config(config, folder)


@pytest.mark.parametrize(
    ("entry", "head", "last"),
    [
        ({"train": TRAIN}, "a2.h0", "a1.h3"),
        ({"train": TRAIN}, "a1.h4", "a1.h3"),
        ({"planted": {"construction": "induction"}}, "a0.h2", "a1.h1"),
        ({"planted": {"construction": "gates"}}, "a3.h0", "a2.h3"),
        ({"planted": {"construction": "relays", "layers": 5}}, "a5.h0", "a4.h3"),
        ({"path": "models/large"}, "a5.h2", "a5.h1"),
        ({"path": "models/older"}, "a0.h3", "a6.h2"),
        ({"gguf": "small.gguf"}, "a0.h4", "a1.h3"),
    ],
)
def test_a_head_that_a_model_does_not_have_is_refused(folder, entry, head, last):
    sizes = {"num_hidden_layers": 6, "num_attention_heads": 2}
    settings = folder / "models/large/config.json"
    settings.write_text(json.dumps({"model_type": "llama", **sizes}))
    older = shutil.copytree(folder / "models/large", folder / "models/older")
    sizes = {"n_layer": 7, "n_head": 3}
    (older / "config.json").write_text(json.dumps({"model_type": "gpt2", **sizes}))
    write_gguf(folder / "small.gguf", tiny_model("llama"), "llama")
    config = deepcopy(CONFIG)
    config["models"]["large"] = entry
    config["evaluation"]["heads"] = {"small": ["a1.h3"], "large": ["a0.h0", head]}
    message = f"evaluation.heads.large: '{head}' is not a head of the model; expected"
    with pytest.raises(ValueError, match=f"^{message} one of its .* a0.h0 to {last}$"):
        check_config(config, folder)
    config["evaluation"]["heads"]["large"] = [last]
    check_config(config, folder)


@pytest.mark.parametrize("entry", [{"hub": "a/b"}, {"path": "models/large"}])
def test_heads_are_left_to_the_job_where_sizes_are_not_known(folder, entry):
    config = deepcopy(CONFIG)
    config["models"]["large"] = entry
    config["evaluation"]["heads"] = {"large": ["a99.h0"]}
    check_config(config, folder)


def test_a_tokenizer_that_ends_every_text_with_a_token_is_refused(folder):
    settings = folder / "models/large/tokenizer_config.json"
    settings.write_text('{"add_eos_token": true, "eos_token": "</s>"}')
    message = "^models.large.path: .*large: the tokenizer puts '</s>' after every text"
    with pytest.raises(ValueError, match=message):
        check_config(CONFIG, folder)
    settings.write_text('{"add_eos_token": false, "eos_token": "</s>"}')
    check_config(CONFIG, folder)


@pytest.mark.parametrize("name", ["config.json", "model.safetensors", "tokenizer.json"])
def test_incomplete_checkpoint_names_the_missing_file(folder, name):
    (folder / "models/large" / name).unlink()
    with pytest.raises(ValueError, match=f"^models.large.path: .*large: no .*{name}"):
        check_config(CONFIG, folder)


def test_pickled_weights_are_refused_with_the_way_out(folder):
    weights = folder / "models/large/model.safetensors"
    weights.rename(weights.with_name("pytorch_model.bin"))
    with pytest.raises(ValueError, match="^models.large.path: .*save_pretrained"):
        check_config(CONFIG, folder)


@pytest.mark.parametrize(
    ("written", "message"),
    [
        ('{"model_type": "mamba"}', "'mamba' is not supported; known: gemma2, "),
        ("{}", "None is not supported"),
        ('{"model_type": ', "config.json: not a JSON file"),
    ],
)
def test_a_model_of_no_known_family_is_refused(folder, written, message):
    (folder / "models/large/config.json").write_text(written)
    with pytest.raises(ValueError, match=f"^models.large.path: .*{message}"):
        check_config(CONFIG, folder)


def test_sharded_weights_are_weights(folder):
    weights = folder / "models/large/model.safetensors"
    weights.rename(weights.with_name("part.safetensors"))
    index = weights.with_name("model.safetensors.index.json")
    index.write_text('{"weight_map": {"norm": "part.safetensors"}}')
    check_config(CONFIG, folder)
    index.write_text('{"weight_map": {"norm": "rest.safetensors"}}')
    message = (
        "models.large.path: .*large: no rest.safetensors, which .*index.json names"
    )
    with pytest.raises(ValueError, match=f"^{message}"):
        check_config(CONFIG, folder)


def test_nearest_gives_the_likeliest_name_or_all():
    assert nearest("ioo", ["mcqa", "ioi"]) == "did you mean 'ioi'?"
    assert nearest("xyz", ["mcqa", "ioi"]) == "known: mcqa, ioi"


def test_a_task_may_not_be_called_like_a_column(folder):
    config = deepcopy(CONFIG)
    config["tasks"]["mean"] = {"generator": "ioi"}
    config["study"]["tasks"] = ["mean"]
    with pytest.raises(ValueError, match="study.tasks: 'mean' is the name of a column"):
        check_config(config, folder)


def test_a_study_that_names_no_model_is_about_all():
    study = {"transfers": [], "models": []}
    assert studied_models(study, {"a": {}, "b": {}}) == ["a", "b"]
    assert studied_models(study | {"models": ["b"]}, {"a": {}, "b": {}}) == ["b"]


def test_a_family_of_tasks_that_are_not_studied_takes_no_name(folder):
    config = deepcopy(CONFIG)
    config["study"].update(tasks=["ioi"], families={"ioi": ["mcqa"]}, siblings=[])
    check_config(config, folder)


def test_a_task_may_not_read_as_a_family(folder):
    config = deepcopy(CONFIG)
    config["tasks"]["family-x"] = {"generator": "ioi"}
    config["study"]["tasks"] = ["family-x"]
    with pytest.raises(ValueError, match="'family-x' would read as a family"):
        check_config(config, folder)


def test_integrated_inputs_need_corrupted_prompts(folder):
    config = deepcopy(CONFIG)
    config["attribution"]["ablation"] = "zero"
    check_config(config, folder)
    config["study"]["methods"] = ["nap", "nap-ig-inputs"]
    with pytest.raises(ValueError, match="'zero' with nap-ig-inputs"):
        check_config(config, folder)


@pytest.mark.parametrize(
    ("study", "attribution", "message"),
    [
        (
            {"methods": [], "transfers": [], "edge_methods": []},
            {},
            "study.methods: no method, .* study.edge_methods is empty too",
        ),
        (
            {"methods": [], "edge_methods": ["eap"]},
            {},
            "study.methods: no method, .* transfers are of scores of nodes",
        ),
        (
            {"edge_methods": ["eap", "eap-conductance"]},
            {"ablation": "mean"},
            r"attribution.ablation: ablation 'mean' with eap-conductance \(changes .*; "
            "expected the ablation counterfactual, or one of the methods eap, eap-gim, "
            "eap-exact$",
        ),
        (
            {"edge_methods": ["eap-exact"]},
            {"verify": 100},
            "attribution.verify: 100 edges of .* but study.edge_methods has eap-exact; "
            "expected eap or .* or eap-gim among them, or 0$",
        ),
        (
            {},
            {"verify": 100},
            "attribution.verify: 100 edges .* but study.edge_methods is empty; ",
        ),
        (
            {"edge_methods": ["eap", "eap-gim"]},
            {"grid": "left"},
            "attribution.grid: 'left' .* study.edge_methods has eap and eap-gim, .*; "
            "expected eap-ig-inputs or eap-ig-activations or eap-conductance among",
        ),
    ],
)
def test_settings_of_edges_without_a_method_for_them_are_named(
    folder, study, attribution, message
):
    config = deepcopy(CONFIG)
    config["study"].update(study)
    config["attribution"].update(attribution)
    with pytest.raises(ValueError, match=f"^{message}"):
        check_config(config, folder)


@pytest.mark.parametrize(
    ("methods", "attribution"),
    [
        ([], {"grid": "mid"}),
        (["eap", "eap-conductance"], {"grid": "mid", "verify": 10}),
        (["eap", "eap-gim", "eap-exact"], {"ablation": "zero", "verify": 10}),
    ],
)
def test_settings_of_edges_are_those_of_some_method(folder, methods, attribution):
    config = deepcopy(CONFIG)
    config["study"]["edge_methods"] = methods
    config["attribution"].update(attribution)
    check_config(config, folder)
    alone = {"methods": [], "transfers": [], "models": ["large"]}
    if methods:
        check_config(config | {"study": config["study"] | alone}, folder)


def steps_compared(*values, methods=("nap", "nap-ig-inputs")):
    """The configuration with numbers of steps to compare; it has 10 itself."""
    attribution = CONFIG["attribution"] | {"ig_steps": 10}
    study = CONFIG["study"] | {"methods": list(methods)}
    sensitivity = {"ig_steps": list(values)}
    return CONFIG | {
        "study": study,
        "attribution": attribution,
        "sensitivity": sensitivity,
    }


def test_several_numbers_of_steps_in_any_order_are_compared(folder):
    for values in ([5], [40, 5, 20], [10, 5]):
        check_config(steps_compared(*values), folder)


def test_one_number_of_steps_is_nothing_to_compare(folder):
    message = (
        "^sensitivity.ig_steps: 10 alone, which is attribution.ig_steps too; expec"
    )
    with pytest.raises(ValueError, match=message):
        check_config(steps_compared(10), folder)


def test_methods_without_steps_have_no_numbers_of_them(folder):
    message = (
        r"^sensitivity.ig_steps: no method of study.methods \(nap, exact\) integrates "
        "over steps; expected nap-ig-inputs or nap-ig-activations among them"
    )
    with pytest.raises(ValueError, match=message):
        check_config(steps_compared(5, methods=("nap", "exact")), folder)


@pytest.mark.parametrize(
    ("families", "others"),
    [
        ({}, "2; expected at most 2"),
        ({"one": ["ioi", "mcqa", "mine"]}, "0; expected t"),
    ],
)
def test_no_more_families_are_trained_on_than_there_are(folder, families, others):
    study = {"tasks": ["ioi", "mcqa", "mine"], "families": families}
    config = CONFIG | {"study": CONFIG["study"] | study}
    message = "^sensitivity.training_families: 3, but without the evaluated one the "
    with pytest.raises(ValueError, match=f"{message}study has {others}"):
        check_config(config | {"sensitivity": {"training_families": [1, 3]}}, folder)
    if not families:
        config["sensitivity"] = {"training_families": [2, 1]}
        check_config(config, folder)


def test_grids_of_the_sensitivity_must_increase_too(folder):
    config = CONFIG | {"sensitivity": {"proportions": {"dense": [0.1, 0.1]}}}
    with pytest.raises(ValueError, match=r"^sensitivity.proportions.dense: 0.1 comes"):
        check_config(config, folder)


@pytest.mark.parametrize(
    ("entry", "message"),
    [
        ({}, "^benchmark.b: expected either `model` or `shape`"),
        ({"model": "small", "shape": {}}, "^benchmark.b: expected either"),
        ({"model": "tiny"}, "^benchmark.b.model: no model .* 'tiny'; known: small$"),
        ({"model": "small", "scaling": {"heads": [2]}}, "^benchmark.b.scaling.heads: "),
        (
            {"shape": {"heads": 4, "kv_heads": 3, "d_model": 32}},
            "^benchmark.b.shape.kv_heads: 3 does not divide the number of heads, 4",
        ),
    ],
)
def test_an_impossible_benchmark_is_named(entry, message):
    entry = {"scaling": {}} | entry
    with pytest.raises(ValueError, match=message):
        check_benchmark("benchmark.b", entry, {"small": {}})


def test_models_that_are_known_may_be_measured():
    scaling = {"positions": [4, 8]}
    check_benchmark("benchmark.a", {"model": "small", "scaling": scaling}, {"small": 0})
    shape = {"heads": 4, "kv_heads": 2, "d_model": 32}
    check_benchmark("benchmark.b", {"shape": shape, "scaling": {"layers": [2]}}, {})


def test_the_files_of_a_parent_are_checked_and_its_sizes_are_read(folder):
    config = deepcopy(CONFIG)
    own = {"init": {"prune": "unused", "keep": {"layers": 3}}, "generators": ["ioi"]}
    config["models"]["small"] = {"train": own}
    with pytest.raises(ValueError, match="^models.unused.path: no folder nowhere"):
        check_config(config, folder)
    own["init"]["prune"] = "large"
    check_config(config, folder)
    sizes = '"num_attention_heads": 4, "hidden_size": 16, "num_hidden_layers": 2'
    file = folder / "models/large/config.json"
    file.write_text(f'{{"model_type": "llama", {sizes}}}')
    message = "^models.small.train.init: layers: 3, expected at most the 2 "
    with pytest.raises(ValueError, match=message):
        check_config(config, folder)
    file.write_text("[]")
    with pytest.raises(ValueError, match="^models.large.path: .*config.json"):
        check_config(config, folder)
