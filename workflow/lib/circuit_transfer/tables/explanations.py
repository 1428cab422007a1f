"""Definitions of the names in tables and figures, one line each."""

from collections.abc import Iterable

from circuit_transfer.tables.edge_transfers import LIFTED, is_lifted
from circuit_transfer.tables.measures import EXAGGERATED
from circuit_transfer.tables.typesetting import EXAGGERATES, EXAGGERATION

# The name, in tables and figures, of the circuit `best`.
BEST_BY_CPR = "best-by-CPR"
CONTROL_EXPLANATIONS = {
    "random-rankings": "random order of the target's nodes",
    "random-alignment": "the alignment before training; of edges: a random one",
    "scrambled-source": "the trained alignment applied to permuted source scores",
    "permuted-alignment": "the trained alignment with permuted columns",
    "depth-heuristic": "no training: scores are assigned to layers of equal relative "
    "depth",
    "mlps-first": "no source and no training: MLPs before heads, early layers first",
    "source-free": "trained and applied with a constant in place of all source scores: "
    "what is learned from the target alone",
    "random-source": "trained and applied with permuted source scores",
    "other-family": "the trained alignment applied to the source scores of a task of "
    "another family: whether the source task matters",
    "mean-gold": "no source: mean of the gold scores of the training tasks",
    "ridge": "supervised: ridge regression from source scores to the gold scores of "
    "the training tasks",
    "node-changes": "no source, but forward passes of the target on the task: how much "
    "each node's output differs between clean and corrupted prompts",
    "self-stitched": "from the same passes: the target stitched to itself, with equal "
    "scores for all nodes",
    "degree-source": "edges: trained and applied with source scores of which only the "
    "sums by writer and by reader are left: whether more than the importance of nodes "
    "is transferred",
    "random-effective": "edges: random circuits with as many edges on a path from the "
    "input to the logits as the circuit has",
    "edge-changes": "edges: no source, but forward passes of the target on the task: "
    "how much what each edge carries differs between clean and corrupted prompts",
    "free-mask": "a ceiling, not a control: scores trained on the target for the task "
    "itself",
}
REGIME_EXPLANATIONS = {
    "gold": "circuit found on the target itself",
    "in-distribution": "trained on the evaluated task",
    "near-distribution": "trained on its sibling task only",
    "zero-shot": "trained on all tasks except the evaluated one, but including its "
    "siblings, which share its circuit",
    "zero-shot-family": "trained on all tasks outside the family of the evaluated one: "
    "the only regime without similar tasks in training",
    "zero-shot(-family)": "trained on all tasks except the evaluated one, which is a "
    "family by itself",
    BEST_BY_CPR: "on each task the one of in-distribution, near-distribution and "
    "zero-shot with the highest CPR, whatever its CMD and accuracy area",
}
MAP_EXPLANATIONS = {
    "free": "unconstrained trained matrix (as in the paper)",
    "depth-prior": "no training: scores are assigned to nodes of the same type at "
    "similar relative depth",
    "cka-prior": "depth-prior, weighted by the similarity of the nodes' outputs (CKA)",
    "prior-residual": "trained matrix regularised towards an untrained correspondence "
    "of nodes, by default that of cka-prior",
    "lineage": "no training: from node to node as recorded when one model was made "
    "from the other, or both from a third one; 0 for other nodes",
    "matched": "no training: nodes are matched one to one by what changes in them "
    "between clean and corrupted prompts (debiased CKA); 0 for other nodes",
    "lineage-filled": "lineage, and for target nodes without a counterpart how much "
    "they change (as node-changes)",
    "matched-filled": "matched, and for target nodes without a counterpart how much "
    "they change (as node-changes)",
    "mean-gold-lineage": "the target's mean gold scores of the training tasks, plus "
    "what the source's scores are beyond their own mean, mapped by lineage; a "
    "constant source gives mean-gold",
    "mean-gold-matched": "the same, mapped by matched",
    "mean-gold-residual": "the same, mapped by the correspondence that prior-residual "
    "begins with",
    "stitched": "computed for every task from forward passes of both models on its "
    "prompts: a target node receives a source node's score to the extent that their "
    "outputs change in the same way between corrupted and clean prompts",
    "carried-gradients": "from the same passes: the change of a target node's output, "
    "times the source's gradient mapped to the target; its source-free control is the "
    "size of the change",
}
MEASURE_EXPLANATIONS = {
    "CPR": "area under the curve of faithfulness over circuit size; higher is better, "
    "but faithfulness above 1 raises it too",
    "CMD": "area between this curve and 1; lower is better",
    "accuracy area": "area, over the logarithm of circuit size, of the share of "
    "examples whose right answer has a higher logit than the wrong one; from 0 to 1, "
    "higher is better",
}
MARK_NOTE = (
    "† the aligned circuit is significantly better than this one by the measure of the "
    "row, at .05 over tasks x seeds (sign-flip test, Holm-adjusted); ‡ also over tasks "
    "alone. Without a mark, it is not significantly better."
)
EXAGGERATION_NOTE = (
    f"{EXAGGERATION} the circuit exaggerates: the largest faithfulness of its curve "
    f"exceeds {EXAGGERATED:g} (CSV: columns ending in {EXAGGERATES}). A CPR above 1 "
    "means the same. CPR rewards exaggeration, so compare CMD, which does not."
)
COLLAPSE_NOTE = (
    "WARNING, collapsed fits: training ended with a mask that is closed, or open, for "
    "all nodes, so that their ranking means little; change the sparsity or lower the "
    "learning rate. How many:"
)
INTERVAL_NOTE = (
    "± half-width of the 95 % confidence interval over examples (bootstrap of distinct "
    "pairs of prompts, with the fitted alignments fixed; none of a single pair); seed "
    "deviation: standard deviation of the mean over seeds."
)


def explain(names: Iterable[str]) -> dict[str, str]:
    """Return the definitions of the names that have one, in order."""
    known = MEASURE_EXPLANATIONS | REGIME_EXPLANATIONS
    known |= CONTROL_EXPLANATIONS | MAP_EXPLANATIONS
    names = [*dict.fromkeys(names)]
    known |= {name: _lifted(name) for name in names if is_lifted(name)}
    return {name: known[name] for name in names if name in known}


def _lifted(name: str) -> str:
    return (
        f"edges: the scores of nodes that {name.removeprefix(LIFTED)} gives; an edge "
        "has the score of the lower of the two nodes that it connects"
    )
