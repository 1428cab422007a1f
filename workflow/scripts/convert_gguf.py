"""Dequantise a GGUF file into a checkpoint with its tokenizer, and record its file."""

from pathlib import Path

from circuit_transfer.artifacts.files import atomic_files
from circuit_transfer.artifacts.text import write_json
from circuit_transfer.jobs.stage import run_stage
from circuit_transfer.models.gguf import convert_gguf as convert


def convert_gguf(file_path: Path | str, record_path: Path | str) -> None:
    """Save the model of a GGUF file in the Hugging Face layout, with a record."""
    with atomic_files(Path(record_path).parent) as folder:
        record = convert(file_path, folder)
        write_json({"gguf": record}, folder / Path(record_path).name)


if __name__ == "__main__":
    run_stage(convert_gguf, snakemake)
