"""The sets of names of a study: tasks, methods, models, transfers, maps and seeds."""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from itertools import chain, product
from typing import Any

from circuit_transfer.circuits.methods import (
    edge_methods,
    learned_methods,
    node_methods,
    takes_steps,
)
from circuit_transfer.distillation.matchings import MATCHINGS
from circuit_transfer.distillation.variants import VARIANTS
from circuit_transfer.prompts.frame import SPLITS
from circuit_transfer.study.checks import studied_models, studied_targets
from circuit_transfer.study.convergence import compared_methods
from circuit_transfer.study.distillation import distillations
from circuit_transfer.study.edge_transfers import (
    edge_controls,
    edge_maps,
    edge_transfers,
)
from circuit_transfer.study.edges import verified_methods
from circuit_transfer.study.learning import (
    attributing_methods,
    filter_of,
    learning_methods,
    scoring_methods,
)
from circuit_transfer.study.map_checks import (
    are_related,
    edge_maps_by_lineage,
    maps_by_lineage,
)
from circuit_transfer.transfer.controls import TARGET_ONLY, WITHOUT_SOURCE
from circuit_transfer.transfer.training_sets import study_families, training_sets


@dataclass(frozen=True, eq=False)
class Names:
    """The names that a valid configuration selects, defaults filled in.

    Their sets keep the order of the configuration; tables show them in it.

    Attributes:
        config: the configuration.
        recorded: see `map_checks.recorded_ancestors`.
    """

    config: Mapping[str, Any]
    recorded: Mapping[str, Sequence[str]] = field(default_factory=dict)

    @property
    def tasks(self) -> list[str]:
        """The tasks that circuits are found for."""
        return self.config["study"]["tasks"]

    @property
    def methods(self) -> list[str]:
        """The methods that score nodes."""
        return self.config["study"]["methods"]

    @property
    def edge_methods(self) -> list[str]:
        """The methods that score edges by attribution."""
        return attributing_methods(self.config)

    @property
    def learned_methods(self) -> list[str]:
        """The methods that learn circuits of edges."""
        return learning_methods(self.config)

    @property
    def scoring_methods(self) -> list[str]:
        """The methods that score edges, for what a learned one leaves out too."""
        return scoring_methods(self.config)

    @property
    def sizes(self) -> list[float]:
        """The sizes that circuits are learned for, if any are."""
        return self.config["pruning"]["sizes"] if self.learned_methods else []

    @property
    def filters(self) -> dict[str, str]:
        """By learned method, the one that scores the edges among which it learns."""
        found = {each: filter_of(self.config, each) for each in self.learned_methods}
        return {method: name for method, name in found.items() if name}

    @property
    def finds_edges(self) -> bool:
        """Whether circuits of edges are found, by a method of either kind."""
        return bool(self.config["study"]["edge_methods"])

    @property
    def verified_methods(self) -> list[str]:
        """The methods of which some edges are patched one by one."""
        return verified_methods(self.config)

    @property
    def seeds(self) -> list[int]:
        """The seeds of the alignments and of the learned circuits."""
        return self.config["study"]["seeds"]

    @property
    def resamples(self) -> list[int]:
        """The numbers of the resampled training pairs that circuits are learned on."""
        wanted = self.config["pruning"]["resamples"] if self.learned_methods else 0
        return [*range(wanted)]

    @property
    def compared(self) -> list[str]:
        """The maps that the main one is compared with."""
        return self.config["alignment"]["compare"]

    @property
    def controls(self) -> list[str]:
        """What a transfer is compared with."""
        return self.config["alignment"]["controls"]

    @property
    def circuits(self) -> Mapping[str, Mapping]:
        """The imported circuits, by name."""
        return self.config["evaluation"]["circuits"]

    @cached_property
    def transfers(self) -> list[tuple[str, str]]:
        """The pairs of source and target."""
        pairs = self.config["study"]["transfers"]
        return [(pair["source"], pair["target"]) for pair in pairs]

    @cached_property
    def models(self) -> list[str]:
        """The models whose nodes are scored."""
        return studied_models(self.config["study"], self.config["models"])

    @cached_property
    def targets(self) -> list[str]:
        """The models whose circuits are measured."""
        return studied_targets(self.config["study"], self.config["models"])

    @cached_property
    def families(self) -> dict[str, list[str]]:
        """The families of the tasks."""
        return study_families(self.tasks, self.config["study"]["families"])

    @cached_property
    def tests_families(self) -> bool:
        """Whether transfers are compared with controls over several families."""
        asked = {*self.controls} & {*TARGET_ONLY, *chain(*WITHOUT_SOURCE.values())}
        return bool(self.transfers and len(self.families) > 1 and asked)

    @cached_property
    def training_sets(self) -> list[str]:
        """The training sets that alignments are fitted on."""
        return training_sets(self.tasks, self.families)

    @property
    def partial_sets(self) -> list[str]:
        """The training sets that leave something out."""
        return [each for each in self.training_sets if each != "all"]

    @property
    def main_map(self) -> str:
        """The map that the others are compared with."""
        return self.config["alignment"]["map"]

    @cached_property
    def maps(self) -> list[str]:
        """All maps, the main one first."""
        return list(dict.fromkeys([self.main_map, *self.compared]))

    def maps_of(self, source: str, target: str) -> list[str]:
        """Return the maps of a pair: those by lineage only of models that have one."""
        return self._had(self.maps, maps_by_lineage(self.config), source, target)

    @property
    def edge_transfers(self) -> list[str]:
        """The methods whose scores of edges are transferred."""
        return edge_transfers(self.config)

    @property
    def transferred_methods(self) -> list[str]:
        """The methods of nodes, and those whose scores of edges are transferred."""
        return [*self.methods, *self.edge_transfers]

    @property
    def edge_map(self) -> str:
        """The map of edges that the others are compared with."""
        return self.edge_maps[0]

    @cached_property
    def edge_maps(self) -> list[str]:
        """All maps of edges, the main one first."""
        return edge_maps(self.config)

    @property
    def edge_controls(self) -> list[str]:
        """What a transfer of edges is compared with."""
        return edge_controls(self.config)

    def edge_maps_of(self, source: str, target: str) -> list[str]:
        """Return the maps of edges of a pair, as `maps_of` those of nodes."""
        lineage = edge_maps_by_lineage(self.config)
        return self._had(self.edge_maps, lineage, source, target)

    def maps_by_method(
        self, source: str | None = None, target: str | None = None
    ) -> dict[str, list[str]]:
        """Return the maps of every transferred method: of a pair, or else all."""
        nodes, edges = self.maps, self.edge_maps
        if source is not None:
            nodes = self.maps_of(source, target)
            edges = self.edge_maps_of(source, target)
        return self._by_method(nodes, edges)

    @property
    def every_map(self) -> list[str]:
        """The maps of nodes and of edges, each once."""
        return list(dict.fromkeys(chain(*self.maps_by_method().values())))

    @property
    def controls_by_method(self) -> dict[str, list[str]]:
        """The controls of every transferred method."""
        return self._by_method(self.controls, self.edge_controls)

    def _by_method(self, nodes: list[str], edges: list[str]) -> dict[str, list[str]]:
        found = dict.fromkeys(self.methods, nodes)
        return found | dict.fromkeys(self.edge_transfers, edges)

    def _had(
        self, maps: list[str], by_lineage: Sequence[str], source: str, target: str
    ) -> list[str]:
        """Return which of some maps a pair has."""
        if are_related(self.config["models"], self.recorded, source, target):
            return maps
        return [name for name in maps if name not in by_lineage]

    @cached_property
    def omitted_maps(self) -> list[list[str]]:
        """The maps that a pair has none of, each as source, target and map."""
        return [
            [*pair, name]
            for pair in self.transfers
            for name in self.every_map
            if name not in chain(*self.maps_by_method(*pair).values())
        ]

    @property
    def correspondence(self) -> str:
        """Which nodes are alike where the training of a map begins with a prior."""
        return self.config["alignment"]["prior"]["correspondence"]

    @cached_property
    def varied(self) -> list[dict[str, str]]:
        """The jobs that vary a setting, by their wildcards.

        Methods without integrated gradients have no steps to vary.
        """
        every = product(self.transfers, self.methods, self.config["sensitivity"])
        return [
            {"source": source, "target": target, "method": method, "setting": setting}
            for (source, target), method, setting in every
            if setting != "ig_steps" or takes_steps(method)
        ]

    @property
    def varied_families(self) -> list[dict[str, str]]:
        """Those of them that vary the number of training families."""
        return [each for each in self.varied if each["setting"] == "training_families"]

    @cached_property
    def compared_methods(self) -> list[str]:
        """The methods of which numbers of steps are compared."""
        return compared_methods(self.config)

    @cached_property
    def distillations(self) -> list[dict[str, list]]:
        """What is distilled by its wildcards: one teacher and student, or none."""
        return distillations(self.config)

    @property
    def growing(self) -> list[str]:
        """The benchmarks that measure how the time grows."""
        entries = self.config["benchmark"].items()
        return [name for name, entry in entries if entry["scaling"]]

    def wildcard_constraints(self) -> dict[str, str]:
        """Return the regular expression of every wildcard: the names that it may be."""
        models, tasks = self.config["models"], self.config["tasks"]
        names = {
            "model": models,
            "source": models,
            "target": models,
            "task": tasks,
            "method": node_methods(),
            "edge_method": edge_methods(),
            "learned_method": learned_methods(),
            "split": SPLITS,
            "training_set": training_sets(tasks, self.config["study"]["families"]),
            "circuit": self.circuits,
            "setting": self.config["sensitivity"],
            "benchmark": self.config["benchmark"],
            "matching": MATCHINGS,
            "variant": VARIANTS,
        }
        for role in ("teacher", "student"):
            names[role] = [name for each in self.distillations for name in each[role]]
        either = {key: "|".join(map(re.escape, each)) for key, each in names.items()}
        return {**either, "seed": r"\d+", "n": r"\d+", "resample": r"\d+"}

    @property
    def any_edge_method(self) -> dict[str, str]:
        """The constraint of `edge_method` where methods that learn are meant too."""
        return {"edge_method": "|".join([*edge_methods(), *learned_methods()])}

    @property
    def any_method(self) -> dict[str, str]:
        """The constraint of `method` where methods of edges are meant too."""
        return {"method": "|".join([*node_methods(), *edge_methods()])}

    def selected(self, *keys: str) -> dict[str, Any]:
        """Return what the scripts of figures and tables take by these names."""
        values = {
            "ablation": self.config["evaluation"]["ablations"][0],
            "controls": self.controls,
            "edge_methods": self.edge_methods,
            "edge_ranking": self.config["alignment"]["edges"]["ranking"],
            "learned_methods": self.learned_methods,
            "families": self.families,
            "filters": self.filters,
            "map_name": self.main_map,
            "maps": self.maps,
            "methods": self.methods,
            "pairs": self.transfers,
            "proportions": self.config["evaluation"]["proportions"],
            "seeds": self.seeds,
            "sizes": self.sizes,
            "siblings": self.config["study"]["siblings"],
            "targets": self.targets,
            "tasks": self.tasks,
            "transferred_methods": self.transferred_methods,
            "transfers": self.config["study"]["transfers"],
        }
        return {key: values[key] for key in keys}
