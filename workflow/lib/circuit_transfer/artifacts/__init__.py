"""File formats of a study: how each kind of artefact is written and read.

- `files`: atomic writing: a file appears under its name only when it is complete;
- `frames`, `text`, `tensors`: Parquet, JSON and text, safetensors with text metadata;
- `descriptions`, `scores`, `edge_scores`, `alignments`: the artefacts built on these;
- `json_entries`, `foreign`: large JSON files, and the files of other projects.

Stages import only the modules of the formats that they use, so that a change of one
format reruns only those stages.
"""
