"""The sections of the page of a study, from its frames and figures."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field

import polars as pl

from circuit_transfer.summary import (
    circuits,
    costs,
    distillation,
    edge_circuits,
    edge_transfers,
    edges,
    methods,
    models,
    nodes,
    omissions,
    source,
    source_use,
)
from circuit_transfer.summary.names import Names
from circuit_transfer.summary.page import Bars, Drawing, Image, Section, page
from circuit_transfer.summary.wording import counted, joined, listed
from circuit_transfer.tables.by_method import main_maps
from circuit_transfer.tables.distillation import (
    DistillationLevels,
    distillation_table,
    distillation_tests,
)
from circuit_transfer.tables.edge_levels import EdgeLevels, edges_table
from circuit_transfer.tables.methods import MethodLevels, methods_table
from circuit_transfer.tables.models import CHANCE
from circuit_transfer.tables.transfers import Pair

READING = "In brackets: 95 % intervals, of measures over test examples"
TESTED = (
    ", of differences over tasks and seeds. p values are two-sided and adjusted by "
    "Holm's method; a difference that is not significant at .05 is called not shown."
)
RIGHT = "Share of test pairs with the right answer above the wrong one; line: chance"


@dataclass(frozen=True)
class Frames:
    """The results that the page is made from, all of one ablation.

    Attributes:
        statistics: levels and differences of all circuits.
        cpr: the areas of every circuit.
        edges: levels and differences of circuits of edges; None without any.
        models: the table of models, a row per model and task.
        rejects: the summary of rejected rows.
        costs: the table of costs.
        balance: the break-even of every pair.
        top_nodes: by target, the table of its highest nodes.
        top_edges: by target, the table of its highest edges; empty without any.
        methods: by target, the statistics of all methods, if circuits are learned.
        students: by teacher and student, the statistics of the trained students.
        source_use: differences to controls over families; None without several.
    """

    statistics: pl.DataFrame
    cpr: pl.DataFrame
    edges: pl.DataFrame | None
    models: pl.DataFrame
    rejects: pl.DataFrame
    costs: pl.DataFrame
    balance: pl.DataFrame
    top_nodes: Mapping[str, pl.DataFrame]
    top_edges: Mapping[str, pl.DataFrame]
    methods: Mapping[str, pl.DataFrame] = field(default_factory=dict)
    students: Mapping[tuple[str, str], pl.DataFrame] = field(default_factory=dict)
    source_use: pl.DataFrame | None = None


def study_page(
    frames: Frames,
    names: Names,
    figures: Mapping[str, Sequence[Image | Drawing]],
    index: Mapping[str, Sequence[str]],
) -> str:
    """Return the page of a study.

    Args:
        frames: its results.
        names: what it is of.
        figures: by the section that shows them: `nodes`, `drawings`, `faithful`,
            `edges`, `methods`, `source`, `distillation`, `cost`.
        index: by topic, files that the page links to, relative to it.
    """
    faithful = _transfers if names.pairs else _circuits
    # By anchor, which the figures name as well; only what the study has.
    parts = {"nodes": _nodes} if names.methods else {}
    parts |= {"drawings": _drawings} if names.edge_methods else {}
    parts |= {"faithful": faithful} if names.methods else {}
    parts |= {"edges": _edges} if names.edge_methods else {}
    parts |= {"methods": _methods} if names.learned_methods else {}
    parts |= {"source": _source} if names.pairs else {}
    parts |= {"distillation": _distillation} if names.distilled else {}
    sections = [
        _models(frames),
        *(
            section(frames, names, figures.get(anchor, ()))
            for anchor, section in parts.items()
        ),
        _costs(frames, figures.get("cost", ())),
        _omissions(frames, names),
    ]
    return page(_title(names), _introduction(names), sections, index)


def _title(names: Names) -> str:
    if len(names.pairs) == 1:
        return "Circuits transferred from {} to {}".format(*names.pairs[0])
    if names.pairs:
        return f"Circuits transferred between {len(names.pairs)} pairs of models"
    if len(names.distilled) == 1:
        return "Circuits distilled from {} into {}".format(*names.distilled[0])
    return f"Circuits of {listed(names.targets, 'models')}"


def _introduction(names: Names) -> Iterator[str]:
    tasks = f"{counted(len(names.tasks), 'task')}: {listed(names.tasks)}"
    scored = {"Nodes": names.methods, "Edges": names.edge_methods}
    yield " ".join(
        [
            f"{tasks}.",
            *(
                f"{what} scored by {joined(methods)}."
                for what, methods in scored.items()
                if methods
            ),
            *_learned(names),
        ]
    )
    if names.pairs:
        pairs = [f"{source} → {target}" for source, target in names.pairs]
        of_edges = ""
        if names.edge_transfers:
            methods = joined(names.edge_transfers)
            of_edges = f", scores of edges ({methods}) by {names.edge_maps[0]}"
        yield (
            f"Transferred: {listed(pairs)}, by the map {names.maps[0]}{of_edges}, with "
            f"{counted(len(names.seeds), 'seed')}."
        )
    if names.distilled:
        pairs = [f"{teacher} → {student}" for teacher, student in names.distilled]
        variants = counted(len(names.variants), "variant")
        yield f"Distilled: {listed(pairs)}, by {variants}: {joined(names.variants)}."
    yield READING + (TESTED if names.pairs or names.distilled else ".")


def _learned(names: Names) -> Iterator[str]:
    if names.learned_methods:
        sizes = joined([f"{100 * size:g} %" for size in names.sizes])
        yield (
            f"Circuits of {sizes} of the edges learned by "
            f"{joined(names.learned_methods)}."
        )


def _models(frames: Frames) -> Section:
    bars = Bars(RIGHT, models.right_shares(frames.models), CHANCE)
    table = models.models_overview(frames.models)
    answer = models.models_answer(frames.models)
    tables = {"Models and tasks": table}
    return Section("models", models.QUESTION, answer, [bars], tables)


def _nodes(frames: Frames, names: Names, figures: Sequence[Image]) -> Section:
    answer, tables = [], {}
    for target in names.targets:
        top = frames.top_nodes[target]
        answer += nodes.nodes_answer(top, target=target)
        tables[f"Nodes of {target}"] = nodes.nodes_table(top)
    return Section("nodes", nodes.QUESTION, answer, figures, tables)


def _drawings(
    frames: Frames, names: Names, figures: Sequence[Image | Drawing]
) -> Section:
    answer, tables = [], {}
    for target in names.targets:
        top = edges.with_arrows(frames.top_edges[target])
        answer += nodes.nodes_answer(top, target=target, noun="edge")
        table = nodes.nodes_table(top, noun="edge", note=edges.NOTE)
        tables[f"Edges of {target}"] = table
    return Section("drawings", edges.QUESTION, answer, figures, tables)


def _transfers(frames: Frames, names: Names, figures: Sequence[Image]) -> Section:
    answer, tables = [], {}
    for pair, models_of in _pairs(frames, names):
        maps = names.maps_by_method(**models_of)
        answer += [
            circuits.transfer_answer(pair, **models_of, method=method, map_name=name)
            for method, name in main_maps(maps).items()
        ]
        arrow = " → ".join(models_of.values())
        tables[f"Circuits, {arrow}"] = circuits.transfer_table(pair, maps=maps)
        tables[f"Circuits by task, {arrow}"] = circuits.transfers_by_task(
            pair, tasks=names.tasks, maps=maps
        )
    return Section("faithful", circuits.TRANSFERRED, answer, figures, tables)


def _circuits(frames: Frames, names: Names, figures: Sequence[Image]) -> Section:
    answer, tables = [], {}
    for target in names.targets:
        pair = Pair(frames.statistics, None, target)
        answer += [
            circuits.gold_answer(pair, target=target, method=method, tasks=names.tasks)
            for method in names.methods
        ]
        tables[f"Circuits of {target}"] = circuits.gold_by_task(
            pair, tasks=names.tasks, methods=names.methods
        )
    return Section("faithful", circuits.FOUND, answer, figures, tables)


def _edges(frames: Frames, names: Names, figures: Sequence[Image]) -> Section:
    answer, tables = [], {}
    methods = {"edge_methods": names.edge_methods}
    for target in names.targets:
        levels = EdgeLevels(frames.edges, target)
        answer += [
            edge_circuits.edges_answer(
                levels,
                target=target,
                edge_method=method,
                methods=names.methods,
                tasks=names.tasks,
            )
            for method in names.edge_methods
        ]
        table = edges_table(
            frames.edges,
            target=target,
            tasks=names.tasks,
            methods=names.methods,
            **methods,
        )
        tables[f"Circuits of edges of {target}"] = table
        tables[f"Differences, {target}"] = edge_circuits.differences_table(
            levels, **methods
        )
    return Section("edges", edge_circuits.QUESTION, answer, figures, tables)


def _methods(frames: Frames, names: Names, figures: Sequence[Image]) -> Section:
    answer, tables = [], {}
    for target in names.targets:
        levels = MethodLevels(frames.methods[target])
        scored = {
            "methods": names.methods,
            "edge_methods": names.edge_methods,
            "learned_methods": names.learned_methods,
            "sizes": names.sizes,
        }
        answer += methods.methods_answer(levels, target=target, **scored)
        shown = [levels.over_tasks]
        table = methods_table(frames.methods[target], tasks=shown, **scored)
        tables[f"Methods on {target}"] = table
    return Section("methods", methods.QUESTION, answer, figures, tables)


def _source(frames: Frames, names: Names, figures: Sequence[Image]) -> Section:
    answer, tables = [], {}
    for pair, models_of in _pairs(frames, names):
        maps = names.maps_by_method(**models_of)
        answer += [
            source.source_answer(pair, **models_of, method=method, map_name=name)
            for method, name in main_maps(maps).items()
        ]
        edge_maps = names.edge_maps_of(**models_of)
        for method, name in main_maps(edge_maps).items():
            of_method = {"method": method, "map_name": name}
            answer += edge_transfers.edges_answer(pair, **models_of, **of_method)
        nodes_maps = {method: maps[method] for method in names.methods}
        answer += source.maps_answer(pair, maps=nodes_maps)
        answer += source.maps_answer(pair, maps=edge_maps, what="maps of edges")
        answer += source.floor(pair)
        arrow = " → ".join(models_of.values())
        tables[f"Differences to the controls, {arrow}"] = source.source_table(
            pair, maps=maps
        )
    if frames.source_use is not None:
        answer += source_use.source_use_answer(frames.source_use)
        overview = source_use.source_use_overview(frames.source_use)
        tables["Differences to the controls, over families"] = overview
    return Section("source", source.QUESTION, answer, figures, tables)


def _distillation(frames: Frames, names: Names, figures: Sequence[Image]) -> Section:
    answer, tables = [], {}
    for (teacher, student), statistics in frames.students.items():
        levels = DistillationLevels(statistics)
        answer += distillation.distillation_answer(
            levels,
            teacher=teacher,
            student=student,
            variants=names.variants,
            accuracy=names.accuracy,
        )
        arrow = f"{teacher} → {student}"
        shown = {"tasks": [levels.over_tasks], "variants": names.variants}
        tables[f"Students, {arrow}"] = distillation_table(
            statistics, **shown, accuracy=names.accuracy, steps=names.steps
        )
        tables[f"Differences between variants, {arrow}"] = distillation_tests(
            statistics, **shown, measures=distillation.SHOWN
        )
    return Section("distillation", distillation.QUESTION, answer, figures, tables)


def _pairs(frames: Frames, names: Names) -> Iterator[tuple[Pair, dict[str, str]]]:
    """Yield the statistics of every pair, and its models by role."""
    for from_model, to_model in names.pairs:
        pair = Pair(frames.statistics, from_model, to_model)
        yield pair, {"source": from_model, "target": to_model}


def _costs(frames: Frames, figures: Sequence[Image]) -> Section:
    answer = costs.costs_answer(frames.costs, frames.balance)
    shares = Bars("Share of the FLOPs by stage and model", costs.shares(frames.costs))
    table = {"Costs by stage": costs.costs_overview(frames.costs)}
    return Section("cost", costs.QUESTION, answer, [*figures, shares], table)


def _omissions(frames: Frames, names: Names) -> Section:
    found = omissions.left_out(frames.models, frames.rejects, frames.cpr, names.omitted)
    answer = omissions.omissions_answer(found)
    shares = omissions.rejected_shares(frames.models)
    bars = Bars("Share of the rows that a model can use, by model and task", shares)
    tables = {"Left out": omissions.omissions_table(found)}
    return Section("left-out", omissions.QUESTION, answer, [bars], tables)
