"""Numbers, bars and charts, as text."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import NamedTuple

from rich.cells import cell_len, set_cell_size
from rich.text import Text

UPWARD = " ▁▂▃▄▅▆▇█"

Show = Callable[[float], str]

# Each of one meaning, and legible on dark and on light; a terminal with fewer colours takes the
# nearest. The words beside them say the same.
GOOD, LOADED, CALLER, BAD = "#5aa844", "#c79a00", "#5b8def", "#e5484d"
TIME, TAIL = "#22a2b8", "#1b6273"
LATE, LATE_TAIL = BAD, "#8c2f33"
MODEL, TRAINED = "#a779c9", "#6b5680"


class Column(NamedTuple):
    """A column of a chart, and what is drawn in another colour from its foot up to `core`."""

    value: float  # NaN: nothing
    style: str
    core: float = 0.0
    core_style: str = ""


def number(value: float) -> str:
    """Return three digits of a value, without an exponent where that is possible."""
    if not math.isfinite(value):
        return "–"
    if value == 0 or 1e-3 <= abs(value) < 1e6:
        digits = 0 if abs(value) >= 100 else 1 if abs(value) >= 10 else 2
        if 0 < abs(value) < 0.1:
            digits = 3
        return f"{value:,.{digits}f}"
    return f"{value:.2g}"


def whole(value: float) -> str:
    return f"{value:,.0f}" if math.isfinite(value) else "–"


def rate(value: float) -> str:
    """Return events a second."""
    return f"{value:,.0f}/s" if value >= 10 or value == 0 else f"{value:.2g}/s"


def seconds(value: float) -> str:
    """Return a duration in the unit that suits it, always with that unit."""
    if not math.isfinite(value):
        return "–"
    if value < 0.0995e-3:
        return f"{value * 1e6:.0f} µs"
    if value < 0.9995:
        return f"{number(value * 1e3)} ms"
    return f"{number(value)} s"


def share(value: float) -> str:
    """Return a share as per cent; what is not nothing does not look like it, nor the whole."""
    if not math.isfinite(value):
        return "–"
    if 0 < value < 0.001:
        return "<0.1 %"
    if 0.999 < value < 1:
        return ">99.9 %"
    return f"{value:.0%}".replace("%", " %") if value in (0, 1) else f"{value * 100:.1f} %"


def size(value: float) -> str:
    """Return a number of bytes."""
    return f"{value / 2**20:,.0f} MiB" if math.isfinite(value) else "–"


def clock(value: float) -> str:
    """Return how long something has been running."""
    minutes, rest = divmod(int(value), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02}:{rest:02}" if hours else f"{minutes}:{rest:02}"


def fit(text: str, width: int) -> str:
    """Return the text in exactly that many cells, its end cut off if need be."""
    if cell_len(text) <= width:
        return set_cell_size(text, width)
    return set_cell_size(text, max(0, width - 1)) + "…" if width > 0 else ""


def apart(left: Text, right: Text, width: int) -> Text:
    """Return both in one line, `right` at its end; without it, if there is no room."""
    gap = width - left.cell_len - right.cell_len
    return left.append(" " * gap).append_text(right) if gap >= 2 else left


def bar(part: float, width: int) -> str:
    """Return a bar of that share of `width`; the rest is blank."""
    halves = min(max(round(part * width * 2), part > 0), width * 2)
    return ("━" * (halves // 2) + "╸" * (halves % 2)).ljust(width)


def columns(chart: Sequence[Column], height: int, top: float) -> list[Text]:
    """Return a chart of `height` lines; a column of the value `top` fills them."""
    lines = [Text() for _ in range(height)]
    for value, style, core, core_style in chart:
        whole, inner = _eighths(value, top, height), _eighths(core, top, height)
        for row, line in enumerate(reversed(lines)):
            line.append(*_cell(whole - row * 8, inner - row * 8, style, core_style))
    return lines


def _cell(whole: int, inner: int, style: str, core_style: str) -> tuple[str, str]:
    whole, inner = min(max(whole, 0), 8), min(max(inner, 0), 8)
    if whole == 8 > inner > 0:
        return UPWARD[inner], f"{core_style} on {style}"
    if inner and inner * 2 >= whole:
        style = core_style
    if whole == 8:  # some fonts leave gaps between full blocks
        style = f"{style} on {style}"
    return UPWARD[whole], style if whole else ""


def _eighths(value: float, top: float, height: int) -> int:
    """Return the height of a column; whatever is not nothing can be seen."""
    if not (value > 0 and top > 0):  # NaN included
        return 0
    return min(max(round(value / top * height * 8), 1), height * 8)
