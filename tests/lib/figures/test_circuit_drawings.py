"""Drawings of circuits: what is where, and that nothing hides anything else."""

import re
from itertools import combinations
from xml.etree import ElementTree

import numpy as np
import polars as pl
import pytest
from drawn import cut_off
from matplotlib.text import Text

from circuit_transfer.artifacts.edge_scores import EdgeScores
from circuit_transfer.figures.circuit_figure import circuit_figure
from circuit_transfer.figures.circuit_layout import MOST, circuit_drawing
from circuit_transfer.figures.circuit_parts import OPPOSES, SUPPORTS
from circuit_transfer.figures.circuit_routes import on_curve
from circuit_transfer.figures.circuit_svg import circuit_svg
from circuit_transfer.models.edges import KV_HEAD, QUERY_HEAD, edge_graph
from circuit_transfer.tables.circuit_edges import CIRCUIT, circuit_edges

SVG = "{http://www.w3.org/2000/svg}"
HOSTILE = '</svg><script>run()</script> "a" & $x_{ \x00\x1b[31m\nlines ' + "long" * 40


def circuit(layers, heads, kv_heads, count, kv=QUERY_HEAD, seed=0, share=1.0):
    """Return the edges of a random circuit, and of how many heads a key is shared.

    Args:
        share: of the edges, the first ones, that have a score.
    """
    graph = edge_graph(layers, heads, kv_heads, kv=kv)
    flat = np.random.default_rng(seed).standard_t(2, graph.n_edges)
    flat[int(share * graph.n_edges) :] = 0
    found = EdgeScores(
        graph.matrix(np.float32(flat)), graph.legal, graph.writers, graph.readers, {}
    )
    return circuit_edges(found, graph, count), graph.heads // graph.kv_readers


def listed(*edges):
    """Return edges as a table, each given by its ends and its score."""
    rows = [
        (rank, f"{writer}->{reader}", writer, reader, score, None, None, "+", True)
        for rank, (writer, reader, score) in enumerate(edges, start=1)
    ]
    return pl.DataFrame(rows, schema=CIRCUIT, orient="row")


def drawn(edges, group, title="a model, a task, a method: the highest edges"):
    return circuit_drawing(edges, title=title, group=group)


GRAPHS = {
    "one layer": circuit(1, 2, 2, 30),
    "few": circuit(4, 8, 2, 10),
    "shared keys": circuit(6, 8, 2, 30, KV_HEAD),
    "one key for all": circuit(3, 4, 1, 100, KV_HEAD, seed=2),
    "dense": circuit(4, 8, 8, 100, seed=3, share=0.3),
    "gpt2": circuit(12, 12, 12, 100, seed=4),
    "too many to read": circuit(4, 4, 2, 400, seed=5),
    "long names": (
        listed(
            ("input", "a100.h127<v>", 3.0),
            ("a100.h127", "m100", 2.0),
            ("m100", "logits", 1.0),
        ),
        1,
    ),
}
DRAWINGS = {
    name: (edges, drawn(edges, group)) for name, (edges, group) in GRAPHS.items()
}


@pytest.fixture(params=DRAWINGS, scope="module")
def both(request):
    """The edges of a circuit, and its drawing."""
    return DRAWINGS[request.param]


def box_of(drawing, name):
    """Return the box of a writer or reader, of which a reader says less."""
    head = re.sub("<.>", "", name)
    shared = {box.name: box for box in drawing.boxes}
    if name.endswith(("<k>", "<v>")) and head.replace(".h", ".kv") in shared:
        return shared[head.replace(".h", ".kv")]
    return shared[head]


def edges_and_lines(edges, drawing):
    """Yield every edge with its line; the weakest is drawn first."""
    return zip(edges.iter_rows(named=True), drawing.edges[::-1], strict=True)


def test_no_two_boxes_overlap_and_all_are_inside(both):
    _, drawing = both
    for one, other in combinations(drawing.boxes, 2):
        apart_x = abs(one.x - other.x) - (one.width + other.width) / 2
        apart_y = abs(one.y - other.y) - (one.height + other.height) / 2
        assert max(apart_x, apart_y) > 5, (one.name, other.name)
    for box in drawing.boxes:
        assert box.x - box.width / 2 > 0 and box.x + box.width / 2 < drawing.width
        assert box.top > 0 and box.bottom < drawing.height


