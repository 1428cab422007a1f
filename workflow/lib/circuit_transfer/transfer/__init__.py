"""From a source model to a target: maps, objectives, alignments, controls."""
