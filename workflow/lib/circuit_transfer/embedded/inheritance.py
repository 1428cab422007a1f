"""Make a model from another one: train it further, prune it, or teach a new one.

- `init: {from: ...}` begins with the weights of the parent;
- `init: {prune: ..., keep: ...}` with some of its parts, when the others are faded out;
- `distil: {...}` adds the divergence from a teacher, by default the parent.
"""

import json
import logging
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from transformers import PreTrainedModel, PreTrainedTokenizerFast

from circuit_transfer.embedded.curriculum import Curriculum
from circuit_transfer.embedded.fading import Faded, fade_out
from circuit_transfer.embedded.importance import importance
from circuit_transfer.embedded.model import OTHERS, TrainingSettings
from circuit_transfer.embedded.objective import Teacher
from circuit_transfer.embedded.selection import FADE_STEPS, choose, kept_shape
from circuit_transfer.embedded.training import Start, identity_of
from circuit_transfer.embedded.vocabulary import build_tokenizer, unknown_words
from circuit_transfer.generators import Words
from circuit_transfer.jobs.resume import NO_RESUME, Resume
from circuit_transfer.messages import quoted
from circuit_transfer.models.cutting import everything
from circuit_transfer.models.kept import Kept, check_prunable
from circuit_transfer.models.lineage import Lineage
from circuit_transfer.models.loading import load_model, load_tokenizer

log = logging.getLogger(__name__)

SHOWN = 5  # of the words that a tokenizer lacks


@dataclass(frozen=True)
class Relative:
    """A model that another one is made from, or that teaches it.

    Attributes:
        name: of the model.
        folder: of its checkpoint.
        lineage: its own, if it was made from another one.
    """

    name: str
    folder: Path | str
    lineage: Mapping[str, Any] | None = None


@dataclass(frozen=True)
class Beginning:
    """What a training begins with: its settings, its start, and the model's lineage."""

    settings: TrainingSettings
    start: Start
    lineage: Lineage


def begin(
    entry: Mapping[str, Any],
    words: Words,
    parent: Relative | None,
    teacher: Relative | None,
    resume: Resume = NO_RESUME,
) -> Beginning:
    """Read the models that a training begins with; fade out what a pruned one loses.

    Args:
        entry: the `train:` entry of the model.
        words: word lists of the generators.
        parent: the model of `init`, if there is one.
        teacher: the model of `distil`, likewise.
        resume: saves the state of the fade; the training takes it too.

    Raises:
        ValueError: the sizes in the entry are not those of the parent or of what is
            kept of it, or a tokenizer lacks words or is not that of the teacher.
    """
    own = {name: value for name, value in entry.items() if name not in OTHERS}
    if parent is None:
        model, settings = None, TrainingSettings(**own)
        tokenizer = build_tokenizer(
            words, architecture=settings.architecture, generators=settings.generators
        )
    else:
        model = load_model(parent.folder, device="cpu")
        shape = _shape(entry["init"], model.config)
        check_sizes(own, shape, parent.name)
        tokenizer = load_tokenizer(parent.folder)
        settings = TrainingSettings(**own | shape)
        _check_words(tokenizer, words, settings.generators, parent.name)
    taught = teacher and _teacher(entry["distil"], teacher, tokenizer)
    more = {name: entry[name] for name in OTHERS if name in entry}
    record, nodes = {}, {}
    if model is not None:
        kept = everything(model.config)
        if "prune" in entry["init"]:
            # Before anything is restored, so that the training expects the same.
            resume.expect(**identity_of(settings, words, more))
            faded = _faded(
                model, tokenizer, words, settings, entry["init"], taught, resume
            )
            model, kept, record = faded.model, faded.kept, faded.record
        model.requires_grad_(True)
        nodes = kept.nodes()
    start = Start(model, tokenizer, taught, more, record)
    return Beginning(settings, start, _lineage(entry, parent, teacher, nodes))


def _shape(init: Mapping[str, Any], config) -> dict[str, Any]:
    """Return the architecture and sizes of a model that begins with another one."""
    shape = everything(config).shape()
    if "prune" in init:
        check_prunable(config.model_type)
        shape = kept_shape(init.get("keep", {}), shape)
    return {"architecture": config.model_type, **shape}