def test_layers_are_above_each_other_and_heads_in_order(both):
    _, drawing = both
    places = {}
    for box in drawing.boxes:
        if found := re.fullmatch(r"(a|m)(\d+)(?:\.(h|kv)(\d+))?", box.name):
            kind, layer, head, number = found.groups()
            part = {"kv": 0, "h": 1, None: 2}[head]
            places[box.name] = (int(layer), part), int(number or 0), box
        else:
            layer = {"input": -1, "logits": 1000}[box.name]
            places[box.name] = (layer, 0), 0, box
    for (row, number, box), (row2, number2, box2) in combinations(places.values(), 2):
        if row == row2:
            assert box.y == box2.y and (box.x < box2.x) == (number < number2)
        else:
            assert (box.y > box2.y) == (row < row2)
    mlps = [box.x for box in drawing.boxes if box.name.startswith("m")]
    heads = [box.x for box in drawing.boxes if box.name.startswith("a")]
    assert len(set(mlps)) <= 1 and (not mlps or not heads or mlps[0] > max(heads))


def test_only_nodes_with_an_edge_are_drawn_and_each_once(both):
    edges, drawing = both
    used = {box_of(drawing, name).name for name in [*edges["writer"], *edges["reader"]]}
    assert sorted(box.name for box in drawing.boxes) == sorted(used)


def test_edges_lead_upwards_from_their_writer_to_their_reader(both):
    edges, drawing = both
    for edge, line in edges_and_lines(edges, drawing):
        writer = box_of(drawing, edge["writer"])
        reader = box_of(drawing, edge["reader"])
        (x0, y0), (x1, y1) = line.points[0], line.points[-1]
        assert y0 == writer.top and abs(x0 - writer.x) < writer.width / 2
        assert y1 == reader.bottom and abs(x1 - reader.x) < reader.width / 2
        assert (np.diff(on_curve(line.points)[:, 1]) <= 1e-6).all()
        # At the letter that is nearest.
        if kind := re.search("<(.)>", edge["reader"]):
            near = min(reader.ports, key=lambda each: abs(reader.ports[each] - x1))
            assert near == kind[1]


def test_no_edge_runs_through_the_box_of_another_node(both):
    edges, drawing = both
    for edge, line in edges_and_lines(edges, drawing):
        own = {box_of(drawing, edge[end]).name for end in ("writer", "reader")}
        x, y = on_curve(line.points, 200).T
        for box in drawing.boxes:
            if box.name not in own:
                inside = (abs(x - box.x) < box.width / 2) & (y > box.top)
                assert not (inside & (y < box.bottom)).any(), (edge, box.name)


def test_vertical_parts_of_edges_do_not_cover_each_other(both):
    edges, drawing = both
    lanes = []
    for line in drawing.edges:
        for at in range(0, len(line.points) - 1, 3):
            (x0, y0), *_, (x1, y1) = line.points[at : at + 4]
            lanes += [(x0, y1, y0)] if abs(x0 - x1) < 0.01 else []
    for (x, top, bottom), (x2, top2, bottom2) in combinations(lanes, 2):
        together = min(bottom, bottom2) - max(top, top2)
        assert abs(x - x2) > 0.5 or together <= 0.01


def test_lines_show_size_sign_and_what_has_no_effect(both):
    edges, drawing = both
    found = [line for _, line in edges_and_lines(edges, drawing)]
    sizes = edges["score"].abs().to_list()
    assert sizes == sorted(sizes, reverse=True)
    widths = [line.width for line in found]
    assert widths == sorted(widths, reverse=True)
    assert widths[0] > 4 and min(widths) > 0.5
    for edge, line in zip(edges.iter_rows(named=True), found, strict=True):
        colours = {1: SUPPORTS, -1: OPPOSES}
        sign = np.sign(edge["score"])
        assert line.colour == colours.get(sign, line.colour)
        assert line.dashed == (sign < 0) and line.pale == (not edge["effective"])
    texts = " ".join(text.text for text in drawing.texts)
    dangling = len(edges) - edges["effective"].sum()
    assert (f"{dangling:,} of {len(edges)} edges" in texts) == (dangling > 0)
    assert ("opposes" in texts) == (edges["score"].min() < 0)
    assert ("not legible" in texts) == (len(edges) > 300)


