import os
import shutil
import subprocess
import sys

import pytest
import torch
from hub_server import TOKEN, point_client_at, serve
from huggingface_hub import _tree_cache

from circuit_transfer.models import hub
from circuit_transfer.models.loading import load_model, load_tokenizer

CHECKPOINT = {"config.json", "model.safetensors", "tokenizer.json"}
NEVER = ("modeling_tiny.py", "pytorch_model.bin", "original/consolidated.00.pth")


@pytest.fixture
def server(monkeypatch, tmp_path):
    """An empty hub with an empty cache before it."""
    monkeypatch.delenv("HF_TOKEN", raising=False)
    with serve() as running:
        point_client_at(monkeypatch, running.url, tmp_path / "cache")
        yield running


@pytest.fixture
def offline(monkeypatch, server, tmp_path):
    """A function that cuts the network off."""
    return lambda: point_client_at(
        monkeypatch, server.url, tmp_path / "cache", offline=True
    )


@pytest.fixture(scope="session")
def saved(tiny_checkpoint):
    return tiny_checkpoint("llama", layers=1)


@pytest.fixture
def checkpoint(saved, tmp_path):
    """A copy of a checkpoint that a test may change."""
    return shutil.copytree(saved, tmp_path / "checkpoint")


def copy_without(checkpoint, *names):
    for name in names:
        (checkpoint / name).unlink()
    return checkpoint


def same_model(folder, other):
    pairs = zip(
        load_model(folder, device="cpu").state_dict().items(),
        load_model(other, device="cpu").state_dict().items(),
        strict=True,
    )
    return all(a == b and torch.equal(x, y) for (a, x), (b, y) in pairs)


def test_a_model_is_downloaded_as_it_was_pushed(server, saved):
    commit = server.push("lab/tiny", saved)
    folder, found = hub.download_model("lab/tiny")
    assert found == commit == folder.name
    assert same_model(folder, saved)
    text = "w3 w4: yes"
    assert load_tokenizer(folder).encode(text) == load_tokenizer(saved).encode(text)


def test_what_is_downloaded_is_counted_in_bytes(server, saved):
    server.push("lab/tiny", saved)
    folder = hub.check_model("lab/tiny")
    before = hub._cached_bytes(folder)
    hub.download_model("lab/tiny")
    weights = (saved / "model.safetensors").stat().st_size
    assert hub._cached_bytes(folder) - before == weights


def test_code_and_pickles_are_never_downloaded(server, checkpoint):
    (checkpoint / "original").mkdir()
    for name in (*NEVER, "consolidated.safetensors", "README.md"):
        (checkpoint / name).write_text("never to be read")
    server.push("lab/tiny", checkpoint)
    folder, _ = hub.download_model("lab/tiny")
    wanted = {*CHECKPOINT, "generation_config.json", "tokenizer_config.json"}
    assert server.files_asked() == wanted
    assert {path.name for path in folder.rglob("*")} == wanted


def test_of_shards_those_of_the_index_are_downloaded(
    server, tiny_model, checkpoint, saved
):
    copy_without(checkpoint, "model.safetensors")
    tiny_model("llama", layers=1).save_pretrained(checkpoint, max_shard_size="10KB")
    shards = {path.name for path in checkpoint.glob("*.safetensors")}
    assert len(shards) > 1
    (checkpoint / "consolidated.safetensors").write_text("the same again")
    server.push("lab/tiny", checkpoint)
    folder, _ = hub.download_model("lab/tiny")
    assert {path.name for path in folder.glob("*.safetensors")} == shards
    assert same_model(folder, saved)


def test_a_revision_is_a_branch_a_tag_or_a_commit(server, saved, tiny_checkpoint):
    old = server.push("lab/tiny", saved)
    server.push("lab/tiny", saved, revision="v1")
    new = server.push("lab/tiny", tiny_checkpoint("llama", layers=1, seed=1))
    assert new != old
    assert hub.download_model("lab/tiny")[1] == new
    assert hub.download_model("lab/tiny", "v1")[1] == old
    assert hub.download_model("lab/tiny", old)[0].name == old


def test_cached_files_are_not_requested_again(server, saved):
    commit = server.push("lab/tiny", saved)
    first = hub.download_model("lab/tiny")
    server.asked.clear()
    assert hub.download_model("lab/tiny", commit) == first
    assert server.asked == []
    assert hub.download_model("lab/tiny") == first
    assert server.files_asked() == set()


