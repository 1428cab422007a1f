"""A small study on disk, made by the stages themselves, for the tests of the stages."""

from dataclasses import dataclass
from pathlib import Path

import pytest

PROPORTIONS = [0.05, 0.3, 0.6, 1.0]
EVALUATION = {"ablations": ["counterfactual"], "proportions": PROPORTIONS}
EVALUATION |= {"examples": 3, "batch_size": 2}


@dataclass(frozen=True)
class Study:
    """Paths of a study with the models `source` and `target`.

    Its tasks are `a` and `b`, and `none`, of which no pair can be used.
    """

    folder: Path

    def model(self, name: str) -> Path:
        return self.folder / "models" / f"{name}.json"

    def prompts(self, task: str) -> Path:
        return self.folder / "prompts" / f"{task}.parquet"

    def pairs(self, model: str, task: str) -> Path:
        return self.folder / "pairs" / model / f"{task}.parquet"

    def rejects(self, model: str, task: str) -> Path:
        return self.folder / "rejects" / model / f"{task}.parquet"

    def scores(self, model: str, task: str) -> Path:
        return self.folder / "scores" / model / f"{task}.safetensors"

    def cost(self, model: str, task: str) -> Path:
        return self.folder / "costs" / model / f"{task}.json"


def write_prompts(study: Study, task: str, seed: int, *, usable: bool) -> None:
    """Write pairs of random words; unusable ones have prompts of unequal length."""
    import numpy as np

    from circuit_transfer.artifacts.frames import write_frame
    from circuit_transfer.prompts.frame import Prompt, prompt_frame

    generator = np.random.default_rng(seed)
    rows = []
    for number in range(1, 11):
        words = generator.choice(30, 6, replace=False)
        start, other, left, right = words[:4]
        rows.append(
            Prompt(
                clean=f"w{start} w{left} w{right} :",
                corrupted=f"w{other} w{left} w{right} :" + " yes" * (not usable),
                answers=(f" w{left}",),
                wrong_answers=(f" w{right}",),
                split="train" if number < 7 else "test",
                group=str(number),
                row=number,
            )
        )
    write_frame(prompt_frame(rows), study.prompts(task))


@pytest.fixture(scope="session")
def study(tiny_checkpoint, tmp_path_factory) -> Study:
    """The study up to the node scores (by `nap`)."""
    from attribute_nodes import attribute_nodes
    from describe_model import describe_model
    from tokenize_pairs import tokenize_pairs

    made = Study(tmp_path_factory.mktemp("study"))
    for seed, task in enumerate(("a", "b", "none")):
        write_prompts(made, task, seed, usable=task != "none")
    for layers, model in enumerate(("source", "target"), start=1):
        checkpoint = tiny_checkpoint("llama", layers=layers, seed=layers)
        path = made.model(model)
        load = {"dtype": "float32"}
        describe_model(path, model=model, checkpoint=checkpoint, load=load)
        for task in ("a", "b", "none"):
            pairs, rejects = made.pairs(model, task), made.rejects(model, task)
            tokenize_pairs(made.prompts(task), path, pairs, rejects)
            attribute_nodes(
                path,
                pairs,
                made.scores(model, task),
                made.cost(model, task),
                task=task,
                method="nap",
                examples=4,
                batch_size=3,
                ig_steps=2,
                ablation="counterfactual",
            )
    return made


@pytest.fixture(scope="session")
def evaluation() -> dict:
    """The settings that every evaluation stage takes."""
    return EVALUATION


@pytest.fixture(scope="session")
def full_logit_diff(study) -> float:
    """What the whole target does on the first three test pairs of task `a`."""
    import torch

    from circuit_transfer.artifacts.frames import read_frame
    from circuit_transfer.artifacts.text import read_json
    from circuit_transfer.models.loading import load_model

    model = load_model(read_json(study.model("target"))["path"])
    pairs = read_frame(study.pairs("target", "a")).filter(split="test")[:3]
    with torch.no_grad():
        logits = model(torch.tensor(pairs["clean_ids"].to_list())).logits[:, -1]
    answers = pairs.select("answer_ids", "wrong_answer_ids").rows()
    diffs = [row[a] - row[b] for row, ([a], [b]) in zip(logits, answers, strict=True)]
    return float(sum(diffs) / 3)