def test_texts_of_the_figure_neither_overlap_nor_are_cut_off(both):
    _, drawing = both
    figure = circuit_figure(drawing)
    assert cut_off(figure) == []
    (axes,) = figure.axes
    texts = [text for text in axes.texts if text.get_text()]
    extents = [(text, text.get_window_extent()) for text in texts]
    for (one, box), (other, box2) in combinations(extents, 2):
        assert not box.padded(-0.5).overlaps(box2.padded(-0.5)), (one, other)
    # Labels are inside their boxes.
    corners = axes.transData.transform
    for box in drawing.boxes:
        (label,) = [text for text in texts if text.get_text() == box.name]
        low, _ = corners((box.x - box.width / 2, box.y))
        high, _ = corners((box.x + box.width / 2, box.y))
        extent = label.get_window_extent()
        assert low < extent.x0 and extent.x1 < high


def test_svg_has_a_title_for_every_edge(both):
    edges, drawing = both
    root = ElementTree.fromstring(circuit_svg(drawing))
    titles = [each.find(f"{SVG}title").text for each in root.iter(f"{SVG}g")]
    named = [
        re.fullmatch(r"(.+) -> (.+): ([+-].+), rank (\d+)", each) for each in titles
    ]
    found = sorted((int(m[4]), m[1], m[2], float(m[3])) for m in named)
    expected = edges.select("rank", "writer", "reader", "score").rows()
    assert [each[:3] for each in found] == [each[:3] for each in expected]
    scores = [each[3] for each in found]
    assert scores == pytest.approx(edges["score"].to_list(), abs=0.0006)
    assert not any("id" in each.attrib for each in root.iter())
    assert circuit_svg(drawing) == circuit_svg(drawing)


def test_a_title_names_the_edge_its_score_and_its_rank():
    line = ("a0.h1->m3", "a0.h1", "m3", 0.1234, None, None, "+", True)
    edges = pl.DataFrame([(4, *line)], schema=CIRCUIT, orient="row")
    assert "<title>a0.h1 -&gt; m3: +0.123, rank 4</title>" in circuit_svg(
        drawn(edges, 1)
    )


def test_hostile_names_stay_text():
    edges, group = GRAPHS["few"]
    drawing = drawn(edges, group, HOSTILE)
    root = ElementTree.fromstring(circuit_svg(drawing))
    tags = {each.tag.removeprefix(SVG) for each in root.iter()}
    assert tags == {"svg", "style", "rect", "path", "g", "title", "text"}
    assert "<script>run()</script>" in root.attrib["aria-label"]
    assert cut_off(circuit_figure(drawing)) == []


@pytest.mark.parametrize(
    ("edges", "said"),
    [
        (pl.DataFrame(schema=CIRCUIT), "No scores"),
        (circuit(6, 8, 8, MOST + 1)[0], f"at most {MOST:,} are drawn"),
    ],
)
def test_what_cannot_be_drawn_is_said(edges, said):
    drawing = drawn(edges, 1)
    assert said in " ".join(text.text for text in drawing.texts)
    assert not drawing.edges and not drawing.boxes
    figure = circuit_figure(drawing)
    assert cut_off(figure) == [] and figure.findobj(Text)
    ElementTree.fromstring(circuit_svg(drawing))


def test_keys_that_heads_share_have_a_box_with_lines_to_these_heads():
    graph = edge_graph(1, 4, 2, kv=KV_HEAD)
    edges = listed(
        ("input", "a0.h1<v>", 3.0), ("a0.h2", "logits", 2.0), ("a0.h1", "logits", 1.0)
    )
    assert set(edges["edge"]) <= set(graph.edge_names())
    drawing = drawn(edges, 2)
    boxes = {box.name: box for box in drawing.boxes}
    assert set(boxes) == {"input", "a0.kv1", "a0.h1", "a0.h2", "logits"}
    # The values of number 1 are those of heads 2 and 3.
    (link,) = drawing.links
    assert link.points[0] == (boxes["a0.kv1"].x, boxes["a0.kv1"].top)
    assert link.points[-1] == (boxes["a0.h2"].x, boxes["a0.h2"].bottom)
