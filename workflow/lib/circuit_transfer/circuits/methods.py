"""The table of methods that find circuits: what each one scores, needs and costs.

Everything else that depends on a method's name follows from here: what a configuration
may name, what is checked and counted before a study runs, what the rules ask for, and
the limits of the benchmark. A new method is a row of `METHODS` and a function marked
with `implements`. Some methods score edges by attribution, others learn circuits of
edges by training gates. Nothing that runs a model is imported, so that planning a study
does not load torch.
"""

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from fractions import Fraction
from typing import Any, Literal


@dataclass(frozen=True)
class Nodes:
    """How many nodes a model has, at how many sites; edges, and readers of edges."""

    count: int
    sites: int
    edges: int = 0
    readers: int = 0


# Of one pair, without and with a backward pass, from the nodes and the steps.
Passes = Callable[[Nodes, int], tuple[int, int]]


@dataclass(frozen=True)
class Method:
    """One method: a row of the table.

    Attributes:
        name: as configurations and paths have it.
        label: what its scores are, in plain words.
        passes: how often it runs a pair; of a learned one, how often before the
            training, and how often in every step.
        gradients: what its gradients are of: whole `runs`, so that the residual stream
            has them too, whole runs by other `rules` than the derivative's, one site
            (`sites`) that moves while all else stays, the `gates` of a circuit, or
            `none`.
        scores: what it gives a score.
        steps: whether it integrates over steps.
        ablations: those under which it can score; None for all.
        seeds: whether its result depends on a seed.
        layers: the share of the layers that its passes go through, on average.
        ideal: the passes that the benchmark measures it in, if others than it runs.
        limit: of its seconds over that ideal, if there is one.
        memory_limit: of its memory over that of a bare forward and backward pass.
        learned: whether it trains gates, so that it also gives circuits of its own
            sizes; its settings are those of `pruning`.
    """

    name: str
    label: str
    passes: Passes
    gradients: Literal["runs", "rules", "sites", "gates", "none"]
    scores: Literal["nodes", "edges"] = "nodes"
    steps: bool = False
    ablations: tuple[str, ...] | None = None
    seeds: bool = False
    layers: float = 1.0
    ideal: Passes | None = None
    limit: float | None = None
    memory_limit: float = 2.0
    learned: bool = False

    def ideal_passes(self, nodes: Nodes, ig_steps: int) -> tuple[int, int]:
        """Return the passes that its benchmark is measured in."""
        return (self.ideal or self.passes)(nodes, ig_steps)

    def can_score(self, ablation: str) -> bool:
        """Return whether it can score under an ablation."""
        return self.ablations is None or ablation in self.ablations


def _learned(name: str, label: str, **own: Any) -> Method:
    """Return the row of a method that learns circuits of edges."""
    # Clean and corrupted runs stay the same in all steps.
    how = {"passes": lambda nodes, steps: (2, 1), "gradients": "gates"}
    how |= {"scores": "edges", "seeds": True, "learned": True}
    return Method(name, label, **how | own)


METHODS = {
    method.name: method
    for method in (
        Method(
            "nap",
            "activation differences times the gradient at the clean run",
            passes=lambda nodes, steps: (1, 1),
            gradients="runs",
            limit=1.15,
        ),
        Method(
            "nap-ig-inputs",
            "activation differences times the gradient averaged over steps from the "
            "corrupted input to the clean one",
            # The last step is the clean run, which the ideal has once more.
            passes=lambda nodes, steps: (1, steps),
            ideal=lambda nodes, steps: (2, steps),
            gradients="runs",
            steps=True,
            ablations=("counterfactual",),
            limit=1.10,
        ),
        Method(
            "nap-ig-activations",
            "activation differences times the gradient averaged over steps in which "
            "one site alone moves from ablated to clean",
            passes=lambda nodes, steps: (2, nodes.sites * steps),
            gradients="sites",
            steps=True,
            # A pass begins at the moved site: half of the layers on average.
            layers=0.5,
            limit=0.6,
        ),
        Method(
            "nap-relp",
            "as nap, with a backward pass in which norms and the slopes of activations "
            "are constant and gated products share their gradient",
            passes=lambda nodes, steps: (1, 1),
            gradients="rules",
        ),
        Method(
            "exact",
            "the drop of the metric when one node alone is ablated, one by one",
            passes=lambda nodes, steps: (2 + nodes.count, 0),
            gradients="none",
            layers=0.5,
        ),
        Method(
            "eap",
            "output differences of the writer times the gradient at what the reader "
            "reads in the clean run",
            passes=lambda nodes, steps: (1, 1),
            gradients="runs",
            scores="edges",
            limit=1.25,
        ),
        Method(
            "eap-ig-inputs",
            "output differences of the writer times the gradient at what the reader "
            "reads, averaged over steps from the corrupted input to the clean one",
            passes=lambda nodes, steps: (1, steps),
            gradients="runs",
            scores="edges",
            steps=True,
            ablations=("counterfactual",),
            limit=1.3,
            memory_limit=2.6,
        ),
        Method(
            "eap-ig-activations",
            "output differences of the writer times the gradient at what the reader "
            "reads, averaged over steps in which the writers of one site move from "
            "ablated to clean",
            passes=lambda nodes, steps: (2, (nodes.sites + 1) * steps),
            gradients="sites",
            scores="edges",
            steps=True,
            ablations=("counterfactual",),
            layers=0.5,
        ),
        Method(
            "eap-conductance",
            "changes of the writer's output from step to step times the gradient at "
            "what the reader reads there",
            passes=lambda nodes, steps: (1 + steps, steps),
            gradients="runs",
            scores="edges",
            steps=True,
            ablations=("counterfactual",),
        ),
        Method(
            "eap-gim",
            "as eap, with a backward pass in which softmax saturates less, norms are "
            "constant and products share their gradient",
            passes=lambda nodes, steps: (1, 1),
            gradients="rules",
            scores="edges",
        ),
        Method(
            "eap-exact",
            "the drop of the metric when one edge alone is ablated, one by one",
            passes=lambda nodes, steps: (2 + nodes.edges, 0),
            gradients="none",
            scores="edges",
            # A later reader has more edges, and of the last layer only the answer runs.
            layers=0.3,
        ),
        _learned(
            "edge-pruning",
            "hard concrete gates on all edges, trained by the divergence from the "
            "whole model under a constraint on how many are open",
        ),
        _learned(
            "hap",
            "as edge-pruning, on the highest edges of an attribution method alone",
        ),
        _learned(
            "soft-top-k",
            "one ranking of the edges, trained through soft masks of all sizes",
        ),
        _learned(
            "discogp",
            "gates on single weights and on edges, trained so that the circuit answers "
            "and what it leaves out does not",
            ablations=("counterfactual", "zero"),
            # The circuit, and what it leaves out.
            passes=lambda nodes, steps: (2, 2),
        ),
        _learned(
            "node-pruning",
            "as edge-pruning, with one gate for all edges that a head or MLP writes",
        ),
        _learned(
            "node-soft-top-k",
            "as soft-top-k, with one score for all edges that a head or MLP writes",
        ),
    )
}
# What runs, by method: filled in by the modules that run models.
FUNCTIONS: dict[str, Callable] = {}


