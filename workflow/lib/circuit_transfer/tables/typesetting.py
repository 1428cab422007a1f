"""Write tables as CSV in full precision, and as TeX and HTML for readers."""

import logging
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from html import escape as escape_html
from pathlib import Path

import polars as pl

from circuit_transfer.artifacts.text import write_text
from circuit_transfer.messages import printable

log = logging.getLogger(__name__)

EMPTY = "-"
# Suffixes of columns that are shown behind the value of the column they qualify.
HALF_WIDTH, MARK, EXAGGERATES = "_half_width", "_mark", "_exaggerates"
# The ends of an interval that is not symmetric.
LOW, HIGH = "_low", "_high"
QUALIFIERS = (HALF_WIDTH, LOW, HIGH, MARK, EXAGGERATES)
# Shown where `<column>_exaggerates` is true.
EXAGGERATION = "▲"
# What parts of column names are called in a heading.
HEADINGS = {"right_above_wrong_area": "accuracy area", "_percent": " (%)", "_": " "}
# The number of a row, among its columns.
INDEX = "(row)"
# Text that spreadsheets would evaluate as a formula; a sign alone is none.
FORMULA = r"^[=+\-@\t\r](?s:.)"
# Columns that are shown with an additional decimal.
SPREAD, SHARE = "seed_deviation", "edges_needed"
# Columns that are shown without decimals, beside those in percent.
WHOLE = ("steps_to_accuracy",)
TEX_ESCAPES = {
    "\\": r"\textbackslash{}",
    "{": r"\{",
    "}": r"\}",
    "&": r"\&",
    "%": r"\%",
    "$": r"\$",
    "#": r"\#",
    "_": r"\_",
    "~": r"\textasciitilde{}",
    "^": r"\textasciicircum{}",
    "→": r"$\to$",
    "<": "$<$",
    ">": "$>$",
    # After `\\` a bracket or a star would be read as its argument.
    "[": "{[}",
    "*": "{*}",
    "±": r"$\pm$",
    "†": r"$^\dagger$",
    "‡": r"$^\ddagger$",
    EXAGGERATION: r"$^\triangle$",
}
TEX_FONTS = {False: "{}", True: r"\textbf{{{}}}"}
HTML_FONTS = {False: "{}", True: "<b>{}</b>"}
PAGE = """<!DOCTYPE html>
<html lang="en">
<head>
<meta charset="utf-8">
<title>{title}</title>
<style>
body {{ font: 14px/1.5 system-ui, sans-serif; margin: 1.5em; color: #222; }}
h1 {{ font-size: 1.2em; }}
table {{ border-collapse: collapse; border-bottom: 2px solid; }}
th, td {{ padding: .2em .8em; text-align: right; white-space: nowrap; }}
th {{ border-top: 2px solid; border-bottom: 1px solid; }}
th {{ vertical-align: bottom; white-space: normal; }}
.name {{ text-align: left; white-space: normal; min-width: 6em; }}
tr.block td {{ border-top: 1px solid #999; }}
p, dl {{ max-width: 50em; color: #555; }}
dt {{ float: left; clear: left; margin-right: .5em; font-weight: bold; }}
dd {{ margin-left: 0; }}
</style>
</head>
<body>
<h1>{title}</h1>
{body}
<p>{note}</p>
{explanations}</body>
</html>
"""


@dataclass(frozen=True)
class Table:
    """A frame and how to display it.

    Attributes:
        frame: values in full precision, columns in display order. The half-width of a
            value's confidence interval is in `<column>_half_width`, or its ends in
        `<column>_low` and `<column>_high`, a mark in
            `<column>_mark`, and in `<column>_exaggerates` whether the circuit
            exaggerates.
        labels: number of leading columns that name the row.
        blocks: number of these that name a block of rows.
        best: by column, which rows are bold.
        covered: the column with the number of tasks in `mean`, and the largest number.
        decimals: number of decimals to display.
        longest: largest number of rows to display; the CSV file contains all.
        note: text below the table.
        explanations: definitions of the row names.
    """

    frame: pl.DataFrame
    labels: int
    blocks: int = 1
    best: Mapping[str, Sequence[bool]] = field(default_factory=dict)
    covered: tuple[str, int] | None = None
    decimals: int = 2
    longest: int | None = None
    note: str = ""
    explanations: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class Line:
    """A displayed row.

    Attributes:
        texts: text of every cell.
        bold: whether each cell is bold.
        opens_block: whether it is the first row of a block.
    """

    texts: list[str]
    bold: list[bool]
    opens_block: bool


def half_width(row: Mapping[str, float | None], name: str) -> float | None:
    """Return half the width of the interval of a value, or None without an interval."""
    low, high = row.get(f"{name}_low"), row.get(f"{name}_high")
    return None if low is None or high is None else (high - low) / 2


def rounded(value: float, decimals: int = 2) -> str:
    """Return a number with some decimals, 0 without a sign."""
    # Adding zero converts -0.0, a possible result of rounding.
    return f"{round(value, decimals) + 0.0:.{decimals}f}"


def write_table(table: Table, *paths: Path | str, title: str) -> None:
    """Write a table in the format of each path's suffix: csv, tex or html."""
    makers = {".csv": to_csv, ".tex": to_tex, ".html": partial(to_html, title=title)}
    for path in paths:
        write_text(makers[Path(path).suffix](table), path)
    log.info("%s: %d rows", title, table.frame.height)


