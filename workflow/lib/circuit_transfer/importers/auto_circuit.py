"""Pairs from the JSON files of auto-circuit (Miller et al., arXiv 2407.08734)."""

from pathlib import Path

from circuit_transfer.importers.rows import Imported, parse_rows, text, texts
from circuit_transfer.importers.tables import Row, read_json

PARTS = {
    "clean": text("clean"),
    "corrupted": text("corrupt"),
    "answers": texts("answers"),
    "wrong_answers": texts("wrong_answers"),
}


def read_auto_circuit(path: Path | str) -> Imported:
    """Read `{"prompts": [{clean, corrupt, answers, wrong_answers}]}`.

    Lists of answers may differ in length. Prompts without wrong answers are rejected,
    because they have no logit difference; so are the vectors and class numbers of
    auto-circuit's toy models. `seq_labels` and `word_idxs` are ignored. The row number
    of a prompt is its index in the list, from 1; the split is determined by a hash of
    the clean prompt.

    Raises:
        ValueError: The file cannot be read, has another structure, or has no prompts.
    """
    content = read_json(path)
    prompts = content.get("prompts") if isinstance(content, dict) else None
    if not isinstance(prompts, list):
        raise ValueError(f"{path}: expected an object with a list named prompts")
    if not prompts:
        raise ValueError(f"{path}: no prompts")
    rows = [
        Row(number, cells if isinstance(cells, dict) else {})
        for number, cells in enumerate(prompts, start=1)
    ]
    return parse_rows(rows, PARTS, str(path)).frames()
