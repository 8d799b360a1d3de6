"""`make observe`: run the service and show its metrics as they arrive. Needs no account.

It stands in for Datadog's Agent: a UDP socket takes what the service sends to DogStatsD, and a
table shows the last two minutes of it, a row for each metric and its tags.
"""

from __future__ import annotations

import argparse
import io
import math
import os
import re
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections import defaultdict, deque
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import NamedTuple

import numpy as np
from rich import box
from rich.console import Console
from rich.live import Live
from rich.table import Table
from rich.text import Text

from loadtests.serving import ROOT, environment, free_port
from loadtests.slo import Slo
from tools.command import Parser

BAR_SECONDS = 3  # covered by a bar of a sparkline; the table is drawn anew after each
MOST_BARS = 100
MOST_ROWS = 6  # of a metric: the tag sets with the highest peaks
WIDTH = 120  # characters of a picture, and of a table that goes to a file
FIXED_WIDTH = 60  # characters of names and numbers; tags and sparklines share the rest
RAMP_SECONDS = 30  # until all users of the load test are there
STOP_SECONDS = 30
# Datadog's test agent has dependencies of its own, so uv runs it in an environment of its own.
AGENT = "ddapm-test-agent==1.69.1"
AGENT_PORT, PAGE_PORT = 8126, 8127  # if they are free: a page left open then finds the next run

LINE = re.compile(r"([A-Za-z][\w.]*):([^|]+)\|(c|g|d|h|ms)(\|.*)?")
LARGEST = 1e100  # a larger value is a mistake; sums of smaller ones are finite
# Tags that rows do not show: those of the service are in the title, and workers share a row, since
# there may be many, and all do the same.
HIDDEN = ("service", "version", "env", "worker")
# Units by the ends of metrics' names.
SECONDS = re.compile(r"(latency|decode|encode|wait|time|lag|inference|round_trip|cpu)$")
BYTES = re.compile(r"(rss|pss|bytes)$")
TROUBLE = re.compile(r"error|shed|expired|mismatch|dropped|breaker")  # bars in red
BLOCKS = " ▁▂▃▄▅▆▇"

Process = subprocess.Popen[bytes]


class Sample(NamedTuple):
    """A line of DogStatsD: as many values of a metric as were packed into it."""

    name: str
    kind: str  # c: count, g: gauge, d: distribution
    values: list[float]
    tags: dict[str, str]


def parse(datagram: bytes) -> Iterator[Sample]:
    """Yield the samples of a datagram; events, service checks and garbage are passed over.

    A line is `name:1:2:3|d|@0.5|#key:value,key:value`; other fields say nothing that is shown.
    """
    for line in datagram.decode(errors="replace").split("\n"):
        if not (match := LINE.fullmatch(line)):
            continue
        name, packed, kind, rest = match.groups(default="")
        fields = {part[:1]: part[1:] for part in rest.split("|")}
        try:
            share = float(fields.get("@", 1)) if kind == "c" else 1.0  # of events that were counted
            values = [float(value) / share for value in packed.split(":")]
        except (ValueError, ZeroDivisionError):
            continue
        if all(abs(value) < LARGEST for value in values):  # NaN is not
            parts = (tag.partition(":") for tag in fields.get("#", "").split(",") if tag)
            tags = {key: value for key, _, value in parts}
            yield Sample(name, kind if kind in "cg" else "d", values, tags)


@dataclass
class Series:
    """The last minutes of a metric with one set of tags."""

    name: str
    tags: str
    kind: str
    values: list[float] = field(default_factory=list)  # since the last bar
    latest: list[float] = field(default_factory=list)  # of the last bar that had any
    bars: deque[float] = field(default_factory=lambda: deque(maxlen=MOST_BARS))

    def close_bar(self) -> None:
        """Add a bar: a count's rate, a distribution's p99, the highest of all workers' gauges."""
        values, self.values = self.values, []
        self.latest = values or self.latest
        if self.kind == "c":
            self.bars.append(sum(values) / BAR_SECONDS)
        elif self.kind == "g":
            self.bars.append(max(self.latest))  # a gauge holds until it is set again
        else:
            self.bars.append(quantiles(values, 0.99)[0] if values else 0.0)

    def now(self) -> list[str]:
        """Return three cells: a rate or a value; of a distribution the last p50 and p99 instead."""
        if self.kind == "d":
            return ["", *(readable(self.name, at) for at in quantiles(self.latest, 0.5, 0.99))]
        return [readable(self.name, self.bars[-1]) + ("/s" if self.kind == "c" else ""), "", ""]


