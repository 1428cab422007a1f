"""The figures and tables that the report shows: their paths, and what asks for them."""

from dataclasses import dataclass

from circuit_transfer.study.paths import wildcards

FAITHFUL = "Is the transfer faithful?"
GOLD = "How faithful are the model's own circuits?"
EDGES = "How few edges suffice?"
METHODS = "Which method when?"
SOURCE = "Does the source matter?"
DISTILLED = "Does distilling the circuit help?"
CIRCUITS = "What do the circuits look like?"
TRAINING = "How did the training go?"
COST = "What does it cost?"
SPEED = "How fast is it?"
MODELS = "Models and tasks"
PLANTED = "Is a known circuit found?"
SETTINGS = "How much do the settings matter?"

# Edges of the drawings that a study makes; those of other numbers are on demand.
DRAWN_EDGES = 30
FIGURE_SUFFIXES, TABLE_SUFFIXES = ("pdf", "png"), ("csv", "tex", "html")
_PAIR = "{source}/{target}"
_FIT = "{source}/{target}/{method}"
_DISTILLED = "{teacher}/{student}"
_VARIED = "{source}/{target}/{method}/{setting}"


@dataclass(frozen=True)
class Shown:
    """A figure or a table.

    Attributes:
        part: what asks for it: every `study`; one with `transfers`, with such that are
            compared over `families`, with such of edges (`edge-transfers`), or without
            any (`attribution`, of nodes); one that
            scores `nodes` or `edges`, finds edges that are `drawn`, by attribution or
            by learning, has `learned` circuits, or such of weights (`discogp`), trains
            students (`distillation`), varies settings (`sensitivity`), among them
            `training-families`, compares numbers of steps (`convergence`), imports
            `circuits` or has `planted` models; or targets of their own, `benchmark`
            with `scaling`, `startup`.
        category: the question under which the report shows it.
        folders: the wildcards in its path, after its name.
        caption: the file of its caption, where that is not its name.
        image: the suffix of the file of a figure that the report shows.
        edges: whether there is one for the methods too whose scores of edges are
            transferred, with their name as `method`.
    """

    part: str
    category: str
    folders: str = ""
    caption: str = ""
    image: str = "png"
    edges: bool = False


