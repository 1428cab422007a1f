"""Hook plain Hugging Face models: the only package that does.

- `hooks`: read and edit the outputs of nodes, or replace the forward of modules;
- `projections`: read and edit queries, keys and values;
- `readers`: read what is written to the residual stream and gradients at what reads it;
- `circuits`: ablate all nodes outside a circuit, with a binary or a soft mask;
- `edges`: run circuits of edges, with `edge_references` (the runs between which they
  lie), `edge_plans` (what they compute), `edge_passes` (the pass itself),
  `edge_buffers` and `edge_readers` (what a reader reads, and its query, key or value);
- `soft_edges`: the same with a share of every edge and gradients, with `soft_buffers`;
- `path_patches`: patch paths from a head to heads that read it;
- `backward`: alter gradients by the rules of GIM and RelP, and no value;
- `runs`: run prompts from the beginning, after a cached prefix, or from a given site;
- `unembedding`: compute logits in float32 where the weights have half the precision;
- `prefixes`: try whether a prefix may be cached;
- `positions`: rotary embeddings that depend on the length of the prompt;
- `families`: check the table of model families against a model;
- `counting`: count forward and backward passes and tokens.
"""

from circuit_transfer.interventions.backward import gim_gradients, relp_gradients
from circuit_transfer.interventions.circuits import (
    mask_by_site,
    mixing,
    pushing,
    running_circuits,
    site_outputs,
    skipping_layers,
)
from circuit_transfer.interventions.counting import Passes, counting
from circuit_transfer.interventions.edge_passes import EdgeRuns
from circuit_transfer.interventions.edge_plans import Plan, plan_edges
from circuit_transfer.interventions.edge_references import EdgeRun, run_edges
from circuit_transfer.interventions.edges import edge_logits
from circuit_transfer.interventions.hooks import captured, captured_stream, edited
from circuit_transfer.interventions.path_patches import PathRuns, path_logits
from circuit_transfer.interventions.prefixes import reusable_prefix
from circuit_transfer.interventions.runs import (
    Prefix,
    answer_logits,
    resumed,
    run_captured,
    run_prefix,
)
from circuit_transfer.interventions.soft_edges import soft_edge_logits
from circuit_transfer.interventions.storage import Storage

__all__ = [
    "EdgeRun",
    "EdgeRuns",
    "Passes",
    "PathRuns",
    "Plan",
    "Prefix",
    "Storage",
    "answer_logits",
    "captured",
    "captured_stream",
    "counting",
    "edge_logits",
    "edited",
    "gim_gradients",
    "mask_by_site",
    "mixing",
    "path_logits",
    "plan_edges",
    "pushing",
    "relp_gradients",
    "resumed",
    "reusable_prefix",
    "run_captured",
    "run_edges",
    "run_prefix",
    "running_circuits",
    "site_outputs",
    "skipping_layers",
    "soft_edge_logits",
]
