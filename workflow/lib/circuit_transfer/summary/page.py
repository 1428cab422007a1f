"""The HTML of the page: sections of answers, figures and tables, in one file."""

import re
from base64 import b64encode
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from html import escape
from urllib.parse import quote

from circuit_transfer.summary.style import STYLE
from circuit_transfer.summary.wording import Answer, counted
from circuit_transfer.tables.typesetting import Table, headings, shown_lines

# Longer tables are folded; of bars, the lowest are shown.
LONGEST, MOST_BARS = 20, 12
PAGE = """<!DOCTYPE html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>{title}</title>
<style>
{style}</style>
</head>
<body>
<header>
<h1>{title}</h1>
{introduction}
</header>
<nav aria-label="Questions">
<ul>
{contents}
</ul>
</nav>
<main>
{sections}
<section id="files">
<h2><a href="#files">All tables and figures</a></h2>
{index}
</section>
</main>
</body>
</html>
"""
SECTION = """<section id="{anchor}">
<h2><a href="#{anchor}">{question}</a></h2>
{body}
</section>"""


@dataclass(frozen=True)
class Image:
    """A figure of the study.

    Attributes:
        png: the bytes of the file.
        title: what it shows, and of which models and methods.
        link: the file's path, relative to the page, in which it can be enlarged.
    """

    png: bytes
    title: str
    link: str


@dataclass(frozen=True)
class Drawing:
    """A drawing that is part of the page, so that its lines show texts on hovering.

    Attributes:
        svg: the SVG element.
        title: what it shows, and of which model and task.
        caption: a sentence on it.
        link: the file's path, relative to the page.
    """

    svg: str
    title: str
    caption: str
    link: str


@dataclass(frozen=True)
class Bars:
    """Shares, drawn as bars from 0 to 1.

    Attributes:
        title: what they are.
        shares: by name, a share and its text.
        mark: a share that is marked on every bar, None for no mark.
    """

    title: str
    shares: Mapping[str, tuple[float, str]]
    mark: float | None = None


@dataclass(frozen=True)
class Section:
    """A question, its answer, and what shows it.

    Attributes:
        anchor: its name within the page.
        question: the heading.
        answer: sentences, or answers with their details.
        figures: the first is shown, the others are folded; drawings each by itself.
        tables: by title.
    """

    anchor: str
    question: str
    answer: Sequence[Answer | str]
    figures: Sequence[Image | Bars | Drawing] = ()
    tables: Mapping[str, Table] = field(default_factory=dict)


def page(
    title: str,
    introduction: Iterable[str],
    sections: Sequence[Section],
    index: Mapping[str, Sequence[str]],
) -> str:
    """Return the page; it needs no other file, no script and no network.

    Args:
        title: the heading.
        introduction: its paragraphs.
        sections: the questions.
        index: by topic, files that the page links to, relative to it.
    """
    contents = (
        f'<li><a href="#{each.anchor}">{escape(each.question)}</a></li>'
        for each in sections
    )
    return PAGE.format(
        title=escape(title),
        style=STYLE,
        introduction=_paragraphs(introduction),
        contents="\n".join(contents),
        sections="\n".join(map(_section, sections)),
        index="\n".join(_links(*each) for each in index.items()),
    )


def _section(section: Section) -> str:
    return SECTION.format(
        anchor=section.anchor,
        question=escape(section.question),
        body="\n".join(_parts(section)),
    )


def _parts(section: Section) -> Iterator[str]:
    yield _answer(section.answer)
    drawings = [each for each in section.figures if isinstance(each, Drawing)]
    for place, each in enumerate(drawings):
        yield _folded(each.title, _drawing(each), shown=place == 0)
    figures = [
        _image(each) if isinstance(each, Image) else _bars(each)
        for each in section.figures
        if not isinstance(each, Drawing)
    ]
    yield from figures[:1]
    if figures[1:]:
        count = counted(len(figures) - 1, "more figure")
        yield _folded(count[0].upper() + count[1:], "\n".join(figures[1:]))
    for title, table in section.tables.items():
        yield _table(title, table)


def _links(topic: str, files: Sequence[str]) -> str:
    items = "\n".join(
        f'<li><a href="{escape(quote(file))}">{escape(file)}</a></li>' for file in files
    )
    return _folded(f"{topic} ({len(files):,})", f"<ul>\n{items}\n</ul>")


def _answer(answers: Sequence[Answer | str]) -> str:
    """Return one answer as a paragraph, several as a list."""
    texts = [_text(each) for each in answers]
    if len(texts) == 1:
        return f'<p class="answer">{texts[0]}</p>'
    items = "\n".join(f"<li>{each}</li>" for each in texts)
    return f'<ul class="answer">\n{items}\n</ul>'


