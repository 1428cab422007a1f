"""The study of one pair and method again, with other values of one setting at a time.

Everything is done as the stages of a study do it, but in memory, so that values which
share a step compute it once.

- `subjects`: the two models, their pairs of prompts, and the tasks;
- `settings`: everything that a study can be run with, and its variants;
- `scores`, `alignments`, `curves`: the steps of a study, once for all variants;
- `variation`: all of it for the values of a setting, and the areas that come out.
"""

from circuit_transfer.study.sensitivity.settings import Settings
from circuit_transfer.study.sensitivity.subjects import Study, Subject
from circuit_transfer.study.sensitivity.variation import SCHEMA, run

__all__ = ["SCHEMA", "Settings", "Study", "Subject", "run"]