def forget_listings(cache):
    """Remove the listings of files, which older libraries do not cache."""
    for trees in cache.glob("*/trees"):
        shutil.rmtree(trees)
    _tree_cache._IN_MEMORY_TREE_CACHE.clear()


@pytest.mark.parametrize("old_cache", [False, True])
def test_the_cache_is_used_without_a_network(
    server, offline, saved, tmp_path, old_cache
):
    commit = server.push("lab/tiny", saved)
    first = hub.download_model("lab/tiny")
    offline()
    if old_cache:
        forget_listings(tmp_path / "cache")
    server.asked.clear()
    assert hub.download_model("lab/tiny") == first
    assert hub.download_model("lab/tiny", commit) == first
    assert server.asked == []


def test_a_partial_download_is_not_used_without_a_network(server, offline, saved):
    server.push("lab/tiny", saved)
    hub.check_model("lab/tiny")
    assert "model.safetensors" not in server.files_asked()
    offline()
    with pytest.raises(
        FileNotFoundError, match="lab/tiny@.*cannot be reached .*offline"
    ):
        hub.download_model("lab/tiny")


def test_a_partial_download_in_an_older_cache_is_not_used(
    server, offline, checkpoint, tiny_model, tmp_path
):
    copy_without(checkpoint, "model.safetensors")
    tiny_model("llama", layers=1).save_pretrained(checkpoint, max_shard_size="10KB")
    server.push("lab/tiny", checkpoint)
    folder, _ = hub.download_model("lab/tiny")
    last = sorted(folder.glob("*.safetensors"))[-1]
    last.unlink()
    forget_listings(tmp_path / "cache")
    offline()
    with pytest.raises(FileNotFoundError, match=f"no {last.name}, which"):
        hub.download_model("lab/tiny")


def test_an_unreachable_hub_is_named(monkeypatch, server, tmp_path):
    point_client_at(monkeypatch, "http://127.0.0.1:9", tmp_path / "empty")
    with pytest.raises(FileNotFoundError, match="refused.*give a folder as `path:`"):
        hub.check_model("lab/tiny", "v1")


def test_a_missing_repository_is_named(server):
    with pytest.raises(ValueError, match="^lab/tinny@main: no such model.*misspelt"):
        hub.check_model("lab/tinny")
    with pytest.raises(ValueError, match="expected owner/name"):
        hub.check_model("lab/tiny/1b")


def test_a_missing_revision_is_named(server, saved):
    server.push("lab/tiny", saved)
    for revision in ("v2", "0" * 40):
        with pytest.raises(ValueError, match=f"^lab/tiny@{revision}: no such revision"):
            hub.check_model("lab/tiny", revision)


def test_a_gated_model_requires_its_licence(server, saved, monkeypatch):
    server.push("lab/tiny", saved, gated=True)
    page = f"accept the licence at {server.url}/lab/tiny, .*hf auth login.*`path:`"
    with pytest.raises(ValueError, match=f"^lab/tiny@main: gated; {page}"):
        hub.check_model("lab/tiny")
    monkeypatch.setenv("HF_TOKEN", TOKEN)
    assert same_model(hub.download_model("lab/tiny")[0], saved)


def test_pickled_weights_are_refused_with_a_remedy(server, checkpoint):
    copy_without(checkpoint, "model.safetensors")
    (checkpoint / "pytorch_model.bin").write_text("os.system")
    server.push("lab/tiny", checkpoint)
    wanted = "lab/tiny@main: .*only pytorch_model.bin.*arbitrary code.*save_pretrained"
    with pytest.raises(FileNotFoundError, match=wanted):
        hub.download_model("lab/tiny")
    assert "pytorch_model.bin" not in server.files_asked()


def test_a_missing_tokenizer_is_named(server, checkpoint):
    server.push("lab/tiny", copy_without(checkpoint, "tokenizer.json"))
    with pytest.raises(FileNotFoundError, match=r"no tokenizer \(tokenizer.json\)"):
        hub.check_model("lab/tiny")


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("adapter_config.json", "{}", "an adapter .* beside the model: merge it"),
        ("quantize_config.json", "{}", "quantised weights .quantize_config.json.: use"),
        (
            "config.json",
            '{"model_type": "llama", "quantization_config": {"quant_method": "awq"}}',
            "quantization_config: quantised weights .awq.: use the unquantised",
        ),
    ],
)
def test_what_is_no_plain_model_is_named_before_its_weights(
    server, checkpoint, name, content, message
):
    (checkpoint / name).write_text(content)
    server.push("lab/tiny", checkpoint)
    with pytest.raises(ValueError, match=f"lab/tiny@main: .*{message}"):
        hub.check_model("lab/tiny")
    assert "model.safetensors" not in server.files_asked()