def to_csv(table: Table) -> str:
    """Return the table as CSV in full precision, with null as empty cells.

    Text that a spreadsheet would evaluate as a formula is prefixed by an apostrophe.
    """
    texts = pl.col(pl.String).str.replace(FORMULA, "'${0}")
    return table.frame.with_columns(texts).write_csv()


def to_tex(table: Table) -> str:
    r"""Return the table as a `tabular` for `\input`, which requires booktabs."""
    columns = _shown_columns(table)
    layout = "l" * table.labels + "r" * (len(columns) - table.labels)
    lines = [rf"\begin{{tabular}}{{{layout}}}", r"\toprule"]
    lines += [_tex_row(map(_heading, columns), [False] * len(columns)), r"\midrule"]
    for number, line in enumerate(shown_lines(table)):
        if line.opens_block and number:
            lines.append(r"\midrule")
        lines.append(_tex_row(line.texts, line.bold))
    lines += [r"\bottomrule", r"\end{tabular}"]
    return "\n".join(lines) + "\n"


def to_html(table: Table, title: str) -> str:
    """Return the table as a self-contained HTML page."""
    columns = _shown_columns(table)
    plain = [False] * len(columns)
    rows = [_html_row("th", map(_heading, columns), plain, table.labels)]
    for line in shown_lines(table):
        row = _html_row("td", line.texts, line.bold, table.labels)
        rows.append(
            row.replace("<tr>", '<tr class="block">') if line.opens_block else row
        )
    body = "<table>\n" + "\n".join(rows) + "\n</table>"
    if table.frame.is_empty():
        body = "<p>This table has no rows.</p>"
    terms = "".join(
        f"<dt>{escape_html(term)}</dt><dd>{escape_html(text)}</dd>\n"
        for term, text in table.explanations.items()
    )
    return PAGE.format(
        title=escape_html(title),
        body=body,
        note=escape_html(" ".join([table.note, *_left_out(table)])),
        explanations=f"<dl>\n{terms}</dl>\n" if terms else "",
    )


def headings(table: Table) -> list[str]:
    """Return the headings of the displayed columns."""
    return [*map(_heading, _shown_columns(table))]


def _left_out(table: Table) -> Iterator[str]:
    """Yield a sentence about the rows that are not displayed, if there are any."""
    rows = table.frame.height
    if table.longest is not None and rows > table.longest:
        yield f"{table.longest:,} of {rows:,} rows are shown; the CSV file has all."


def shown_lines(table: Table) -> Iterator[Line]:
    """Yield the displayed rows: rounded, with each block named once."""
    columns = _shown_columns(table)
    names = columns[: table.blocks]
    previous: list[str] = []
    shown = table.frame.head(table.longest or table.frame.height).with_row_index(INDEX)
    for block in shown.partition_by(names, maintain_order=True):
        for number, row in enumerate(block.iter_rows(named=True)):
            texts = [_text(row, column, table) for column in columns]
            opening = texts[: table.blocks]
            for place in range(table.blocks):
                if opening[: place + 1] == previous[: place + 1]:
                    texts[place] = ""
            previous = opening
            bold = [c in table.best and table.best[c][row[INDEX]] for c in columns]
            yield Line(texts, bold, number == 0)


def _shown_columns(table: Table) -> list[str]:
    hidden = table.covered[0] if table.covered else None
    columns = [column for column in table.frame.columns if column != hidden]
    return [column for column in columns if not column.endswith(QUALIFIERS)]


def _text(row: dict, column: str, table: Table) -> str:
    value = row[column]
    if value is None:
        return EMPTY
    if not isinstance(value, float):
        return str(value)
    if column.startswith("p_"):
        return f"{value:.3f}" if value >= 0.001 else "<0.001"
    is_whole = column.endswith("_percent") or column in WHOLE
    decimals = 0 if is_whole else table.decimals
    decimals += column in (SPREAD, SHARE)
    text = rounded(value, decimals)
    half, low = row.get(column + HALF_WIDTH), row.get(column + LOW)
    if half is not None:
        text += f" ± {half:.{decimals}f}"
    if low is not None:
        text += f" [{low:.{decimals}f}, {row[column + HIGH]:.{decimals}f}]"
    text += EXAGGERATION if row.get(column + EXAGGERATES) else ""
    text += row.get(column + MARK) or ""
    if column == "mean" and table.covered:
        counts, full = table.covered
        return text if row[counts] == full else f"{text} ({row[counts]}/{full})"
    return text


def _heading(column: str) -> str:
    for part, shown in HEADINGS.items():
        column = column.replace(part, shown)
    return column


def _tex_row(texts: Iterable[str], bold: Sequence[bool]) -> str:
    cells = [
        TEX_FONTS[is_bold].format(_tex_text(text))
        for text, is_bold in zip(texts, bold, strict=True)
    ]
    return " & ".join(cells) + r" \\"


def _tex_text(text: str) -> str:
    # TeX fails at control characters, and an empty line ends the paragraph.
    shown = printable(text)
    escaped = "".join(TEX_ESCAPES.get(letter, letter) for letter in shown)
    is_negative = text.startswith("-") and text[1:2].isdigit()
    return f"$-${escaped[1:]}" if is_negative else escaped


def _html_row(tag: str, texts: Iterable[str], bold: Sequence[bool], labels: int) -> str:
    cells = []
    for number, (text, is_bold) in enumerate(zip(texts, bold, strict=True)):
        name = ' class="name"' if number < labels else ""
        shown = HTML_FONTS[is_bold].format(escape_html(text))
        cells.append(f"<{tag}{name}>{shown}</{tag}>")
    return f"<tr>{''.join(cells)}</tr>"
