"""The house style of pictures, for the model card and for the tools that draw."""

from __future__ import annotations

import base64
import io
import warnings
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import matplotlib
from matplotlib.axes import Axes
from matplotlib.colors import LinearSegmentedColormap
from matplotlib.figure import Figure

MAIN, OTHER, MUTED, INK = "#2f6690", "#d9822b", "#9aa7b4", "#33414f"
SHADES = LinearSegmentedColormap.from_list("shades", ["#ffffff", MAIN])

# Text is measured in the font that comes with matplotlib and shown in the reader's own.
MEASURED_FONT, SHOWN_FONT = "'DejaVu Sans'", "system-ui,'Segoe UI',Roboto,Arial,sans-serif"

NO_METADATA = dict.fromkeys(["Date", "Creator", "Format", "Type"])

STYLE: dict[Any, Any] = {
    "font.size": 9,
    "axes.edgecolor": MUTED,
    "axes.labelcolor": INK,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "legend.frameon": False,
    "legend.fontsize": 8,
    "text.color": INK,
    "xtick.color": INK,
    "ytick.color": INK,
}
INLINE: dict[Any, Any] = STYLE | {
    "svg.fonttype": "none",
    "svg.hashsalt": "card",  # otherwise ids, and so the file, differ from run to run
    "text.parse_math": False,  # a column may be called $x_1$
    "font.family": "DejaVu Sans",
    "figure.facecolor": "none",
    "axes.facecolor": "none",
}
styled = matplotlib.rc_context(INLINE)  # for SVG that a page holds
styled_file = matplotlib.rc_context(STYLE)  # for a file of its own


@dataclass(frozen=True)
class Plot:
    """A picture: `src` is a data URI, `alt` is for those who cannot see it, `reading` a caption."""

    title: str
    alt: str
    reading: str
    src: str


def canvas(width: float = 5.2, height: float = 3.7) -> Figure:
    """Return an empty figure of so many inches."""
    return Figure(figsize=(width, height), dpi=200, layout="constrained")


def one_plot(width: float = 5.2, height: float = 3.7) -> tuple[Figure, Axes]:
    """Return a figure of so many inches with one plot, and the axes to draw on."""
    figure = canvas(width, height)
    return figure, figure.add_subplot()


def legend(figure: Figure, handles: Sequence[Any], labels: Sequence[str]) -> None:
    """Put the legend below the plots, where it hides nothing."""
    columns = 2 if max(map(len, labels)) < 36 else 1
    figure.legend(list(handles), list(labels), loc="outside lower center", ncols=columns)


def svg(figure: Figure) -> str:
    """Return the figure as a data URI, the same for the same figure."""
    file = io.BytesIO()
    with warnings.catch_warnings():
        # Matplotlib's font lacks some scripts, Chinese for one; the reader's own font has them.
        warnings.filterwarnings("ignore", "Glyph .* missing from", UserWarning)
        figure.savefig(file, format="svg", metadata=NO_METADATA)
    text = file.getvalue().replace(MEASURED_FONT.encode(), SHOWN_FONT.encode())
    return "data:image/svg+xml;base64," + base64.b64encode(text).decode()
