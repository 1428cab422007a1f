"""What the stages that score nodes and edges share."""

EMPTY_CELL = (
    "no usable training pair of %s for this model, so an empty cell: the logs of "
    "write_prompts and tokenize_pairs and the table of models say why"
)
