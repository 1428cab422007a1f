"""The files of a study: how each kind is written and read, and nothing else.

- `files`: writing atomically: a file appears under its name only when it is whole;
- `frames`, `text`, `tensors`: Parquet, JSON and text, safetensors with text metadata;
- `descriptions`, `scores`, `alignments`: the artefacts made of these.

Stages import from the file of their kind: an edit of one format reruns its users alone.
"""
