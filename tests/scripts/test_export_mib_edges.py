import logging

import numpy as np
import pytest
from export_mib_edges import export_mib_edges

from circuit_transfer.artifacts.descriptions import read_description
from circuit_transfer.artifacts.edge_scores import write_edge_scores
from circuit_transfer.artifacts.tensors import read_tensors
from circuit_transfer.artifacts.text import read_json
from circuit_transfer.models.edges import described_graph
from circuit_transfer.stages.imported import read_imported


def export(study, folder, kv="query-head", scores_of="target", unknown=False):
    graph = described_graph(read_description(study.model(scores_of)), kv)
    values = np.random.default_rng(0).standard_normal(graph.n_edges)
    values = np.full_like(values, np.nan) if unknown else values
    path = folder / "scores.safetensors"
    write_edge_scores(
        path,
        graph.matrix(values.astype(np.float32)),
        legal=graph.legal,
        writers=graph.writers,
        readers=graph.readers,
        kv=kv,
        model=scores_of,
        task="a",
        method="eap",
    )
    paths = folder / "importances.json", folder / "importances.safetensors"
    export_mib_edges(study.model("target"), path, *paths)
    return values.astype(np.float32), *paths


@pytest.mark.parametrize("which", [0, 1])
def test_both_files_are_read_again_bit_by_bit(study, tmp_path, which):
    values, *paths = export(study, tmp_path)
    back = read_imported(paths[which], read_description(study.model("target")))
    assert back.scores.tobytes() == values.tobytes()
    assert back.graph.kv == "query-head"


def test_the_metadata_says_what_the_scores_are_of(study, tmp_path):
    _, importances_path, tensors_path = export(study, tmp_path)
    metadata = read_tensors(tensors_path)[1]
    assert metadata["cfg"] == read_json(importances_path)["cfg"]
    assert metadata["src_nodes"][:2] == ["input", "a0.h0"]
    assert metadata["dst_nodes"][0] == "a0.h0<q>"
    assert (metadata["model"], metadata["task"]) == ("target", "a")
    assert (metadata["kv"], metadata["scored_kv"]) == ("query-head", "query-head")
    assert metadata["n_edges"] == len(read_json(importances_path)["edges"])


def test_scores_of_key_value_heads_are_divided_and_it_is_said(study, tmp_path, caplog):
    with caplog.at_level(logging.WARNING):
        values, importances_path, tensors_path = export(study, tmp_path, "kv-head")
    assert "score of each shared one is divided evenly among its heads" in caplog.text
    metadata = read_tensors(tensors_path)[1]
    assert (metadata["kv"], metadata["scored_kv"]) == ("query-head", "kv-head")
    edges = read_json(importances_path)["edges"]
    assert metadata["n_edges"] == len(edges) > len(values)
    total = sum(edge["score"] for edge in edges.values())
    assert total == pytest.approx(values.sum(), abs=1e-4)


def test_a_task_without_usable_pairs_is_null_and_a_warning(study, tmp_path, caplog):
    with caplog.at_level(logging.WARNING):
        _, importances_path, _ = export(study, tmp_path, unknown=True)
    assert "scores.safetensors: the scores are not known" in caplog.text
    edges = read_json(importances_path)["edges"].values()
    assert {edge["score"] for edge in edges} == {None}


def test_scores_of_another_model_are_refused(study, tmp_path):
    message = r"scores\.safetensors: scores of 6 writers and 14 readers; expected 11"
    with pytest.raises(ValueError, match=message):
        export(study, tmp_path, scores_of="source")
    assert not [*tmp_path.glob("importances*")]
