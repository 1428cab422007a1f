"""The files that the stages of a study read and write, in all that it has of them.

`w` are the wildcards of a job: an object with one attribute per wildcard.
"""

from collections.abc import Iterator, Sequence

from circuit_transfer.circuits.methods import has_run_gradients, is_learned
from circuit_transfer.prompts.frame import SPLITS
from circuit_transfer.study.edge_transfers import (
    FREE_MASK,
    FREE_MASK_METHOD,
    lifted_maps,
    trained_edge_controls,
)
from circuit_transfer.study.learning import filter_of
from circuit_transfer.study.names import Names
from circuit_transfer.study.paths import (
    Job,
    expanded,
    job,
    jobs,
    path,
    paths,
    wildcards,
)
from circuit_transfer.transfer.controls import trained_controls
from circuit_transfer.transfer.maps import (
    CARRIED,
    COST_PARTS,
    STITCHED,
    fitted_maps,
    needed_correspondences,
)
from circuit_transfer.transfer.training_sets import (
    evaluated_training_sets,
    family_of,
    family_sets,
    training_tasks,
)

PAIR = ("source", "target")


class Study(Names):
    """A view of a valid configuration, defaults filled in."""

    def every(self, pattern: str, **own: Sequence[str]) -> list[str]:
        """Return the paths of a pattern for all that the study has of its wildcards.

        Source and target are those of a transfer, and what varies a setting or is an
        imported circuit has the wildcards of these.

        Args:
            pattern: of a path, or of something else with wildcards.
            own: by wildcard, the values to take instead.
        """
        names = wildcards(pattern)
        found = []
        for block in self._blocks(names):
            values = {name: (block | own)[name] for name in names}
            found += expanded(pattern, **values)
        return list(dict.fromkeys(found))

    def _blocks(self, names: Sequence[str]) -> Iterator[dict[str, Sequence]]:
        """Yield the values of wildcards, in blocks whose values combine freely."""
        free = {
            "model": self.models,
            "target": self.targets,
            "task": self.tasks,
            "split": SPLITS,
            "method": self.methods,
            "edge_method": self.edge_methods,
            "learned_method": self.learned_methods,
            "training_set": self.training_sets,
            "seed": self.seeds,
            "resample": self.resamples,
            "benchmark": list(self.config["benchmark"]),
        }
        if "setting" in names:
            bound = self.varied
        elif "teacher" in names:
            bound = self.distillations
        elif "circuit" in names:
            bound = [
                {"target": each["target"], "task": each["task"], "circuit": name}
                for name, each in self.circuits.items()
            ]
        elif "source" in names:
            bound = [dict(zip(PAIR, each, strict=True)) for each in self.transfers]
            free["edge_method"] = self.edge_transfers
        else:
            bound = [{}]
        return (free | each for each in bound)

    def measured(self) -> dict[str, list[str]]:
        """Return the files of all measured circuits, by kind.

        Of edges those that are compared with what is transferred, where something is.
        """
        kinds = ("gold", "random", "aligned", "imported")
        own = {"edge_method": self.edge_transfers}
        random = path("random-edges")
        return {
            **{kind: self.every(path(kind)) for kind in kinds},
            "aligned_edges": self.every(path("aligned-edges")),
            "gold_edges": self.every(path("edge-faithfulness"), **own),
            "random_edges": self.every(random) if self.edge_transfers else [],
        }

    def measured_edges(self) -> dict[str, list[str]]:
        """Return the files of all measured circuits of edges, and of nodes, by kind.

        Without a method of edges there are none to compare with.
        """
        names = ("edge-faithfulness", "random-edges", "lifted", "gold")
        wanted = names if self.finds_edges else ()
        found = (self.every(path(each)) if each in wanted else [] for each in names)
        kinds = dict(zip(("edges", "random", "lifted", "nodes"), found, strict=True))
        kinds["edges"] += self.every(path("learned-faithfulness"))
        return kinds

    def finding_jobs(self, model: str) -> list[Job]:
        """Return the jobs that find circuits of a model, on every task.

        Args:
            model: its name, or a wildcard in braces.
        """
        methods = {
            "attribute_nodes": ("method", self.methods),
            "attribute_edges": ("edge_method", self.scoring_methods),
            "learn_edges": ("learned_method", self.learned_methods),
        }
        return [
            each
            for rule, (wildcard, names) in methods.items()
            for each in jobs(rule, model=model, task=self.tasks, **{wildcard: names})
        ]

    def costly_jobs(self) -> list[Job]:
        """Return the jobs that run models and count what it costs."""
        free_mask = self.transfers and "free-mask" in self.controls
        with_edges = {} if self.finds_edges else None
        edges_stitched = self.edge_transfers and STITCHED in self.edge_maps
        stages = {
            "measure_baseline": {},
            "attribute_nodes": {},
            "fit_alignment": {},
            "stitch_alignment": {} if STITCHED in self.compared else None,
            "carry_gradients": {"method": self._gradient_methods},
            "fit_edge_alignment": {},
            "stitch_edges": {} if edges_stitched else None,
            "fit_free_mask": {} if free_mask else None,
            "evaluate_gold": {},
            "evaluate_random": {},
            "attribute_edges": {"edge_method": self.scoring_methods},
            "verify_edges": {"edge_method": self.verified_methods},
            "learn_edges": {},
            "learn_resampled": {},
            "find_heads": {} if self.learned_methods else None,
            "evaluate_edges": {},
            "evaluate_learned": {},
            "evaluate_at_sizes": {} if self.learned_methods else None,
            "evaluate_weights": {} if "discogp" in self.learned_methods else None,
            "evaluate_random_edges": with_edges,
            "evaluate_lifted": with_edges,
            "evaluate_aligned": {},
            "evaluate_aligned_edges": {},
            "evaluate_imported": {},
            "vary_setting": {},
            "compare_steps": {"method": self.compared_methods},
            "match_heads": {},
            "distil_student": {},
            "evaluate_student": {},
        }
        found = [
            Job(name)
            for rule, own in stages.items()
            if own is not None
            for name in self.every(job(rule).name, **own)
        ]
        for each in self.distillations:
            models = [*each["teacher"], *each["student"]]
            found += jobs("find_critical_heads", model=models, task=each["task"])
        return found

    @property
    def _gradient_methods(self) -> list[str]:
        """The methods with carried gradients, if the study compares them."""
        carried = CARRIED in self.compared
        return [each for each in self.methods if carried and has_run_gradients(each)]

    def break_even_sets(self) -> dict[str, list[str]]:
        """Return the tasks of the training sets that a break-even is counted for."""
        return {
            name: training_tasks(name, self.tasks, self.families)
            for name in ["all", *family_sets(self.tasks, self.families)]
        }

    def benchmarked_models(self, w) -> list[str]:
        """Return the model of a benchmark, if it is one of the configuration."""
        entry = self.config["benchmark"][w.benchmark]
        return [entry["model"]] if "model" in entry else []

    def training_tasks(self, w) -> list[str]:
        """Return the tasks of a training set."""
        return training_tasks(w.training_set, self.tasks, self.families)

    def training_paths(self, w, name: str, **values: str) -> list[str]:
        """Return one path of a pattern for every task of a training set."""
        return paths(name, **values, task=self.training_tasks(w))

    def fitted_maps(self, w) -> list[str]:
        """Return the maps that are fitted on a training set, the main one first."""
        main, *compared = self.maps_of(w.source, w.target)
        return fitted_maps(w.training_set, main, compared)

    def if_compared(self, w, files: list[str]) -> list[str]:
        """Return files only if a map of a training set compares nodes."""
        needed = needed_correspondences(self.fitted_maps(w), self.correspondence)
        return files if needed & COST_PARTS.keys() else []

    def trained_controls(self, w) -> list[str]:
        """Return the controls that are trained on a training set."""
        return trained_controls(w.training_set, self.controls)

    def evaluated_alignments(self, w) -> list[str]:
        """Return the fits whose circuits are measured on a task."""
        sets = evaluated_training_sets(w.task, self.tasks, self.families)
        pair = {"source": w.source, "target": w.target, "method": w.method}
        return paths("alignment", **pair, training_set=sets, seed=self.seeds)

    def free_masks(self, w) -> list[str]:
        """Return the free masks of a task, if the study has that control."""
        seeds = self.seeds if "free-mask" in self.controls else []
        return paths("mask", target=w.target, task=w.task, seed=seeds)

    def edge_ranking(self, w) -> str:
        """Return the scores of edges by a method of either kind, of the first seed."""
        place = {"model": w.model, "task": w.task}
        if not is_learned(w.edge_method):
            return path("edge-scores", edge_method=w.edge_method, **place)
        learned = {"learned_method": w.edge_method, "seed": self.seeds[0]}
        return path("edge-masks", **learned, **place)

    def filter_scores(self, w) -> str | list:
        """Return the edge scores that a learned method leaves edges out by, if any."""
        method = filter_of(self.config, w.learned_method)
        if method is None:
            return []
        return path("edge-scores", model=w.model, task=w.task, edge_method=method)

    def stitched_alignment(self, w) -> str | list:
        """Return a task's stitched alignment, if the study compares it."""
        if STITCHED not in self.compared:
            return []
        return path("stitched", source=w.source, target=w.target, task=w.task)

    def carried_gradients(self, w) -> str | list:
        """Return a task's carried gradients, if the study compares them."""
        if w.method not in self._gradient_methods:
            return []
        place = {"source": w.source, "target": w.target, "task": w.task}
        return path("carried", **place, method=w.method)

    def tasks_of_other_families(self, w) -> list[str]:
        """Return the tasks of the study that are of another family than a task."""
        family = family_of(w.task, self.families)
        return [each for each in self.tasks if family_of(each, self.families) != family]

    def fitted_edge_maps(self, w) -> list[str]:
        """Return the maps of edges that are fitted on a training set, as of nodes."""
        main, *compared = self.edge_maps_of(w.source, w.target)
        return fitted_maps(w.training_set, main, compared)

    def if_edges_compared(self, w, files: list[str]) -> list[str]:
        """Return files only if a map of edges of a training set compares nodes."""
        needed = needed_correspondences(self.fitted_edge_maps(w), self.correspondence)
        return files if needed & COST_PARTS.keys() else []

    def trained_edge_controls(self, w) -> list[str]:
        """Return the controls of edges that are trained on a training set."""
        return trained_edge_controls(w.training_set, self.edge_controls)

    def transferred_edge_scores(self, models: Sequence[str] = ()) -> list[str]:
        """Return the scores of edges of models, by the methods that transfer them.

        Args:
            models: their names; all of the study if empty.
        """
        methods = {"edge_method": self.edge_transfers}
        return self.every(path("edge-scores"), model=models or self.models, **methods)

    def fits(self, w) -> list[str]:
        """Return all fits of a pair and a method of nodes or of edges."""
        every = {"training_set": self.training_sets, "seed": self.seeds}
        pair = {"source": w.source, "target": w.target}
        if w.method in self.edge_transfers:
            return paths("edge-alignment", **pair, edge_method=w.method, **every)
        return paths("alignment", **pair, method=w.method, **every)

    def evaluated_edge_alignments(self, w) -> list[str]:
        """Return the fits of edges whose circuits are measured on a task."""
        sets = evaluated_training_sets(w.task, self.tasks, self.families)
        fit = {"source": w.source, "target": w.target, "edge_method": w.edge_method}
        return paths("edge-alignment", **fit, training_set=sets, seed=self.seeds)

    def stitched_edges(self, w) -> str | list:
        """Return a task's stitched map of edges, if the study compares it."""
        if STITCHED not in self.edge_maps:
            return []
        return path("stitched-edges", source=w.source, target=w.target, task=w.task)

    def lifted_projections(self, w) -> str | list:
        """Return a task's transferred scores of nodes, if they are lifted to edges."""
        if not lifted_maps(self.config):
            return []
        place = {"source": w.source, "target": w.target, "task": w.task}
        method = self.config["alignment"]["edges"]["nodes"]
        return path("projections", **place, method=method)

    def free_edge_masks(self, w) -> list[str]:
        """Return the circuits of edges that are learned without a source, if asked."""
        seeds = self.seeds if FREE_MASK in self.edge_controls else []
        learned = {"learned_method": FREE_MASK_METHOD, "seed": seeds}
        return paths("edge-masks", model=w.target, task=w.task, **learned)
