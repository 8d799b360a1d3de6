"""The screen: which sections there are, and where, in a terminal of any size."""

from __future__ import annotations

import re
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass

from rich.console import Console, ConsoleOptions, Group, RenderResult
from rich.layout import Layout
from rich.padding import Padding
from rich.panel import Panel
from rich.rule import Rule
from rich.text import Text

from tools.observe import answers, draw, ghost, traffic
from tools.observe.facts import LONGER, RECENT, Facts
from tools.observe.windows import HISTORY, Windows

# A section's lines, for the width and height that there are.
Lines = Callable[[Windows, Facts, int, int], Iterable[Text]]

SMALLEST = 80, 22
TALL = 34  # lines of a terminal that has room for frames and the log
STAGES_LINES, GHOST_LINES, LOG_LINES = 8, 9, 4


class View:
    """Renders itself into whatever size it is given."""

    def __init__(
        self, windows: Windows, facts: Facts, now: Callable[[], float] = time.monotonic
    ) -> None:
        """`now`: the clock by which the windows are filled."""
        self._windows = windows
        self._facts = facts
        self._now = now
        self._started = now()

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        self._windows.advance(self._now())
        width, height = options.max_width, options.height or options.max_height
        if width < SMALLEST[0] or height < SMALLEST[1]:
            yield Text(f"This wants at least {SMALLEST[0]} columns and {SMALLEST[1]} lines.")
        else:
            yield self._screen(width, height)

    def _screen(self, width: int, height: int) -> Layout:
        framed = height >= TALL
        shadow = ghost.active(self._windows)
        workers = len(self._windows.gauges("worker.rss", "worker"))
        middle = max(STAGES_LINES, min(workers + 2, height // 3))
        model = self._row(
            framed,
            ("predictions", answers.predictions),
            (f"{self._facts.value or 'values'} and training's", answers.values),
            GHOST if shadow and not framed else ("out of range", answers.inputs),
        )
        rows = [
            self._row(framed, ("requests", traffic.requests), ("latency", traffic.latency)),
            self._row(
                framed, ("inside", traffic.stages), ("workers", traffic.workers), lines=middle
            ),
            model,
        ]
        if framed:
            beneath = [GHOST, LOG] if shadow else [LOG]
            rows.append(self._row(framed, *beneath, lines=GHOST_LINES if shadow else LOG_LINES))
        rows[0].ratio, rows[2].ratio = 4, 3

        idle = not any(self._windows.each_sum("inference.requests", "", HISTORY))
        screen = Layout()
        screen.split_column(
            Layout(self._header(width), size=1),
            *rows,
            Layout(self._footer(idle), size=2 if idle else 1),
        )
        return screen

    def _row(self, framed: bool, *sections: tuple[str, Lines], lines: int | None = None) -> Layout:
        """Return sections side by side; with `lines` of contents, or what the others leave."""
        row = Layout(size=lines and lines + (2 if framed else 1))
        row.split_row(
            *(Layout(Section(*section, self._windows, self._facts, framed)) for section in sections)
        )
        return row

    def _header(self, width: int) -> Text:
        facts = self._facts
        heard = bool(self._windows.gauges("worker.start_time", "worker"))
        left = Text.assemble(
            ("● serving " if heard else "○ silent ", f"bold {draw.GOOD if heard else draw.LOADED}"),
            (facts.manifest.name, "bold"),
            ("  " + facts.url, draw.TIME),
        )
        if facts.traces:
            left.append(f"  {facts.traces}", draw.TIME)
        running = draw.clock(self._now() - self._started)
        return draw.apart(left, Text(f"{facts.manifest.version}  {running}", "dim"), width)

    def _footer(self, idle: bool) -> Text:
        if idle:
            return Text.assemble("try  ", (self._facts.example, draw.TIME))
        return Text(
            f"ctrl-c ends   numbers: last {RECENT} s, shares: last {LONGER} s, "
            "charts: a column a second",
            "dim",
        )


@dataclass
class Section:
    """A titled part of the screen."""

    title: str
    lines: Lines
    windows: Windows
    facts: Facts
    framed: bool

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        width, height = options.max_width, options.height or options.max_height
        width, height = (width - 4, height - 2) if self.framed else (width - 2, height - 1)
        lines = list(self.lines(self.windows, self.facts, width, height))[:height]
        for line in lines:
            line.truncate(width, overflow="ellipsis")
        title = Text(self.title, "bold")
        if self.framed:
            frame = Panel(Group(*lines), title=title, title_align="left", border_style="dim")
            frame.height = height + 2
            yield frame
        else:
            yield Padding(Rule(title, align="left", style="dim"), (0, 2, 0, 0))
            yield from lines


def _log(windows: Windows, facts: Facts, width: int, height: int) -> Iterable[Text]:
    """The latest lines of the service's log."""
    with facts.log.open("rb") as file:
        file.seek(max(0, facts.log.stat().st_size - 4096 * height))
        lines = file.read().decode(errors="replace").splitlines()
    for line in lines[-height:]:
        line = re.sub(r" dd\.\S+", "", re.sub(r"^\d+-\d+-\d+T([\d:]+)\S*", r"\1", line))
        bad = any(level in line for level in (" WARNING ", " ERROR ", " CRITICAL "))
        yield Text(line, draw.BAD if bad else "dim")


LOG = "log", _log
GHOST = "ghost mode", ghost.compared