FIGURES = {
    "task-correlation": Shown("nodes", CIRCUITS, "{model}"),
    "curves-by-pair": Shown("transfers", FAITHFUL),
    "curves-by-task": Shown("transfers", FAITHFUL, _FIT, edges=True),
    "gold-curves-by-task": Shown(
        "attribution", GOLD, "{target}/{method}", caption="curves-by-task"
    ),
    "edge-curves": Shown("edges", EDGES, "{target}/{edge_method}"),
    "methods": Shown("learned", METHODS, "{target}"),
    "head-survival": Shown("learned", CIRCUITS, "{model}"),
    "learning-curves": Shown("learned", TRAINING, "{model}"),
    "distillation": Shown("distillation", DISTILLED, _DISTILLED),
    "matched-heads": Shown("distillation", DISTILLED, _DISTILLED),
    "recovery": Shown("transfers", FAITHFUL),
    "transfer-matrix": Shown("transfers", FAITHFUL, _PAIR),
    "completeness": Shown("transfers", FAITHFUL, _PAIR),
    "controls": Shown("transfers", SOURCE, _PAIR),
    "maps": Shown("transfers", SOURCE, _PAIR),
    "source-use": Shown("families", SOURCE, "{method}", edges=True),
    "source-use-by-similarity": Shown("families", SOURCE, "{method}", edges=True),
    "correlations": Shown("transfers", SOURCE, _PAIR),
    "stability": Shown("transfers", CIRCUITS, _FIT),
    "node-map": Shown("transfers", CIRCUITS, _FIT),
    "gold-node-map": Shown("attribution", CIRCUITS, "{target}/{method}"),
    "edge-map": Shown("edges", CIRCUITS, "{model}/{edge_method}"),
    "circuits": Shown(
        "drawn", CIRCUITS, "{model}/{task}/{edge_method}/{n}", image="svg"
    ),
    "transferred-circuits": Shown(
        "edge-transfers",
        CIRCUITS,
        f"{_PAIR}/{{task}}/{{edge_method}}/{{n}}",
        image="svg",
    ),
    "alignment-matrix": Shown("transfers", CIRCUITS, _FIT),
    "losses": Shown("transfers", TRAINING, _FIT, edges=True),
    "break-even": Shown("transfers", COST, _PAIR),
    "sensitivity": Shown("sensitivity", SETTINGS, _VARIED),
    "training-families": Shown("training-families", SETTINGS),
    "convergence": Shown("convergence", SETTINGS, "{model}"),
    "benchmark": Shown("benchmark", SPEED, "{benchmark}"),
    "benchmark-scaling": Shown("scaling", SPEED, "{benchmark}"),
}
TABLES = {
    "models": Shown("study", MODELS),
    "rejects": Shown("study", MODELS),
    "rejects-summary": Shown("study", MODELS),
    "top-nodes": Shown("nodes", CIRCUITS, "{model}"),
    "top-edges": Shown("edges", CIRCUITS, "{model}"),
    "task-correlation": Shown("nodes", CIRCUITS, "{model}"),
    # Not "Statistics": a page of Snakemake's report has this name already.
    "statistics-columns": Shown("study", "What do the statistics mean?"),
    "costs": Shown("study", COST),
    "break-even": Shown("transfers", COST),
    "startup": Shown("startup", COST),
    "imported": Shown("circuits", "Imported circuits"),
    "gold": Shown("attribution", GOLD, "{target}"),
    "edges": Shown("edges", EDGES, "{target}"),
    "edge-agreement": Shown("edges", EDGES, "{model}"),
    "edge-stability": Shown("edges", EDGES, "{model}"),
    "methods": Shown("learned", METHODS, "{target}"),
    "head-survival": Shown("learned", CIRCUITS, "{model}"),
    "weights": Shown("discogp", METHODS, "{target}"),
    "method-tests": Shown("learned", METHODS, "{target}"),
    "distillation": Shown("distillation", DISTILLED, _DISTILLED),
    "distillation-tests": Shown("distillation", DISTILLED, _DISTILLED),
    "matched-heads": Shown("distillation", DISTILLED, _DISTILLED),
    "matching-agreement": Shown("distillation", DISTILLED, _DISTILLED),
    "scaling": Shown("transfers", FAITHFUL, "{task}"),
    "leaderboard": Shown("transfers", FAITHFUL, _PAIR),
    "controls": Shown("transfers", SOURCE, _PAIR),
    "maps": Shown("transfers", SOURCE, _PAIR),
    "tests": Shown("transfers", SOURCE, _PAIR),
    "levels": Shown("edge-transfers", SOURCE, _PAIR),
    "source-use": Shown("families", SOURCE),
    "correlations": Shown("transfers", SOURCE, _PAIR),
    "sensitivity": Shown("sensitivity", SETTINGS),
    "training-families": Shown("training-families", SETTINGS),
    "convergence": Shown("convergence", SETTINGS),
    "planted": Shown("planted", PLANTED),
    "benchmark": Shown("benchmark", SPEED),
    "benchmark-scaling": Shown("benchmark", SPEED),
}

# The figures of the page: the section that shows them, and their titles.
SUMMARISED = {
    "node-map": ("nodes", "Scores of the nodes by layer and head"),
    "gold-node-map": ("nodes", "Scores of the nodes by layer and head"),
    "edge-map": ("drawings", "Scores of the edges, writers by readers"),
    "curves-by-pair": ("faithful", "Faithfulness by circuit size, mean over tasks"),
    "gold-curves-by-task": ("faithful", "Faithfulness by circuit size"),
    "edge-curves": ("edges", "Faithfulness by number of edges"),
    "methods": ("methods", "Seconds for a task against KL and faithfulness"),
    "distillation": ("distillation", "Accuracy and CKA over the steps of the training"),
    "matched-heads": ("distillation", "Which heads are matched, by every method"),
    "maps": ("source", "Every map by the source scores that it is given"),
    "source-use": ("source", "Real source scores minus controls, over families"),
    "break-even": ("cost", "Cost of a number of new tasks"),
}


def figure_pattern(name: str, suffix: str = "") -> str:
    """Return the path of a figure, with its wildcards.

    Args:
        name: of the figure.
        suffix: of the file; that of the one in the report, if it is not given.
    """
    shown = FIGURES[name]
    return _pattern("figures", name, shown, suffix or shown.image)


def table_pattern(name: str, suffix: str = "csv") -> str:
    """Return the path of a table, with its wildcards."""
    return _pattern("tables", name, TABLES[name], suffix)


def labels(shown: Shown, caption: str) -> dict[str, str]:
    """Return the report's description of a file: what it shows, and of which models."""
    places = {name: f"{{{name}}}" for name in wildcards(shown.folders)}
    return {"shows": caption.replace("-", " "), **places}


def _pattern(folder: str, name: str, shown: Shown, suffix: str) -> str:
    place = f"results/{folder}/{name}/{shown.folders}".removesuffix("/")
    return f"{place}.{suffix}"