class History:
    """All that arrived: series by their metric's name, then by their tags."""

    def __init__(self) -> None:
        self.metrics: defaultdict[str, dict[str, Series]] = defaultdict(dict)
        self.service = "starting"

    def add(self, sample: Sample) -> None:
        self.service = " ".join(sample.tags.get(key, "") for key in ("service", "version"))
        tags = " ".join(f"{key}:{sample.tags[key]}" for key in sample.tags if key not in HIDDEN)
        new = Series(sample.name, tags, sample.kind)
        self.metrics[sample.name].setdefault(tags, new).values.extend(sample.values)

    def close_bar(self) -> None:
        for by_tags in self.metrics.values():
            for series in by_tags.values():
                series.close_bar()


def quantiles(values: list[float], *shares: float) -> list[float]:
    """Return, for each share, the least of the values that so many of them do not exceed."""
    found: list[float] = np.quantile(values, shares, method="inverted_cdf").tolist()
    return found


def readable(name: str, value: float) -> str:
    """Return a value in the unit that the metric's name tells of."""
    if name.endswith("start_time"):  # of Unix: how long ago
        value = time.time() - value
    if BYTES.search(name):
        return f"{number(value / 2**20)} MiB"
    if not SECONDS.search(name):
        return number(value)
    units = (("s", 1.0), ("ms", 1e-3), ("µs", 1e-6))
    unit, seconds = next((unit for unit in units if abs(value) >= unit[1]), units[-1])
    return f"{number(value / seconds)} {unit}"


def number(value: float) -> str:
    """Return three digits, or all of a whole number."""
    return f"{value:,.0f}" if value == int(value) or abs(value) >= 100 else f"{value:#.3g}"


def sparkline(bars: list[float]) -> str:
    """Return a block for each bar, from zero or the lowest to the highest of all."""
    low, high = min([0.0, *bars]), max([0.0, *bars])
    parts = [(bar - low) / (high - low or 1.0) for bar in bars]
    return "".join(BLOCKS[math.ceil(part * (len(BLOCKS) - 1))] for part in parts)