def _text(answer: Answer | str) -> str:
    """Return an answer with its details below it."""
    lead, details = (answer, "") if isinstance(answer, str) else answer
    quiet = f'<span class="details">{escape(details)}</span>' if details else ""
    return escape(lead) + quiet


def _paragraphs(texts: Iterable[str]) -> str:
    return "\n".join(f"<p>{escape(text)}</p>" for text in texts)


def _image(image: Image) -> str:
    data = b64encode(image.png).decode()
    title = escape(image.title)
    return (
        f'<figure>\n<a href="{escape(quote(image.link))}">'
        f'<img src="data:image/png;base64,{data}" alt="{title}"></a>\n'
        f"<figcaption>{title}</figcaption>\n</figure>"
    )


def _drawing(drawing: Drawing) -> str:
    """Return a drawing in its own size, which scrolls within its box."""
    title = escape(drawing.title)
    box = f'class="scroll" role="region" tabindex="0" aria-label="{title}"'
    link = f'<a href="{escape(quote(drawing.link))}">{escape(drawing.link)}</a>'
    # Within HTML an SVG element needs no namespace.
    svg = re.sub(r' xmlns="[^"]*"', "", drawing.svg, count=1)
    return (
        f"<figure>\n<div {box}>\n{svg}</div>\n"
        f"<figcaption>{escape(drawing.caption)} File: {link}.</figcaption>\n</figure>"
    )


def _bars(bars: Bars) -> str:
    lowest = sorted(bars.shares, key=lambda name: bars.shares[name][0])[:MOST_BARS]
    # In their own order.
    rows = [
        _bar(name, *share, bars.mark)
        for name, share in bars.shares.items()
        if name in lowest
    ]
    title = bars.title
    if len(bars.shares) > MOST_BARS:
        title += f" (the {MOST_BARS} lowest of {len(bars.shares):,})"
    rows = "\n".join(rows)
    return f"<figure>\n<figcaption>{escape(title)}</figcaption>\n{rows}\n</figure>"


def _bar(name: str, share: float, text: str, mark: float | None) -> str:
    marked = "" if mark is None else f'<s style="left: {100 * mark:g}%"></s>'
    return (
        f'<div class="bar"><span>{escape(name)}</span>'
        f'<span class="track"><i style="width: {100 * share:.4g}%"></i>{marked}</span>'
        f"<span>{escape(text)}</span></div>"
    )


def _table(title: str, table: Table) -> str:
    if table.frame.is_empty():
        return ""
    body = _html(title, table)
    if table.frame.height > LONGEST:
        return _folded(f"{title}, {counted(table.frame.height, 'row')}", body)
    return f"<h3>{escape(title)}</h3>\n{body}"


def _folded(summary: str, body: str, *, shown: bool = False) -> str:
    is_open = " open" if shown else ""
    return (
        f"<details{is_open}>\n<summary>{escape(summary)}</summary>\n{body}\n</details>"
    )


def _html(title: str, table: Table) -> str:
    """Return a table that scrolls within its box, and what is to be known of it."""
    names = "".join(
        f'<th scope="col"{_name(place, table)}>{escape(each)}</th>'
        for place, each in enumerate(headings(table))
    )
    lines = []
    for line in shown_lines(table):
        cells = "".join(
            f"<td{_name(place, table)}>{_cell(text, bold)}</td>"
            for place, (text, bold) in enumerate(
                zip(line.texts, line.bold, strict=True)
            )
        )
        block = ' class="block"' if line.opens_block else ""
        lines.append(f"<tr{block}>{cells}</tr>")
    rows = "\n".join(lines)
    terms = "".join(
        f"<dt>{escape(term)}</dt><dd>{escape(text)}</dd>\n"
        for term, text in table.explanations.items()
    )
    words = _folded("What the names mean", f"<dl>\n{terms}</dl>") if terms else ""
    box = f'class="scroll" role="region" tabindex="0" aria-label="{escape(title)}"'
    return (
        f"<div {box}>\n<table>\n<thead><tr>{names}</tr></thead>\n<tbody>\n{rows}\n"
        f'</tbody>\n</table>\n</div>\n<p class="note">{escape(table.note)}</p>\n{words}'
    )


def _cell(text: str, bold: bool) -> str:
    return f"<b>{escape(text)}</b>" if bold else escape(text)


def _name(place: int, table: Table) -> str:
    return ' class="name"' if place < table.labels else ""
