"""Hook a plain Hugging Face model: the only place that does.

- `hooks`: read and change what nodes write, or replace whole modules;
- `circuits`: keep some nodes and ablate the others, hard or by a soft mask;
- `runs`: run prompts, from the beginning, after a prefix, or from one node on;
- `counting`: count what was run.
"""

from circuit_transfer.interventions.circuits import (
    mask_by_site,
    mixing,
    pushing,
    running_circuits,
    site_outputs,
    skipping_layers,
)
from circuit_transfer.interventions.counting import Passes, counting
from circuit_transfer.interventions.hooks import captured, captured_stream, edited
from circuit_transfer.interventions.runs import (
    Prefix,
    answer_logits,
    resumed,
    run_captured,
    run_prefix,
)

__all__ = [
    "Passes",
    "Prefix",
    "answer_logits",
    "captured",
    "captured_stream",
    "counting",
    "edited",
    "mask_by_site",
    "mixing",
    "pushing",
    "resumed",
    "run_captured",
    "run_prefix",
    "running_circuits",
    "site_outputs",
    "skipping_layers",
]
