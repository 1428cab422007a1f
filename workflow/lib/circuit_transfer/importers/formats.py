"""The formats of files with prompt pairs, and by what they are recognised."""

from collections.abc import Callable
from dataclasses import dataclass

from circuit_transfer.importers.auto_circuit import (
    COLUMNS,
    is_auto_circuit,
    read_auto_circuit,
)
from circuit_transfer.importers.causal_tom import is_causal_tom, read_causal_tom
from circuit_transfer.importers.eap_ig import ID_COLUMNS, is_eap_ig, read_eap_ig
from circuit_transfer.importers.edge_pruning import (
    all_have_spans,
    has_spans,
    read_edge_pruning,
)
from circuit_transfer.importers.entity_tracking import has_boxes, read_entity_tracking
from circuit_transfer.importers.ioi_sentences import (
    has_ioi_sentences,
    read_ioi_sentences,
)
from circuit_transfer.importers.own import has_pairs, needed_columns, read_pairs
from circuit_transfer.importers.rows import Imported
from circuit_transfer.importers.tables import READERS, Table


@dataclass(frozen=True)
class Format:
    """A file schema.

    Attributes:
        read: its importer.
        matches: whether a table is of this format, by its columns and structure.
        needs: what the importer needs, for messages.
        suffixes: the types of files that it can be in.
    """

    read: Callable[[Table], Imported]
    matches: Callable[[Table], bool]
    needs: str
    suffixes: tuple[str, ...] = tuple(READERS)


# In the order in which they are looked for.
FORMATS = {
    "pairs": Format(
        read_pairs, has_pairs, "columns clean, corrupted, answer and wrong_answer"
    ),
    "eap-ig": Format(
        read_eap_ig,
        is_eap_ig,
        f"clean and corrupted, and token ids in {' and '.join(ID_COLUMNS[0])} (or "
        "another pair of its columns), or in label the last two digits of the year in "
        "the prompt",
    ),
    "auto-circuit": Format(
        read_auto_circuit,
        is_auto_circuit,
        'an object {"prompts": [...]} with clean, corrupt, answers and wrong_answers',
        (".json",),
    ),
    "edge-pruning": Format(
        read_edge_pruning,
        has_spans,
        "clean and corrupted, with the answer as <predict> answer</predict>",
    ),
    "edge-pruning-ioi": Format(
        read_ioi_sentences,
        has_ioi_sentences,
        "columns ioi_sentences, corr_ioi_sentences, a and b",
    ),
    "causal-tom": Format(
        read_causal_tom,
        is_causal_tom,
        "columns characters, objects, states, story, question, target, prompt, "
        "character_idx and object_idx",
    ),
    "entity-tracking": Format(
        read_entity_tracking,
        has_boxes,
        "a column sentence, such as The hat is in Box A. Box A contains the hat",
    ),
}


def format_of(table: Table, given: str | None) -> Format:
    """Return the format of a table: the given one, or that which it matches.

    Args:
        table: the table.
        given: one of `FORMATS`, or None to recognise it.

    Raises:
        ValueError: The table is of no format, or not of the given but of another one.
    """
    matching = [name for name, each in FORMATS.items() if each.matches(table)]
    if given is None and not matching:
        raise ValueError(f"{table.path}: {_unknown(table)}")
    if given is None:
        # The prompts of marked rows contain their answers, whatever the columns.
        return FORMATS["edge-pruning" if all_have_spans(table) else matching[0]]
    if matching and given not in matching:
        raise ValueError(
            f"{table.path}: of the format {matching[0]!r}, not {given!r}, which needs "
            f"{FORMATS[given].needs}; correct `format`, or leave it out"
        )
    return FORMATS[given]


def _unknown(table: Table) -> str:
    expected = COLUMNS if table.are_prompts else needed_columns(table)
    lacking = table.lacks(*expected)
    if table.has_half(*expected):
        # It is clear which format is meant.
        return lacking
    needs = "; ".join(f"{name}: {each.needs}" for name, each in FORMATS.items())
    return f"{lacking}; expected one of these formats: {needs}"
