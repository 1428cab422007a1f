"""The page as HTML: one file, whole, whatever names and texts are in it."""

import re
import shutil
import subprocess
from html.parser import HTMLParser

import polars as pl
import pytest

from circuit_transfer.summary.page import Bars, Drawing, Image, Section, page
from circuit_transfer.tables.text import as_text
from circuit_transfer.tables.typesetting import Table

VOID = {"meta", "img"}
TABLE = Table(pl.DataFrame({"task": ["<b>&", "x"], "cpr": [0.5, None]}), labels=1)
LONG = Table(pl.DataFrame({"task": [f"t{n}" for n in range(40)]}), labels=1)


class Elements(HTMLParser):
    """Collects elements and their attributes; every one must be closed in turn."""

    def __init__(self, text):
        super().__init__()
        self.open, self.found, self.texts = [], [], []
        self.feed(text)
        assert self.open == []

    def handle_starttag(self, tag, attrs):
        self.found.append((tag, dict(attrs)))
        if tag not in VOID:
            self.open.append(tag)

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def handle_data(self, data):
        self.texts.append(data)

    def of(self, tag):
        return [attrs for name, attrs in self.found if name == tag]


def made(*sections, index=None):
    return page("A <title>", ["one <i> two"], sections, index or {})


def test_drawings_are_part_of_the_page_each_folded_by_itself():
    svg = '<svg class="circuit"><g><title>m0 -&gt; m1</title></g></svg>\n'
    image = Image(b"png", "a map", "map.png")
    drawings = [
        Drawing(svg, f"circuit <{n}>", f"caption & {n}", f"figures/{n}.svg")
        for n in range(3)
    ]
    text = made(Section("s", "Why?", ["One."], [*drawings, image]))
    found = Elements(text)
    assert text.count(svg) == 3
    folds = [each for each in found.of("details") if "open" in each]
    assert len(folds) == 1 and len(found.of("details")) == 3
    assert text.index("<details open>") < text.index("circuit &lt;0&gt;")
    for n in range(3):
        assert f"circuit <{n}>" in found.texts
        assert any(f"caption & {n}" in each for each in found.texts)
        assert {"href": f"figures/{n}.svg"} in found.of("a")
    # An image among them is shown as usual.
    assert [each["alt"] for each in found.of("img")] == ["a map"]


def test_the_page_needs_nothing_but_itself():
    image = Image(b"png", 'a "title"', "figures/a b.png")
    section = Section("s", "Why?", ["One."], [image], {"T": TABLE})
    found = Elements(made(section))
    (shown,) = found.of("img")
    assert shown["src"].startswith("data:image/png;base64,")
    assert shown["alt"] == 'a "title"'
    assert not {tag for tag, _ in found.found} & {"script", "link", "iframe"}
    assert {each["href"] for each in found.of("a")} == {
        *("#s", "#files", "figures/a%20b.png")
    }


def test_texts_are_escaped():
    section = Section("s", "A < B?", ["1 < 2 & 3"], [], {"<T>": TABLE})
    found = Elements(made(section))
    assert {"A < B?", "1 < 2 & 3", "<T>", "<b>&", "A <title>", "one <i> two"} <= {
        *found.texts
    }
    assert found.of("b") == []


def test_every_question_is_in_the_contents():
    sections = [Section(name, f"{name}?", ["Yes."]) for name in ("a", "b")]
    found = Elements(made(*sections))
    assert [each["id"] for each in found.of("section")] == ["a", "b", "files"]
    assert [each["href"] for each in found.of("a")][:2] == ["#a", "#b"]


def test_long_tables_and_further_figures_are_folded():
    images = [Image(b"", str(number), "x.png") for number in range(3)]
    section = Section("s", "?", ["a", "b"], images, {"L": LONG, "T": TABLE})
    found = Elements(made(section, index={"Tables": ["tables/a.html"]}))
    assert len(found.of("details")) == 3
    assert {"2 more figures", "L, 40 rows", "Tables (1)"} <= {
        text[0].upper() + text[1:] if text[0] != "2" else text
        for text in found.texts
        if text.strip()
    }


def test_an_empty_table_is_left_out():
    empty = Table(TABLE.frame.clear(), labels=1)
    found = Elements(made(Section("s", "?", ["a"], [], {"T": empty})))
    assert found.of("table") == []


def test_of_many_bars_the_lowest_are_shown_in_their_order():
    shares = {f"t{n}": (n / 100, str(n)) for n in reversed(range(40))}
    found = Elements(made(Section("s", "?", ["a"], [Bars("Shares", shares, 0.5)])))
    names = [
        text for text in found.texts if text.startswith("t") and text[1:].isdigit()
    ]
    assert names == [f"t{n}" for n in reversed(range(12))]
    assert "Shares (the 12 lowest of 40)" in found.texts


def test_a_table_as_text_fits_a_line():
    frame = pl.DataFrame({"task": ["a" * 80], "cpr": [0.5], "cpr_half_width": [0.1]})
    assert as_text(Table(frame, labels=1)).splitlines() == [
        f"{'task':32}          cpr",
        f"{'a' * 29}...  0.50 ± 0.10",
    ]
    wide = pl.DataFrame({f"column-{n}": ["x" * 40] for n in range(9)})
    assert max(map(len, as_text(Table(wide, labels=9)).splitlines())) <= 100
    assert as_text(LONG).splitlines()[-1] == "... and 16 more rows"


# Says how much wider than its window a page is, on a phone and in a wide window.
MEASURING = """<body>FRAMES<script>
const frames = () => [...document.querySelectorAll("iframe")].map(
  (frame) => frame.contentDocument.documentElement);
const beyond = () => frames().map((page) => page.scrollWidth - page.clientWidth);
onload = () => document.body.append("beyond " + beyond());
</script>"""


def test_nothing_but_a_table_has_to_be_scrolled_sideways(tmp_path):
    browser = shutil.which("chromium") or shutil.which("google-chrome")
    if browser is None:
        pytest.skip("no chromium to open the page in")
    name = "a-name-without-any-space-that-is-longer-than-a-phone-is-wide-" * 2
    wide = pl.DataFrame({f"column-{n}": [name] for n in range(9)})
    bars = Bars("Shares", {name: (0.5, "over 99 %")}, 0.5)
    section = Section("s", name, [name], [bars], {name: Table(wide, labels=1)})
    (tmp_path / "page.html").write_text(page(name, [name], [section], {name: [name]}))
    frames = "".join(
        f'<iframe src="page.html" style="width: {width}px; border: 0"></iframe>'
        for width in (390, 1400)
    )
    (tmp_path / "measuring.html").write_text(MEASURING.replace("FRAMES", frames))
    shown = subprocess.run(
        [browser, "--headless", "--no-sandbox", "--disable-gpu", "--dump-dom"]
        + ["--allow-file-access-from-files", "--virtual-time-budget=5000"]
        + [(tmp_path / "measuring.html").as_uri()],
        capture_output=True,
        text=True,
        timeout=120,
        check=True,
    ).stdout
    assert re.findall(r"beyond (\d+),(\d+)", shown) == [("0", "0")]