def test_an_adapter_alone_is_named(server, tmp_path):
    folder = tmp_path / "adapter"
    folder.mkdir()
    for name in ("adapter_config.json", "adapter_model.safetensors"):
        (folder / name).write_text("{}")
    server.push("lab/lora", folder)
    with pytest.raises(ValueError, match="lab/lora@main: an adapter .* instead of a"):
        hub.check_model("lab/lora")


def test_an_unknown_family_is_named_before_its_weights(server, checkpoint):
    (checkpoint / "config.json").write_text('{"model_type": "mamba"}')
    server.push("lab/tiny", checkpoint)
    with pytest.raises(ValueError, match="@main: .*'mamba' is not supported; known: "):
        hub.download_model("lab/tiny")
    assert "model.safetensors" not in server.files_asked()


def test_all_entries_are_checked_at_once(server, saved, dataset):
    server.push("lab/tiny", saved)
    server.push("lab/gated", saved, gated=True)
    good = {"hub": "lab/tiny", "revision": "main"}
    server.push("lab/rows", dataset, kind="datasets")
    rows = {"hub": "lab/rows", "revision": "main"}
    hub.check_entries({"good": good}, {"rows": rows})
    with pytest.raises(ValueError) as error:
        hub.check_entries(
            {"x": {"hub": "lab/no"}, "good": good, "y": {"hub": "lab/gated"}},
            {"rows": rows, "z": {"hub": "lab/none", "revision": "main"}},
        )
    lines = str(error.value).split("\n")
    keys = [line.split(":")[0] for line in lines]
    assert keys == ["models.x", "models.y", "tasks.z"]


@pytest.fixture
def dataset(tmp_path):
    """Rows of two configurations among other files."""
    folder = tmp_path / "dataset"
    for name in ("two/train.jsonl", "two/test.parquet", "four/train.json"):
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text(name)
    for name in ("load.py", "rows.pkl", "dataset_infos.json", "README.md"):
        (folder / name).write_text("{}")
    return folder


def test_rows_but_no_code_of_a_data_set_are_downloaded(server, dataset):
    commit = server.push("lab/rows", dataset, kind="datasets")
    folder = hub.download_dataset("lab/rows", commit)
    rows = {"two/train.jsonl", "two/test.parquet", "four/train.json"}
    assert server.files_asked() == {*rows, "README.md"}
    for name in rows:
        assert (folder / name).read_text() == name


def test_one_configuration_is_a_folder_of_the_data_set(server, offline, dataset):
    server.push("lab/rows", dataset, kind="datasets")
    folder = hub.download_dataset("lab/rows", configuration="two")
    assert {path.name for path in folder.iterdir()} == {"train.jsonl", "test.parquet"}
    offline()
    assert hub.download_dataset("lab/rows", configuration="two") == folder
    with pytest.raises(FileNotFoundError, match="into the cache"):
        hub.download_dataset("lab/rows", configuration="four")


def test_a_data_set_without_rows_is_named(server, dataset):
    server.push("lab/rows", dataset, kind="datasets")
    with pytest.raises(
        FileNotFoundError, match="in three; there are some in four, two"
    ):
        hub.download_dataset("lab/rows", configuration="three")
    for path in dataset.glob("*/*"):
        path.unlink()
    server.push("lab/empty", dataset, kind="datasets")
    with pytest.raises(FileNotFoundError, match="lab/empty@main: no .parquet"):
        hub.download_dataset("lab/empty")
    with pytest.raises(ValueError, match="lab/no@main: no such dataset on the hub"):
        hub.download_dataset("lab/no")


def test_the_environment_of_the_hub_s_client_is_used(server, saved, tmp_path):
    server.push("lab/tiny", saved)
    code = "from circuit_transfer.models import hub\n"
    code += "print(*hub.download_model('lab/tiny'))"
    environment = {**os.environ, "HF_ENDPOINT": server.url, "HF_HOME": str(tmp_path)}
    environment["PYTHONPATH"] = os.pathsep.join(sys.path)

    def run(**more):
        command = [sys.executable, "-c", code]
        done = subprocess.run(
            command, env={**environment, **more}, capture_output=True, text=True
        )
        assert done.returncode == 0, done.stderr
        return done.stdout

    first = run()
    assert str(tmp_path / "hub") in first
    server.asked.clear()
    assert run(HF_HUB_OFFLINE="1") == first
    assert server.asked == []
