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
        maps: the maps from source to target scores of nodes, the main one first.
        seeds: the seeds of the alignments and of learned circuits.
        learned_methods: the methods that learn circuits of edges.
        sizes: the sizes that they learn circuits for, as shares of all edges.
        distilled: teacher and student of every distillation.
        variants: how students are trained.
        accuracy: until which their steps are counted.
        steps: those of a training.
        omitted: the maps that a pair has none of, each as source, target and map.
        edge_transfers: the methods whose scores of edges are transferred.
        edge_maps: the maps of these scores, the main one first.
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
    edge_transfers: Sequence[str] = ()
    edge_maps: Sequence[str] = ()

    def maps_of(self, source: str, target: str) -> list[str]:
        """Return the maps of nodes of a pair, the main one first."""
        return self._had(self.maps, source, target)

    def edge_maps_of(self, source: str, target: str) -> dict[str, list[str]]:
        """Return the maps of edges of a pair by method, the main one first."""
        maps = self._had(self.edge_maps, source, target)
        return dict.fromkeys(self.edge_transfers, maps)

    def maps_by_method(self, source: str, target: str) -> dict[str, list[str]]:
        """Return the maps of a pair by method of nodes, and of edges."""
        nodes = dict.fromkeys(self.methods, self.maps_of(source, target))
        return nodes | self.edge_maps_of(source, target)

    def _had(self, maps: Sequence[str], source: str, target: str) -> list[str]:
        omitted = [[*each] for each in self.omitted]
        return [name for name in maps if [source, target, name] not in omitted]