def table(history: History, address: str, width: int) -> Table:
    """Return the screen: all series, in so many characters. Their bars must have been closed."""
    bars = min(MOST_BARS, max(10, (width - FIXED_WIDTH) // 2))
    shown = Table(
        box=box.SIMPLE_HEAD,
        show_edge=False,
        pad_edge=False,
        collapse_padding=True,
        expand=True,
        title=Text.assemble((history.service, "bold"), f"  {address}\n"),
        title_style="",
        title_justify="left",
        caption=f"\nA bar stands for {BAR_SECONDS} s: a count's rate, a distribution's p99, "
        "or the highest of all workers' gauges.",
        caption_style="dim",
        caption_justify="left",
    )
    shown.add_column("metric", no_wrap=True)
    shown.add_column("tags", style="dim", ratio=1)  # takes what the others leave
    shown.add_column(f"last {bars * BAR_SECONDS} s", min_width=bars, no_wrap=True)
    for name, least in (("now", 8), ("p50", 7), ("p99", 7)):
        shown.add_column(name, min_width=least, no_wrap=True, justify="right")
    family = ""
    for name, by_tags in sorted(history.metrics.items()):
        if family != (family := name.partition(".")[0]):
            shown.add_section()  # nothing, before the first row
        rows = [series for series in by_tags.values() if series.bars]
        rows.sort(key=lambda row: -max(row.bars))
        for at, row in enumerate(sorted(rows[:MOST_ROWS], key=lambda row: row.tags)):
            tags = Text(row.tags, no_wrap=True, overflow="ellipsis")
            style = "red" if TROUBLE.search(name + row.tags) else "cyan"
            spark = Text(sparkline(list(row.bars)[-bars:]).rjust(bars), style)
            shown.add_row("" if at else name, tags, spark, *row.now())
        if len(rows) > MOST_ROWS:
            shown.add_row("", f"and {len(rows) - MOST_ROWS} more")
    return shown


def picture(screen: Table) -> str:
    """Return the table as an SVG, which needs nothing from elsewhere."""
    paper = Console(record=True, width=WIDTH, file=io.StringIO())
    paper.print(screen)
    svg = paper.export_svg(title="make observe")
    # rich would have a reader's browser get a font from a public server.
    return re.sub(r"@font-face\s*{.*?}", "", svg, flags=re.DOTALL)


@contextmanager
def running(command: list[str], env: dict[str, str], log: Path) -> Iterator[Process]:
    """Run a command, its output going to `log`, until the context ends.

    It has a session of its own, so that Ctrl-C reaches this program alone, which ends the others.
    """
    with log.open("wb") as output:
        process = subprocess.Popen(
            command,
            cwd=ROOT,
            env=environment() | env,
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )
    try:
        yield process
    finally:
        process.terminate()
        try:
            process.wait(STOP_SECONDS)
        except (subprocess.TimeoutExpired, KeyboardInterrupt):  # a second Ctrl-C: at once, then
            os.killpg(process.pid, signal.SIGKILL)
            process.wait()


def check(processes: dict[Path, Process]) -> None:
    """Raises CalledProcessError, with the last lines of its log, if a process has ended."""
    for log, process in processes.items():
        if process.poll() is not None:
            said = "\n".join(log.read_text(errors="replace").splitlines()[-5:])
            raise subprocess.CalledProcessError(process.returncode or 1, process.args, said)


def receive(udp: socket.socket, history: History, until: float) -> None:
    """Take in what arrives until a time of time.monotonic()."""
    while (left := until - time.monotonic()) > 0:
        udp.settimeout(left)
        with suppress(TimeoutError):
            for sample in parse(udp.recv(65535)):
                history.add(sample)


def load(address: str) -> list[str]:
    """Return the command that drives the load test's users at the service, for ever."""
    users = max(users for users, _ in Slo.read().steps)
    command = [sys.executable, "-m", "locust", "--headless", "--only-summary", "--host", address]
    command += ["-f", "loadtests/locustfile.py", "--users", str(users)]
    return [*command, "--spawn-rate", str(users / RAMP_SECONDS)]


def agent(port: int, page: int) -> list[str]:
    """Return the command that takes traces, installed if need be, and shows them on a page."""
    command = [sys.executable, "-m", "uv", "tool", "run", "--python", sys.executable]
    command += ["--from", AGENT, "ddapm-test-agent", f"--port={port}", f"--web-ui-port={page}"]
    command += [f"--otlp-http-port={free_port()}", f"--otlp-grpc-port={free_port()}"]
    return [*command, "--log-level=ERROR"]


def observe(arguments: argparse.Namespace) -> None:
    """Run all there is to run, and draw until the time is over or somebody stops it.

    Raises CalledProcessError if a process ends by itself.
    """
    wanted = int(os.environ.get("PORT") or 8000)  # another is taken if it is in use
    port, agent_port, page = map(free_port, (wanted, AGENT_PORT, PAGE_PORT))
    heading = address = f"http://127.0.0.1:{port}"
    env = {
        "BIND_HOST": "127.0.0.1",
        "PORT": str(port),
        "LOG_FORMAT": "text",
        "DD_TRACE_ENABLED": str(arguments.traces).lower(),
        "DD_TRACE_AGENT_URL": f"http://127.0.0.1:{agent_port}",
    }
    commands = {"service": [sys.executable, "-m", "service"]}
    if arguments.load:
        commands["load"] = load(address)
    if arguments.traces:
        commands["agent"] = agent(agent_port, page)
        heading += f"  traces: http://127.0.0.1:{page}/traces"
    console = Console(highlight=False, width=None if sys.stdout.isatty() else WIDTH)
    history, processes = History(), dict[Path, Process]()
    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="observe-")))
        udp = stack.enter_context(socket.socket(socket.AF_INET, socket.SOCK_DGRAM))
        # What the kernel keeps while the table is drawn; it gives less where it allows less.
        udp.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4 * 2**20)
        udp.bind(("127.0.0.1", 0))
        env["DD_DOGSTATSD_URL"] = f"udp://127.0.0.1:{udp.getsockname()[1]}"
        for name, command in commands.items():
            log = folder / f"{name}.log"
            # The agent would take DD_TRACE_AGENT_URL for one that it should forward to.
            settings = env if name == "service" else {}
            processes[log] = stack.enter_context(running(command, settings, log))
        live = Live(console=console, screen=True, auto_refresh=False)
        with suppress(KeyboardInterrupt), live:
            until, heard = time.monotonic(), 0
            while heard * BAR_SECONDS < arguments.seconds:
                until += BAR_SECONDS
                receive(udp, history, until)
                check(processes)
                history.close_bar()
                now = f"{heading}  log: {folder}/service.log"
                live.update(table(history, now, console.width), refresh=True)
                heard += bool(history.metrics)
        console.print(table(history, heading, console.width))
        if arguments.picture:
            arguments.picture.write_text(picture(table(history, heading, WIDTH)))


def main() -> None:
    parser = Parser("tools.observe", __doc__, "not observed")
    seconds = parser.number("--seconds", "a number of seconds")
    parser.add_argument("--load", action="store_true", help="drive the load test's users at it")
    parser.add_argument("--traces", action="store_true", help="take its traces too, and show them")
    parser.add_argument("--picture", type=Path, metavar="FILE.svg", help="draw the last screen")
    parser.add_argument(
        "--seconds", type=seconds, default=math.inf, help="from the first metric on"
    )
    arguments = parser.parse_args()
    # SIGINT too: what a script starts by `&` ignores it until told otherwise.
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, signal.default_int_handler)
    try:
        observe(arguments)
    except KeyboardInterrupt:  # while it starts, or a second one while it stops
        sys.exit(130)
    except subprocess.CalledProcessError as ended:
        print(ended.output, file=sys.stderr)
        sys.exit(ended.returncode)


if __name__ == "__main__":
    main()
