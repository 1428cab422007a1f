"""What a study is of, as the page and the terminal name it."""

from collections.abc import Sequence
from dataclasses import dataclass


@dataclass(frozen=True)
class Names:
    """What a study is of, in the order of the configuration.

    Attributes:
        tasks: the tasks.
        methods: the attribution methods that score nodes.
        edge_methods: those that score edges.
        targets: the models whose circuits are measured.
        pairs: source and target of every transfer.
        maps: the maps from source to target scores, the main one first.
        seeds: the seeds of the alignments and of learned circuits.
        learned_methods: the methods that learn circuits of edges.
        sizes: the sizes that they learn circuits for, as shares of all edges.
        distilled: teacher and student of every distillation.
        variants: how students are trained.
        accuracy: until which their steps are counted.
        steps: those of a training.
        omitted: the maps that a pair has none of, each as source, target and map.
    """

    tasks: Sequence[str]
    methods: Sequence[str]
    edge_methods: Sequence[str]
    targets: Sequence[str]
    pairs: Sequence[tuple[str, str]]
    maps: Sequence[str]
    seeds: Sequence[int]
    learned_methods: Sequence[str] = ()
    sizes: Sequence[float] = ()
    distilled: Sequence[tuple[str, str]] = ()
    variants: Sequence[str] = ()
    accuracy: float = 0.0
    steps: int = 0
    omitted: Sequence[Sequence[str]] = ()

    def maps_of(self, source: str, target: str) -> list[str]:
        """Return the maps of a pair, the main one first."""
        omitted = [[*each] for each in self.omitted]
        return [name for name in self.maps if [source, target, name] not in omitted]
