"""What something costs a service that can be switched on and off: asked twice in a row.

Services of one worker each wait on the server's core. Each is asked by an open loop at what takes
70 % of its core, once switched off by its switch file and once on, at the same rate, with the same
requests at the same intervals. So neither the luck of a process nor that of the dice is taken for
the cost, and what a service that has nothing to switch on seems to lose between its two is what the
machine itself adds. Rounds are short and many because machines change their speed from second to
second.

The service is the default one, asked row by row, which makes some hundred requests a second the
capacity; the default itself answers more than a client in Python can offer. The candidate, where
there is one, is the default as it is, whose answers were recorded and are replayed on the other
core: a real one there would slow the live service down as any busy neighbour does.
"""

from __future__ import annotations

import asyncio
import gc
import json
import os
import random
import socket
import statistics
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field, replace
from pathlib import Path

from loadtests import measure
from loadtests.environments import ROWS, Installed, install
from loadtests.openloop import Client, post, quantile
from loadtests.replay import record, replaying
from loadtests.rounds import Interval, median
from loadtests.running import Running, running
from loadtests.servers import OURS, Rows

SHARE = 0.7
FIRST_RATE, FIRST_SECONDS = 150, 5
SWITCHED_SECONDS = 2.2  # after which a worker has looked at its switch file
PAUSE_SECONDS = 0.5

HEADINGS = (
    "p50, off and on",
    "ratio",
    "p99, off and on",
    "ratio",
    "CPU-ms a request, off and on",
    "failed",
    "core: others",
)


@dataclass(frozen=True)
class Visit:
    """Times in seconds."""

    p50: float
    p99: float
    cpu_ms: float
    answered: int
    failed: int
    disturbance: float


@dataclass(frozen=True)
class Round:
    """A service asked the same twice. `rate` in requests a second."""

    rate: float
    off: Visit
    on: Visit

    def ratio(self, name: str) -> float:
        ratio: float = getattr(self.on, name) / getattr(self.off, name)
        return ratio


@dataclass
class Case:
    """A service. `percent`: that go to the candidate while switched on; 0: nothing to switch on."""

    name: str
    percent: float
    silent: bool = False  # the candidate accepts connections and never says a word
    rounds: list[Round] = field(default_factory=list)

    def ratio(self, name: str) -> Interval:
        """Return the median over rounds of what is on to what is off, and its 95 % interval."""
        return median(one.ratio(name) for one in self.rounds)

    def typical(self, name: str, on: bool) -> float:
        visits = (one.on if on else one.off for one in self.rounds)
        values: list[float] = [getattr(visit, name) for visit in visits]
        return statistics.median(values)

    @property
    def failed(self) -> int:
        return sum(one.off.failed + one.on.failed for one in self.rounds)

    def cells(self) -> list[str]:
        """Return the case's row of a table, as in HEADINGS."""
        shown = []
        for name in ("p50", "p99"):
            off, on = (1e3 * self.typical(name, state) for state in (False, True))
            shown.append(f"{off:.2f} and {on:.2f} ms")
            shown.append("{:.3f} ({:.2f} to {:.2f})".format(*self.ratio(name)))
        off, on = (self.typical("cpu_ms", state) for state in (False, True))
        shown += [f"{off:.3f} and {on:.3f}", str(self.failed)]
        return [*shown, f"{self.typical('disturbance', True):.0%}"]


