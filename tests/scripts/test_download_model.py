import pytest
from describe_model import describe_model
from download_model import download_model
from hub_server import point_client_at, serve

from circuit_transfer.artifacts.text import read_json
from circuit_transfer.models.loading import load_described


@pytest.fixture
def server(monkeypatch, tmp_path):
    with serve() as running:
        point_client_at(monkeypatch, running.url, tmp_path / "cache")
        yield running


def test_a_downloaded_model_is_described_with_its_origin(
    server, tiny_checkpoint, tmp_path
):
    commit = server.push("lab/tiny", tiny_checkpoint("qwen2", layers=1), revision="v1")
    record, path = tmp_path / "download.json", tmp_path / "model.json"
    download_model(record, repository="lab/tiny", revision="v1")
    origin = {"repository": "lab/tiny", "revision": "v1", "commit": commit}
    found = read_json(record)
    assert found == {**origin, "folder": found["folder"]}
    load = {"dtype": "bfloat16"}
    names = {"model": "tiny", "checkpoint": None, "load": load}
    describe_model(path, **names, record_path=record)
    described = read_json(path)
    assert described["hub"] == origin
    assert described["path"] == found["folder"]
    assert load_described(described).config.model_type == "qwen2"


def test_without_a_download_there_is_no_record(server, tmp_path):
    record = tmp_path / "download.json"
    with pytest.raises(ValueError, match="lab/tiny@main: no such model"):
        download_model(record, repository="lab/tiny", revision="main")
    assert not record.exists()
