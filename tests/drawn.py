"""Inspect the content of figures in tests."""

from matplotlib.text import Text

from circuit_transfer.figures import style


def cut_off(figure):
    """Return the visible texts that are not completely inside the figure."""
    figure.draw_without_rendering()
    width, height = figure.bbox.width, figure.bbox.height
    texts = [text for text in figure.findobj(Text) if _is_drawn(text)]
    assert texts
    boxes = {text.get_text(): text.get_window_extent() for text in texts}
    return [
        text
        for text, box in boxes.items()
        if box.x0 < -1 or box.y0 < -1 or box.x1 > width + 1 or box.y1 > height + 1
    ]


def _is_drawn(text):
    return text.get_visible() and text.get_text().strip() and text.axes is not None


def legend_texts(axes):
    return [text.get_text() for text in axes.get_legend().get_texts()]


def line_in(axes, colour):
    (line,) = [line for line in axes.lines if line.get_color() == style.COLOURS[colour]]
    return line
