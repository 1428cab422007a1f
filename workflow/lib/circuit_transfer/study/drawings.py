"""The drawings of circuits of edges: which are made, and what they are made from."""

from circuit_transfer.study.results import first_methods
from circuit_transfer.study.shown import figure_pattern, table_pattern
from circuit_transfer.study.study import Study


def drawn_scores(study: Study, w) -> str:
    """Return the scores of the edges of a drawing, by its wildcards.

    Raises:
        ValueError: it is to be of no edge.
    """
    if not int(w.n):
        raise ValueError(
            f"{w.n} edges of {w.model} on {w.task}: expected a number from 1 on; if "
            "the model has fewer edges, all of them are drawn"
        )
    return study.edge_ranking(w)


def summarised_edges(study: Study) -> dict[str, list[str]]:
    """Return what the page shows of edges: those of the targets, by the first method.

    Circuits of any other model are drawn on demand.

    Returns:
        The tables of the highest edges, the drawings, and the tables of their edges;
        where scores of edges are transferred, also the drawing of the first pair and
        task, and the table of its edges.
    """
    own = first_methods(study)
    top = study.every(table_pattern("top-edges"), **own)
    found = {
        "top_edges": top if study.edge_methods else [],
        "drawings": study.every(figure_pattern("circuits"), **own),
        "drawn": study.every(figure_pattern("circuits", "csv"), **own),
    }
    if study.edge_transfers:
        first = own | {"edge_method": study.edge_transfers[:1], "task": study.tasks[:1]}
        names = {"transferred": "svg", "transferred_edges": "csv"}
        for name, suffix in names.items():
            pattern = figure_pattern("transferred-circuits", suffix)
            found[name] = study.every(pattern, **first)[:1]
    return found
