"""What a study begins with: text pairs and checkpoints, on the disk or on the hub."""

import re
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from circuit_transfer.artifacts.text import read_json
from circuit_transfer.importers import data_files
from circuit_transfer.models.checkpoints import SETTINGS
from circuit_transfer.models.loading import LOAD_OPTIONS
from circuit_transfer.study.paths import path, paths
from circuit_transfer.study.relatives import (
    parent_of,
    sizes_of,
    teacher_of,
    trained_entry,
    with_relatives,
)
from circuit_transfer.study.study import Study

# Of a model that the workflow makes: what stages open of what is written.
CHECKPOINT_FILES = [
    "config.json",
    "generation_config.json",
    "model.safetensors",
    "tokenizer.json",
    "tokenizer_config.json",
]
PATTERNS = [*SETTINGS, "*.safetensors", "additional_chat_templates/*"]
# Of the entries of models, tasks and circuits: what names a file or a folder.
PATH_KEYS = ("path", "gguf", "file", "importances")
# What a checkpoint that the workflow makes records beside it, by the key of its entry.
RECORDS = {
    "train": "training.json",
    "planted": "truth.json",
    "gguf": "conversion.json",
}


class Origins:
    """Where the models and tasks of a configuration come from.

    Paths are recorded with results, so that a result is known in a copy of the
    repository elsewhere: relative ones, where the repository is the working directory.
    """

    def __init__(
        self,
        config: Mapping[str, Any],
        home: Path,
        *,
        given: Callable[[Path | str], Path | str] = lambda path: path,
        made: Callable[[str], str] = str,
    ):
        """Look for files of the configuration in the working directory and at home.

        Args:
            config: a valid configuration, defaults filled in.
            home: the folder of the Snakefile.
            given: marks the inputs of rules that no rule makes, so that they are not
                looked for among the results.
            made: returns where a path of the results is.
        """
        self._models, self._tasks = config["models"], config["tasks"]
        self._home, self._given, self._made = home, given, made
        self.data = Path("data") if home.samefile(".") else home / "data"
        self.words = given(self.data / "words.yaml")
        self.facts = given(self.data / "facts.csv")
        # Copies of `config.json` of models on the hub, to estimate costs from.
        self.published = self.data / "configurations"

    def located(self, path: str) -> str:
        """Return where a file or folder of the configuration is.

        A relative path starts in the working directory, or else next to the Snakefile,
        where the shipped models are.
        """
        shipped = self._home / path
        return str(shipped if shipped.exists() and not Path(path).exists() else path)

    def found_at_home(self, study: Study) -> list[str]:
        """Return the paths of a study that only the folder of the Snakefile has."""
        models = with_relatives(self._models, study.models)
        entries = [self._models[name] for name in models]
        entries += [self._tasks[name] for name in study.tasks]
        entries += study.circuits.values()
        given = [each[key] for each in entries for key in PATH_KEYS if key in each]
        return [path for path in given if self.located(path) != path]

    def is_drawn(self, task: str) -> bool:
        """Return whether a generator draws the pairs of a task."""
        return "generator" in self._tasks[task]

    def pairs_path(self, task: str) -> str | None:
        """Return the file or folder that a task's pairs are read from, on the disk."""
        entry = self._tasks[task]
        path = entry.get("file") or entry.get("path")
        return self.located(path) if path else None

    def pair_files(self, task: str) -> list:
        """Return the files that a task's pairs are read from."""
        path = self.pairs_path(task)
        files = data_files(self._tasks[task], path) if path else []
        return [self._given(file) for file in files]

    def prompt_sources(self, task: str) -> list:
        """Return the files that a task's pairs are made from."""
        drawn = self.is_drawn(task)
        return [self.words, self.facts] if drawn else self.pair_files(task)

    def unused_readers(self, task: str) -> tuple[str, ...]:
        """Return the library's modules that a task's pairs do not come from."""
        if self.is_drawn(task):
            return ("importers", "models.hub")
        remote = "hub" in self._tasks[task]
        return ("generators",) if remote else ("generators", "models.hub")

    def made_by(self, key: str) -> str:
        """Return a regular expression of the models whose checkpoint a rule makes.

        Args:
            key: the key of their entries, one of `RECORDS`.
        """
        names = [re.escape(name) for name, each in self._models.items() if key in each]
        # Without a model, one that no name matches.
        return "|".join(names) or "(?!)"

    def parent(self, model: str) -> list[str]:
        """Return the model that a trained one begins with, as a list of one or none."""
        return list(filter(None, [parent_of(self._models[model])]))

    def teacher(self, model: str) -> list[str]:
        """Return the teacher of a trained model, as a list of one or none."""
        return list(filter(None, [teacher_of(self._models[model])]))

    def named_checkpoint(self, models: Sequence[str]) -> dict[str, str | None] | None:
        """Return name and checkpoint folder of the model in a list, if there is one."""
        found = [{"name": each, "checkpoint": self.checkpoint(each)} for each in models]
        return found[0] if found else None

    def records(self, models: Sequence[str]) -> list:
        """Return the records of models that have one."""
        return [each for each in map(self.record, models) if each]

    def unused_trainers(self, model: str) -> tuple[str, ...]:
        """Return the library's modules that the training of a model does not need."""
        init = self._models[model].get("train", {}).get("init", {})
        if "prune" in init:
            return ()
        if self.parent(model) or self.teacher(model):
            return ("embedded.fading", "embedded.importance")
        return ("embedded.inheritance",)

    def training(self, model: str) -> dict[str, dict[str, Any]]:
        """Return what the training of a model is of, for its resources.

        Returns:
            `train`, its entry with architecture and sizes, and the sizes of the models
            that it reads, `parent` and `teacher`, as far as there are any.

        Raises:
            FileNotFoundError: the sizes of another model are not known yet.
        """
        others = {"parent": self.parent(model), "teacher": self.teacher(model)}
        return {
            "train": trained_entry(self._models, model, self._settings),
            **{
                role: sizes_of(self._models, name, self._settings)
                for role, names in others.items()
                for name in names
            },
        }

    def _settings(self, model: str) -> dict[str, Any]:
        """Return the `config.json` of a model."""
        folder = self.checkpoint(model)
        if folder is None:
            folder = read_json(self._made(path("download", model=model)))["folder"]
        return read_json(Path(folder) / "config.json")

    def gguf_file(self, model: str) -> str:
        """Return the GGUF file that a model is dequantised from."""
        return self._given(self.located(self._models[model]["gguf"]))

    def _record_name(self, model: str) -> str | None:
        """Return the name of the record of a checkpoint that a rule makes."""
        keys = RECORDS.keys() & self._models[model].keys()
        return RECORDS[min(keys)] if keys else None

    def is_remote(self, model: str) -> bool:
        """Return whether a model is on the hub."""
        return "hub" in self._models[model]

    def checkpoint(self, model: str) -> str | None:
        """Return the checkpoint folder of a model; None where a download makes it."""
        if self._record_name(model):
            return self._made(str(Path(path("checkpoint", model=model)).parent))
        entry = self._models[model]
        return self.located(entry["path"]) if "path" in entry else None

    def given_checkpoints(self) -> dict[str, str]:
        """Return the folders of the checkpoints that the configuration names."""
        return {
            name: self.located(entry["path"])
            for name, entry in self._models.items()
            if "path" in entry
        }

    def given_gguf_files(self) -> dict[str, str]:
        """Return the GGUF files that the configuration names."""
        return {
            name: self.located(entry["gguf"])
            for name, entry in self._models.items()
            if "gguf" in entry
        }

    def weights(self, *models: str) -> list[str]:
        """Return the files of checkpoints that the results depend on."""
        return [file for model in models for file in self._weights(model)]

    def _weights(self, model: str) -> list[str]:
        if self.is_remote(model):
            return [path("download", model=model)]
        if self._record_name(model):
            return paths("checkpoint", model=model, file=CHECKPOINT_FILES)
        folder = Path(self.checkpoint(model))
        files = sorted(str(file) for each in PATTERNS for file in folder.glob(each))
        return [self._given(file) for file in files]

    def configurations(self, studied: Sequence[str]) -> list[str]:
        """Return the configurations of models that are there before anything runs."""
        found = []
        for model in with_relatives(self._models, studied):
            entry = self._models[model]
            if "path" in entry:
                found.append(Path(self.located(entry["path"])) / "config.json")
            if "hub" in entry:
                copy = self.published / f"{entry['hub']}.json"
                found += [copy] if copy.is_file() else []
        return [self._given(str(file)) for file in found]

    def record(self, model: str) -> str | list:
        """Return the record of a model's download or training, if it has one."""
        if self.is_remote(model):
            return path("download", model=model)
        if made := self._record_name(model):
            return path("checkpoint", model=model, file=made)
        record = Path(self.checkpoint(model)) / RECORDS["train"]
        return self._given(str(record)) if record.is_file() else []

    def available(self, studied: Sequence[str]) -> list[str]:
        """Return the models to prepare: of `hub` and `gguf`, only the studied ones."""
        return [
            name
            for name, entry in self._models.items()
            if name in studied or not entry.keys() & {"hub", "gguf"}
        ]

    def load_options(self, model: str) -> dict[str, Any]:
        """Return from a model's entry how every stage loads it."""
        entry = self._models[model]
        return {option: entry[option] for option in LOAD_OPTIONS if option in entry}