def measure_cases(
    name: str,
    cases: Sequence[Case],
    environ: Callable[[Case, str], dict[str, str]],
    requests: Callable[[list[bytes]], list[bytes]],
    rounds: int,
    seconds: float,
) -> list[Path]:
    """Ask each case's service round by round; return the logs they have left.

    `name`: of their folders. `environ`: the settings of a case whose candidate has that URL.
    `requests`: what is asked, made of a plain request for each row.
    """
    os.sched_setaffinity(0, {measure.LOAD_CORE})
    gc.freeze()  # lest the client stop for 15 ms now and then, to look through what it has imported
    print("training ...", flush=True)
    candidate, live = _prepared(install(OURS, "lr"), "candidate"), install(OURS, "steady")
    rows: Rows = json.loads(ROWS.read_text())
    plain = [post("/predict", json.dumps({"instances": [row]}).encode()) for row in rows]
    asked = requests(plain)
    with ExitStack() as stack:
        with running(candidate, rows) as real:
            beside = stack.enter_context(replaying(record(real.port, plain)))
        hole = stack.enter_context(socket.create_server(("127.0.0.1", 0), backlog=64))
        servers, folders = [], []
        for number, case in enumerate(cases):
            port = hole.getsockname()[1] if case.silent else beside
            settings = environ(case, f"http://127.0.0.1:{port}") if case.percent else {}
            one = _prepared(live, f"{name}-{number}", **settings)
            folders.append(one.state)
            _switch(one.state, on=False)
            servers.append(stack.enter_context(running(one, rows)))
        first = asyncio.run(_visit(servers[0], asked, FIRST_RATE, FIRST_SECONDS, 0))
        cpu_ms = [first.cpu_ms] * len(cases)
        for number in range(rounds):
            for i, (case, server) in enumerate(zip(cases, servers, strict=True)):
                rate = SHARE * 1000 / cpu_ms[i]
                visits = {}
                for state in ("off", "on") if number % 2 else ("on", "off"):
                    _switch(folders[i], on=state == "on")
                    visits[state] = asyncio.run(_visit(server, asked, rate, seconds, number))
                _switch(folders[i], on=False)
                case.rounds.append(Round(rate, **visits))
                cpu_ms[i] = visits["off"].cpu_ms
                _report(number, case)
    return [server.installed.log for server in servers]


def summary(cases: Sequence[Case], seconds: float) -> str:
    """Return what the table of `cases` shows."""
    rate = statistics.median(one.rate for case in cases for one in case.rounds)
    return (
        f"{rate:.0f} requests/s, which takes one worker {SHARE:.0%} of its core; "
        f"{len(cases[0].rounds)} rounds of {seconds:g} s off and {seconds:g} s on. Medians of "
        "rounds, of ratios with their 95 % interval. The first row has nothing to switch on: it "
        "tells what the machine makes of the same asked twice."
    )


def _prepared(installed: Installed, name: str, **environ: str) -> Installed:
    """Return the service with other settings and a folder of its own for its log and switch."""
    state = installed.state.with_name(f"{installed.state.name}-{name}")
    state.mkdir(exist_ok=True)
    server = replace(OURS, environ={**OURS.environ, "LOG_FORMAT": "json", **environ})
    return replace(installed, server=server, state=state)


def _switch(folder: Path, on: bool) -> None:
    # Empty, it leaves the percentage as it was set.
    (folder / "switch").write_text("" if on else "off")


async def _visit(
    server: Running, requests: Sequence[bytes], rate: float, seconds: float, seed: int
) -> Visit:
    """Ask for some seconds, the same for the same seed, once what was switched has had effect."""
    client = Client(server.port)
    await client.offer(requests, rate, SWITCHED_SECONDS)
    busy, cpu = measure.core_busy_seconds(), measure.tree_cpu_seconds(server.pid)
    random.seed(seed)
    outcomes = await client.offer(requests, rate, seconds)
    client.close()
    await asyncio.sleep(PAUSE_SECONDS)  # what is left for the candidate belongs to it
    cpu = measure.tree_cpu_seconds(server.pid) - cpu
    busy = measure.core_busy_seconds() - busy
    answered = [outcome.seconds for outcome in outcomes if outcome.status == 200]
    return Visit(
        p50=quantile(answered, 0.5),
        p99=quantile(answered, 0.99),
        cpu_ms=1000 * cpu / len(outcomes),
        answered=len(answered),
        failed=len(outcomes) - len(answered),
        disturbance=max(0.0, busy - cpu) / (seconds + PAUSE_SECONDS),
    )


def _report(number: int, case: Case) -> None:
    last = case.rounds[-1]
    print(
        f"round {number + 1}  {case.name:<10}  {last.rate:.0f}/s, off and on: "
        f"p50 {last.off.p50 * 1e3:.2f} {last.on.p50 * 1e3:.2f} ms, "
        f"p99 {last.off.p99 * 1e3:.2f} {last.on.p99 * 1e3:.2f} ms, "
        f"{last.off.cpu_ms:.3f} {last.on.cpu_ms:.3f} CPU-ms, "
        f"failed {last.off.failed} {last.on.failed}, "
        f"others {last.off.disturbance:.0%} {last.on.disturbance:.0%}",
        flush=True,
    )
