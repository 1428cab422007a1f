"""What the names in tables and figures mean, one line each."""

from collections.abc import Iterable

CONTROL_EXPLANATIONS = {
    "random-rankings": "the target's nodes in a random order",
    "random-alignment": "the alignment as it was before training",
    "scrambled-source": "the trained alignment, given the source scores in a random "
    "order",
    "permuted-alignment": "the trained alignment with its columns in a random order",
    "depth-heuristic": "no training: scores go to the layers of equal relative depth",
    "mlps-first": "no source and no training: MLPs before heads, early layers first",
    "source-free": "trained and used with one constant for all source scores: what the "
    "target alone teaches",
    "random-source": "trained and used with the source scores in a random order",
    "other-family": "the trained alignment, given the source scores of a task of "
    "another family: does it matter which task was looked at in the source?",
    "mean-gold": "no source: the mean of the training tasks' gold scores on the target",
    "ridge": "supervised: a linear regression from source scores onto the gold scores "
    "of the training tasks",
    "node-changes": "no source, but runs of the target on the task: how much each node "
    "writes otherwise on the corrupted prompts",
    "self-stitched": "from the same runs: the target stitched to itself, each of its "
    "nodes counting the same",
    "free-mask": "a ceiling, no control: scores trained on the target for the task "
    "itself",
}
REGIME_EXPLANATIONS = {
    "gold": "the circuit found on the target itself",
    "in-distribution": "trained on the evaluated task",
    "near-distribution": "trained on its sibling task only",
    "zero-shot": "trained on all tasks but the evaluated one; its siblings, which "
    "share its circuit, are among them",
    "zero-shot-family": "trained on all tasks but those of its family: the only one in "
    "which nothing like the task was seen",
    "zero-shot(-family)": "trained on all tasks but the evaluated one, which "
    "is a family by itself",
    "best": "the best of in-distribution, near-distribution and zero-shot on each task",
}
MAP_EXPLANATIONS = {
    "free": "a matrix without constraints, trained (the paper's)",
    "depth-prior": "scores go to nodes of the same kind at a like relative depth",
    "cka-prior": "the same, and rather to nodes whose outputs are alike (CKA)",
    "prior-residual": "a matrix that is trained to stay near that prior",
    "stitched": "made anew for every task from forward passes of both models on its "
    "prompts: a target node gets a source node's score as far as what the one changes "
    "is what the other changes",
    "carried-gradients": "from the same passes: what a target node changes, times the "
    "source's gradient there; source-free is how much a node changes, whatever for",
}
MARK_NOTE = (
    "† the aligned circuit's CPR is higher than this one's at .05 over tasks x seeds "
    "(sign flips, adjusted by Holm); ‡ also over tasks alone. Without a mark, it "
    "was not shown to be higher."
)
INTERVAL_NOTE = (
    "± half of the 95 % interval over examples (bootstrap), for the fits as they "
    "are; seed deviation: of the mean, over seeds."
)


def explain(names: Iterable[str]) -> dict[str, str]:
    """Return the explanations of those names that have one, in their order."""
    known = REGIME_EXPLANATIONS | CONTROL_EXPLANATIONS | MAP_EXPLANATIONS
    return {name: known[name] for name in dict.fromkeys(names) if name in known}
