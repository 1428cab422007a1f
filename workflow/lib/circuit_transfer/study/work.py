"""One job of a study that runs a model: how often it runs it, and what it holds."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace

from circuit_transfer.transfer.maps import CKA, MATCHED, needed_correspondences

# About how many tokens a prompt has, by the name of its generator or of its MIB task:
# of Llama-3 and Qwen-2.5 tokenizers, which differ by a few tokens.
PROMPT_TOKENS = {
    "ioi": 22,
    "mcqa": 40,
    "copycolors_mcqa": 40,
    "arithmetic-addition": 16,
    "arithmetic_addition": 16,
    "arithmetic-subtraction": 16,
    "arithmetic_subtraction": 16,
    "arc-easy": 80,
    "arc_easy": 80,
    "arc-challenge": 100,
    "arc_challenge": 100,
    "entity-tracking": 70,
    "theory-of-mind": 95,
}
OTHER_PROMPT_TOKENS = 50  # of a task from a file, which is not read for an estimate
# How often both models run to compare their nodes, by correspondence: on the clean
# prompts, or on the corrupted ones too.
COMPARING_PASSES = {CKA: 1, MATCHED: 2}


@dataclass(frozen=True)
class EdgeWork:
    """What a job computes and holds for edges, beside the passes of a model.

    Attributes:
        kv: which readers there are, see `models.edges.edge_graph`.
        carried: how many edges carry an output of their own, at every token.
        buffers: how often the outputs of all writers, and what the readers of one layer
            read, are in memory at once, each as wide as the model.
        runs: of how many runs the gradients at all readers are, in float32; 0 where
            only what the readers compute is.
        scored: whether scores of all edges are held, of every example of a batch.
        cached: of how many runs the outputs of all writers are held, of all pairs.
    """

    kv: str
    carried: int
    buffers: int
    runs: int = 0
    scored: bool = False
    cached: int = 0


@dataclass(frozen=True)
class Work:
    """One job of a stage that runs a model.

    Attributes:
        stage: the rule.
        model: the model that runs.
        pairs: how many pairs, by task.
        forwards: passes without a backward pass, of every pair.
        forward_backwards: passes with one, of every pair.
        batch_size: pairs in one pass.
        copies: how often the outputs of all nodes are in memory at once.
        logits: how many times logits `(vocabulary,)` are held at once.
        holds_all: whether they are held of all pairs, or only of a batch.
        written_bytes: size of the tensors that the job writes.
        beside: the job is another one's, which runs this model too.
        layers: the share of the layers that its passes go through, on average.
        circuits: how many run side by side in a pass with a backward pass, each on all
            pairs of a batch.
        splits: whether they take turns where not all of them fit into memory.
        masks: how many numbers there are in memory for every weight of the model, where
            weights have masks that are trained.
        edges: what it has to do with edges, if it has.
        learned: how many numbers are trained beside those of the model.
        trained: which weights have gradients, and moments of an optimiser, see
            `distillation.variants.Variant`; none if empty.
        writes_weights: whether the job writes the weights, in float32.
    """

    stage: str
    model: str
    pairs: Mapping[str, int]
    forwards: int
    forward_backwards: int
    batch_size: int
    copies: int
    logits: int
    holds_all: bool = False
    written_bytes: int = 0
    beside: bool = False
    layers: float = 1.0
    circuits: int = 1
    splits: bool = False
    masks: int = 0
    edges: EdgeWork | None = None
    learned: int = 0
    trained: str = ""
    writes_weights: bool = False


def prompt_tokens(tasks: Mapping[str, Mapping]) -> dict[str, int]:
    """Return about how many tokens a prompt of every task of a config has."""
    origins = {
        name: entry.get("mib") or entry.get("generator")
        for name, entry in tasks.items()
    }
    return {
        name: PROMPT_TOKENS.get(origin, OTHER_PROMPT_TOKENS)
        for name, origin in origins.items()
    }


def available(config: Mapping, task: str, split: str, wanted: int) -> int:
    """Return how many pairs of a task a job has, of those that it wants."""
    return min(wanted, config["tasks"][task].get(split, wanted))


def in_a_pass(settings: Mapping) -> int:
    """Return the pairs in a pass: of `auto`, which takes what there is, the least."""
    return 1 if settings["batch_size"] == "auto" else settings["batch_size"]


def with_comparisons(
    fit: Work, source: str, maps: Sequence[str], config: Mapping
) -> Iterator[Work]:
    """Yield the job of a fit, and the runs of both models to compare their nodes.

    Args:
        fit: the job without them.
        source: the model that runs beside its own.
        maps: those that are fitted.
        config: a valid configuration, defaults filled in.
    """
    chosen = config["alignment"]["prior"]["correspondence"]
    needed = needed_correspondences(maps, chosen)
    compared = sum(COMPARING_PASSES[each] for each in needed & {*COMPARING_PASSES})
    yield replace(fit, forwards=fit.forwards + compared)
    if compared:
        runs = {"forwards": compared, "forward_backwards": 0, "written_bytes": 0}
        # The circuits are those of the target; the outputs of all nodes are compared.
        own = {"edges": None, "circuits": 1, "splits": False, "learned": 0}
        own |= {"copies": max(1, fit.copies)}
        yield replace(fit, model=source, beside=True, **runs, **own)
