"""Estimate what a study costs from its configuration, without weights or network."""

import logging
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from transformers import AutoConfig, PreTrainedConfig

from circuit_transfer.embedded.model import OTHERS, TrainingSettings, build_model
from circuit_transfer.embedded.selection import choose, equal_importance
from circuit_transfer.embedded.vocabulary import build_tokenizer
from circuit_transfer.generators import Words, read_words
from circuit_transfer.jobs.stage import run_stage
from circuit_transfer.models.cutting import cut_configuration, everything
from circuit_transfer.models.gguf import read_gguf_configuration
from circuit_transfer.models.shape import model_shape
from circuit_transfer.study.checks import studied_models
from circuit_transfer.study.costs import (
    BYTES_PER_SECOND,
    GIGA,
    STARTING_SECONDS,
    UTILISATION,
    estimate,
    schedule,
)
from circuit_transfer.study.relatives import parent_of
from circuit_transfer.study.work import prompt_tokens
from circuit_transfer.tables.typesetting import Table, write_table

log = logging.getLogger(__name__)

NOTE = (
    "forwards, forward backwards: passes of one prompt; tokens: of all passes; moved: "
    "what jobs read and write, the weights every time; disk: published weights and "
    "tensors written. GPU hours are those of an A100 80GB at "
    f"{UTILISATION:.0%} of its peak, without the start of jobs; small models in small "
    "batches reach less. Prompt lengths are approximate; a task is taken to have as "
    "many usable pairs as requested; training of `train` models is not counted."
)
GPUS = (1, 2, 4, 8, 16)
SCHEDULE_NOTE = (
    "Jobs that run a model, each on one GPU as above, with "
    f"{STARTING_SECONDS} s to start and {BYTES_PER_SECOND / GIGA:.0f} GB/s to read its "
    "weights, the longest first; fits and gold circuits when all scores are there, "
    "transferred circuits after all fits. busy: of the GPUs' time. In the last row all "
    "jobs that can run at once do: more GPUs change nothing."
)


def estimate_cost(
    costs_paths: Iterable[Path | str],
    schedule_paths: Iterable[Path | str],
    *,
    config: Mapping[str, Any],
    checkpoints: Mapping[str, Path | str],
    gguf_files: Mapping[str, Path | str],
    configurations: Path | str,
    words_path: Path | str,
    facts_path: Path | str,
) -> None:
    """Write the tables of costs and of the time on so many GPUs, one path per format.

    Args:
        costs_paths: where the costs go.
        schedule_paths: where the times go.
        config: the study's whole configuration.
        checkpoints: folders of the models that are given by a path.
        gguf_files: files of the models that are given by a GGUF file.
        configurations: folder with `{owner}/{name}.json` of models on the hub.
        words_path: words of the generators, which the embedded models know.
        facts_path: facts of the generators.

    Raises:
        FileNotFoundError: the configuration of a model on the hub is not there.
    """
    known = Known(
        config["models"],
        checkpoints,
        gguf_files,
        Path(configurations),
        read_words(words_path, facts_path),
    )
    shapes = {}
    for name in studied_models(config["study"], config["models"]):
        entry = config["models"][name]
        shapes[name] = model_shape(known.configuration(name), dtype=entry["dtype"])
        log.info("%s: %s", name, shapes[name])
    tokens = prompt_tokens(config["tasks"])
    costs = estimate(config, shapes, tokens)
    whole = costs.row(-1, named=True)
    log.info(
        "in all: %d jobs, %.1f GPU hours, %.0f GB of GPU memory, %.1f GB of disk",
        *(whole[key] for key in ("jobs", "gpu_hours", "peak_memory_gb", "disk_gb")),
    )
    write_table(Table(costs, labels=2, note=NOTE), *costs_paths, title="Estimated cost")
    times = Table(schedule(config, shapes, tokens, GPUS), labels=1, note=SCHEDULE_NOTE)
    write_table(times, *schedule_paths, title="Estimated time")


@dataclass(frozen=True)
class Known:
    """What is known of models before a run; the fields are those of `estimate_cost`."""

    models: Mapping[str, Any]
    checkpoints: Mapping[str, Path | str]
    gguf_files: Mapping[str, Path | str]
    configurations: Path
    words: Words

    def configuration(self, name: str) -> PreTrainedConfig:
        """Return the configuration of a model, without its weights."""
        entry = self.models[name]
        if "hub" in entry:
            return _published(self.configurations, entry["hub"])
        if "gguf" in entry:
            return read_gguf_configuration(self.gguf_files[name])
        if "path" in entry:
            return _read(Path(self.checkpoints[name]) / "config.json")
        if parent := parent_of(entry):
            return _begun(entry["train"]["init"], self.configuration(parent))
        return _embedded(entry["train"], self.words)


def _published(folder: Path, repository: str) -> PreTrainedConfig:
    path = folder / f"{repository}.json"
    if not path.is_file():
        raise FileNotFoundError(
            f"{path}: no configuration of {repository}; expected a copy of "
            f"https://huggingface.co/{repository}/blob/main/config.json there"
        )
    return _read(path)


def _read(path: Path) -> PreTrainedConfig:
    return AutoConfig.from_pretrained(
        path, local_files_only=True, trust_remote_code=False
    )


def _begun(init: Mapping[str, Any], parent: PreTrainedConfig) -> PreTrainedConfig:
    """Return the configuration of a model that begins with another one."""
    if "from" in init:
        return parent
    shape = everything(parent).shape()
    kept = choose(init.get("keep", {}), shape, equal_importance(shape))
    return cut_configuration(parent, kept)


def _embedded(train: Mapping[str, Any], words: Words) -> PreTrainedConfig:
    tokenizer = build_tokenizer(
        words, architecture=train["architecture"], generators=train["generators"]
    )
    own = {key: value for key, value in train.items() if key not in OTHERS}
    with torch.device("meta"):
        return build_model(TrainingSettings(**own), tokenizer).config


if __name__ == "__main__":
    run_stage(estimate_cost, snakemake)