def implements(name: str) -> Callable[[Callable], Callable]:
    """Mark a function as the one that a method of the table runs.

    It is found by import, so that the code that a job records is that which it ran.

    Raises:
        ValueError: the method is unknown.
    """
    method_of(name)

    def mark(function: Callable) -> Callable:
        FUNCTIONS[name] = function
        return function

    return mark


def method_of(name: str) -> Method:
    """Return a method's row.

    Raises:
        ValueError: the method is unknown.
    """
    if name not in METHODS:
        raise ValueError(f"method {name!r} is not one of {', '.join(METHODS)}")
    return METHODS[name]


def node_methods() -> tuple[str, ...]:
    """Return the names of the methods that score nodes."""
    return _methods_of("nodes")


def edge_methods() -> tuple[str, ...]:
    """Return the names of the methods that score edges by attribution."""
    return _methods_of("edges")


def learned_methods() -> tuple[str, ...]:
    """Return the names of the methods that learn circuits of edges."""
    return tuple(each.name for each in METHODS.values() if each.learned)


def is_learned(name: str) -> bool:
    """Return whether a method learns circuits of edges."""
    return method_of(name).learned


def _methods_of(scored: str) -> tuple[str, ...]:
    attributing = (each for each in METHODS.values() if not each.learned)
    return tuple(each.name for each in attributing if each.scores == scored)


def takes_steps(name: str) -> bool:
    """Return whether a method integrates over steps."""
    return method_of(name).steps


def steps_of(name: str, ig_steps: int) -> int:
    """Return how many steps a method integrates over: one where it does not."""
    return ig_steps if takes_steps(name) else 1


def step_shares(counts: Iterable[int]) -> list[Fraction]:
    """Return where the steps are on the way from ablated (0) to clean (1), in order.

    Args:
        counts: one or several numbers of steps; a share of several of them stands once.
    """
    steps = {Fraction(step, n) for n in counts for step in range(1, n + 1)}
    return sorted(steps)


def has_run_gradients(name: str) -> bool:
    """Return whether a method's gradients are the metric's derivatives in whole runs.

    Only those can be taken in the residual stream, too.
    """
    return method_of(name).gradients == "runs"


def method_passes(name: str, nodes: Nodes, ig_steps: int) -> tuple[int, int]:
    """Return how often a method runs a pair, without and with a backward pass.

    Raises:
        ValueError: the method is unknown.
    """
    return method_of(name).passes(nodes, ig_steps)


def check_method(name: str, ablation: str, scores: str | None = None) -> None:
    """Check that a method can score under an ablation.

    Args:
        name: of the method.
        ablation: see `ablations`.
        scores: what it must give a score by attribution, `nodes` or `edges`; None for
            any method.

    Raises:
        ValueError: the method is unknown, or cannot.
    """
    method = method_of(name)
    if scores and name not in _methods_of(scores):
        does = "learns circuits of" if method.learned else "scores"
        raise ValueError(
            f"method {name} {does} {method.scores}; expected one of "
            f"{', '.join(_methods_of(scores))}, which score {scores}"
        )
    if not method.can_score(ablation):
        others = (
            each.name
            for each in METHODS.values()
            if (each.scores, each.learned) == (method.scores, method.learned)
            and each.can_score(ablation)
        )
        raise ValueError(
            f"ablation {ablation!r} with {name} ({method.label}); expected the "
            f"ablation {' or '.join(method.ablations)}, or one of the methods "
            f"{', '.join(others)}"
        )
