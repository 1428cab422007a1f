"""Pairs from the JSON files of auto-circuit (Miller et al., arXiv 2407.08734)."""

from pathlib import Path

from circuit_transfer.importers.rows import Imported, sort_rows, text, texts
from circuit_transfer.importers.tables import Row, read_json

PARTS = {
    "clean": text("clean"),
    "corrupted": text("corrupt"),
    "answers": texts("answers"),
    "wrong_answers": texts("wrong_answers"),
}


def read_auto_circuit(path: Path | str) -> Imported:
    """Read `{"prompts": [{clean, corrupt, answers, wrong_answers}]}`.

    Lists of answers may differ in length. A prompt without wrong answers is rejected,
    because there is no logit difference without them; so are the vectors and class
    numbers of its toy models. `seq_labels` and `word_idxs` name positions and are left
    out. A prompt's row is its place in the list, from 1; a hash of the clean prompt
    decides the split.

    Raises:
        ValueError: The file cannot be read, or is not of this form, or has no prompts.
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
    return sort_rows(rows, PARTS, str(path)).frames()
