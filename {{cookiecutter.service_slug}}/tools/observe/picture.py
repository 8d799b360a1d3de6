"""The screen as an SVG that needs nothing from elsewhere, for a README."""

from __future__ import annotations

import io
import re
from itertools import groupby

from rich.console import Console, RenderableType

from tools.observe.draw import UPWARD

SIZE = 120, 42
# Of a character in rich's SVGs, in pixels; its text starts so far below the top of its line.
WIDTH, HEIGHT, DROP = 12.2, 24.4, 18.5
_TEXT = re.compile(r'<text class="([^"]+)" x="([0-9.]+)" y="([0-9.]+)"[^>]*>([^<]*)</text>')


def picture(content: RenderableType, title: str) -> str:
    columns, lines = SIZE
    paper = Console(
        record=True,
        width=columns,
        height=lines,
        file=io.StringIO(),
        force_terminal=True,
        color_system="truecolor",
    )
    paper.print(content)
    svg = paper.export_svg(title=title)
    # rich would have a font fetched from a public server.
    svg = re.sub(r"@font-face\s*{.*?}", "", svg, flags=re.DOTALL)
    return _TEXT.sub(_blocks, svg)


def _blocks(match: re.Match[str]) -> str:
    """Return text that consists of blocks as rectangles: no two fonts have blocks of one size."""
    style, x, y, text = match.groups()
    text = text.replace("&#160;", " ")
    if not text.strip() or not set(text) <= set(UPWARD):
        return match[0]
    left, bottom = float(x), float(y) - DROP + HEIGHT
    rectangles = []
    for block, run in groupby(text):
        width = WIDTH * len(list(run))
        height = HEIGHT * UPWARD.index(block) / 8
        if height:
            rectangles.append(
                f'<rect class="{style}" x="{left:.1f}" y="{bottom - height:.2f}" '
                f'width="{width:.1f}" height="{height:.2f}" shape-rendering="crispEdges"/>'
            )
        left += width
    return "".join(rectangles)