def _faded(
    model: PreTrainedModel,
    tokenizer: PreTrainedTokenizerFast,
    words: Words,
    settings: TrainingSettings,
    init: Mapping[str, Any],
    teacher: Teacher | None,
    resume: Resume,
) -> Faded:
    keep, whole = init.get("keep", {}), everything(model.config)

    def chosen() -> Kept:
        """Return what is kept, which takes attribution: not needed when resumed."""
        found = importance(model, tokenizer, words, settings, keep)
        kept = choose(keep, whole.shape(), found)
        log.info("kept: %s", json.dumps(kept.nodes()))
        return kept

    curriculum = Curriculum(words, tokenizer, settings.generators, settings.seed)
    return fade_out(
        model,
        chosen,
        settings,
        curriculum,
        steps=init.get("fade_steps", FADE_STEPS),
        teacher=teacher,
        resume=resume,
    )


def check_sizes(
    given: Mapping[str, Any], shape: Mapping[str, Any], parent: str
) -> None:
    """Check that a model is given the architecture and sizes that it has.

    Args:
        given: its entry, which may leave them out.
        shape: what they are.
        parent: name of the model that they follow from, for the message.

    Raises:
        ValueError: one of them is another one.
    """
    for name, value in shape.items():
        if given.get(name, value) != value:
            raise ValueError(
                f"{name}: {given[name]!r}, but by `init` it is {value!r}, from "
                f"{parent!r}; expected the same, or none"
            )


def _teacher(
    distil: Mapping[str, Any], teacher: Relative, tokenizer: PreTrainedTokenizerFast
) -> Teacher:
    _check_same_tokenizer(tokenizer, load_tokenizer(teacher.folder), teacher.name)
    settings = {key: value for key, value in distil.items() if key != "teacher"}
    return Teacher(load_model(teacher.folder, device="cpu"), **settings)


def _check_words(
    tokenizer: PreTrainedTokenizerFast,
    words: Words,
    generators: Iterable[str],
    parent: str,
) -> None:
    for name in generators:
        if lacking := unknown_words(tokenizer, words, name):
            shown = ", ".join(map(repr, lacking[:SHOWN]))
            raise ValueError(
                f"generators: {name!r} has {len(lacking)} words that the tokenizer of "
                f"{parent!r} lacks: {quoted(shown)}; expected generators whose words "
                "it has, or a parent that was trained on this one too"
            )


def _check_same_tokenizer(
    own: PreTrainedTokenizerFast, other: PreTrainedTokenizerFast, teacher: str
) -> None:
    """Check that student and teacher read a text as the same tokens.

    Raises:
        ValueError: they do not.
    """
    mine, theirs = own.get_vocab(), other.get_vocab()
    if mine != theirs:
        different = len(mine.items() ^ theirs.items())
        problem = f"{different} tokens are in one alone or have other ids"
    elif _rules(own) != _rules(other):
        problem = "it divides texts in another way"
    else:
        return
    raise ValueError(
        f"distil: the tokenizer of the teacher {teacher!r} is not that of the student: "
        f"{problem}; expected a teacher with the same architecture and generators, or "
        "a student that begins with it, by `init`"
    )


def _rules(tokenizer: PreTrainedTokenizerFast) -> dict[str, Any]:
    """Return what a tokenizer does, but for padding and truncation."""
    rules = json.loads(tokenizer.backend_tokenizer.to_str())
    return {key: rules[key] for key in rules.keys() - {"padding", "truncation"}}


def _lineage(
    entry: Mapping[str, Any],
    parent: Relative | None,
    teacher: Relative | None,
    nodes: Mapping[str, str],
) -> Lineage:
    relation = "distilled"
    if parent is not None:
        relation = "pruned" if "prune" in entry["init"] else "finetuned"
    return {
        "relation": relation,
        "parent": parent and parent.name,
        "teacher": teacher and teacher.name,
        "nodes": dict(nodes),
        "parent_lineage": parent and parent.lineage,
    }
