"""Stages that take minutes with a real model say where they are, within a batch too."""

import logging
from fnmatch import fnmatchcase

import pytest
from test_interrupted_stages import STAGES, edge_scores, outcome, run

from circuit_transfer.jobs import progress
from circuit_transfer.jobs.resume import NO_RESUME

__all__ = ["edge_scores"]  # a fixture of every test here

# What the innermost line of a stage looks like; `*` are numbers that it has measured.
OPEN = "divergence *, * of the edges open, 2*% the target"
PLACES = {
    "nap": "batch 4 of 4",
    "mean": "batch 4 of 4, site 4 of 4",
    "steps": "batch 4 of 4, step 4 of 4",
    "divergence": "seed 2 of 2, step 12 of 12",
    "area": "seed 2 of 2, step 12 of 12",
    "edge-maps": "step 12 of 12",
    "edge-maps-area": "step 12 of 12",
    "free-mask": "seed 2 of 2, step 6 of 6",
    "edges": "batch 4 of 4",
    "edge-sites": "batch 4 of 4, site 4 of 4",
    "heads": "batch 2 of 2, circuit * of *",
    "verified": "batch 4 of 4, edge 4 of 5",
    "edge-circuits": "ablation 2 of 2, batch 2 of 2, circuit 20 of 20",
    "pruning": f"seed 2 of 2, edge-pruning, {OPEN}, step 6 of 6",
    "filtered": f"seed 2 of 2, hap, {OPEN}, step 6 of 6",
    "soft-top-k": "seed 2 of 2, soft-top-k, divergence *, step 6 of 6",
    "joint-masks": "seed 2 of 2, weights *, edges *, divergence *, step * of *",
    "learned-circuits": "ablation 2 of 2, batch 2 of 2, circuit 1? of *",
    "weights": "circuit 9 of 9, side 2 of 2, batch 2 of 2",
    "path-patching": "group 2 of 4, batch 2 of 2, head 4 of 4",
    "distillation": "matched-cka, task loss *, cka *, accuracy *, step 6 of 6",
    "distilled-logits": "logits, task loss *, accuracy * at step 4, step 6 of 6",
    "students": "student 4 of 4, batch 2 of 2",
    "evaluation": "ablation 2 of 2, batch 2 of 2, circuit 7 of 7",
}


@pytest.mark.parametrize("stage", PLACES)
def test_a_stage_says_where_it_is(stage, study, tmp_path, caplog, monkeypatch):
    silent, talking = tmp_path / "silent", tmp_path / "talking"
    for folder in (silent, talking):
        folder.mkdir()
    run(stage, study.folder, silent, NO_RESUME)
    caplog.set_level(logging.INFO)
    monkeypatch.setattr(progress, "INTERVAL", -1.0)
    run(stage, study.folder, talking, NO_RESUME)
    said = [message.rsplit(", about", 1)[0] for message in caplog.messages]
    assert any(fnmatchcase(each, PLACES[stage]) for each in said)
    assert outcome(talking) == outcome(silent)
    assert set(PLACES) | {"training"} == set(STAGES)
