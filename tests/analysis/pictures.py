"""What every figure must be: readable."""

from collections.abc import Iterator

from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.text import Text


def check_readable(figure: Figure) -> None:
    """No text runs out of the picture or into another, and none is smaller than 7 points."""
    canvas = FigureCanvasAgg(figure)
    canvas.draw()
    whole = figure.bbox
    left_out = {id(text) for text, drawn in _drawn_ticks(figure) if not drawn}
    boxes = []
    for text in figure.findobj(lambda part: isinstance(part, Text) and part.get_visible()):
        assert isinstance(text, Text)
        box = text.get_window_extent()
        if not text.get_text().strip() or id(text) in left_out:
            continue
        assert text.get_fontsize() >= 7
        assert whole.x0 <= box.x0 < box.x1 <= whole.x1, text.get_text()
        assert whole.y0 <= box.y0 < box.y1 <= whole.y1, text.get_text()
        boxes.append((text.get_text(), box))
    for i, (one, box) in enumerate(boxes):
        for other, second in boxes[i + 1 :]:
            apart = box.x1 <= second.x0 or second.x1 <= box.x0
            apart |= box.y1 <= second.y0 or second.y1 <= box.y0
            assert apart, f"{one!r} lies on {other!r}"


def _drawn_ticks(figure: Figure) -> Iterator[tuple[Text, bool]]:
    """Texts of all axes' ticks, each with whether it is drawn: those out of range are kept too."""
    for axes in figure.axes:
        for axis, low, high in ((axes.xaxis, "x0", "x1"), (axes.yaxis, "y0", "y1")):
            for text in axis.findobj(Text):
                box = text.get_window_extent()
                middle = (getattr(box, low) + getattr(box, high)) / 2
                yield text, getattr(axes.bbox, low) - 1 <= middle <= getattr(axes.bbox, high) + 1
