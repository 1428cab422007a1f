"""Pairs from the JSON files of auto-circuit (Miller et al., arXiv 2407.08734)."""

from circuit_transfer.importers.rows import Imported, parse_rows, text, texts
from circuit_transfer.importers.tables import Table

PARTS = {
    "clean": text("clean"),
    "corrupted": text("corrupt"),
    "answers": texts("answers"),
    "wrong_answers": texts("wrong_answers"),
}
COLUMNS = ("clean", "corrupt", "answers", "wrong_answers")


def read_auto_circuit(table: Table) -> Imported:
    """Read `{"prompts": [{clean, corrupt, answers, wrong_answers}]}`.

    Lists of answers may differ in length. Prompts without wrong answers are rejected,
    because they have no logit difference; so are the vectors and class numbers of
    auto-circuit's toy models. `seq_labels` and `word_idxs` are ignored. The row number
    of a prompt is its index in the list, from 1; the split is determined by a hash of
    the clean prompt.

    Raises:
        ValueError: The rows are no such list, or none of them has one of these keys.
    """
    if not table.are_prompts:
        raise ValueError(f"{table.path}: expected an object with a list named prompts")
    table.require(*COLUMNS)
    return parse_rows(table.rows, PARTS, str(table.path)).frames()


def is_auto_circuit(table: Table) -> bool:
    """Return whether rows have the structure that `read_auto_circuit` reads."""
    return table.are_prompts and table.lacks(*COLUMNS) is None
