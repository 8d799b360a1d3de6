"""What shadow traffic costs the live service.

    python -m loadtests.shadow              17 minutes; writes results/shadow.{md,json,png}
    python -m loadtests.shadow --rounds 1   a look

Services of one worker each wait on the server's core: one with a tenth of the requests copied, one
with all of them, one with all of them to a candidate that accepts connections and never says a
word, and one without shadow traffic. Each is asked twice in a row, by an open loop at what takes
70 % of its core: once with copies switched off by the switch file and once with them on, at the
same rate, with the same requests at the same intervals. So neither the luck of a process nor that
of the dice is taken for the cost of copies, and what the service without them seems to lose between
its two is what the machine itself adds. Rounds are short and many because machines change their
speed from second to second.

The live model is the default one, asked row by row, which makes some hundred requests a second the
capacity; the default itself answers more than a client in Python can offer. The candidate is the
default model as it is, whose answers were recorded and are replayed on the other core: a real one
there would slow the live service down as any busy neighbour does, copies or not.
"""

from __future__ import annotations

import asyncio
import gc
import json
import math
import os
import random
import socket
import statistics
import sys
from collections.abc import Iterable, Sequence
from contextlib import ExitStack
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path

from matplotlib.figure import Figure

from loadtests import measure, outcome
from loadtests.environments import ROWS, Installed, install
from loadtests.openloop import Client, post, quantile
from loadtests.replay import record, replaying
from loadtests.running import Running, running
from loadtests.servers import OURS, Rows

SHARE = 0.7
FIRST_RATE, FIRST_SECONDS = 150, 5
SWITCHED_SECONDS = 2.2  # after which a worker has looked at its switch file
PAUSE_SECONDS = 0.5
MOST_P99 = 1.05
MOST_COST_MS = 0.25
TITLE = "What shadow traffic costs the live service, at 70 % of its core"


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
    """A live service, and what the candidate does: nothing to say of it if nothing is copied."""

    name: str
    percent: int
    silent: bool = False
    rounds: list[Round] = field(default_factory=list)
    # Of the worker, at its end: requests while switched on, copies, and what came of them.
    requests: int = 0
    copied: int = 0
    verdicts: dict[str, int] = field(default_factory=dict)

    def ratio(self, name: str) -> tuple[float, float, float]:
        """Return the median over rounds of what is on to what is off, and its 95 % interval."""
        return median(one.ratio(name) for one in self.rounds)

    def typical(self, name: str, on: bool) -> float:
        visits = (one.on if on else one.off for one in self.rounds)
        values: list[float] = [getattr(visit, name) for visit in visits]
        return statistics.median(values)

    @property
    def failed(self) -> int:
        return sum(one.off.failed + one.on.failed for one in self.rounds)

    @property
    def copies_per_request(self) -> float:
        return self.copied / max(1, self.requests)

    @property
    def cost_ms(self) -> float:
        """CPU time of a copied request, beyond that of one that is not; median of rounds."""
        more = statistics.median(one.on.cpu_ms - one.off.cpu_ms for one in self.rounds)
        return more / self.copies_per_request


def median(values: Iterable[float]) -> tuple[float, float, float]:
    """Return the median and its 95 % interval, which takes order statistics as binomial ranks."""
    ordered = sorted(values)
    n = len(ordered)
    rank = max(0, math.floor((n - 1.96 * math.sqrt(n)) / 2))
    return statistics.median(ordered), ordered[rank], ordered[-1 - rank]


def prepared(installed: Installed, name: str, **environ: str) -> Installed:
    """Return the service with other settings and a folder of its own for its log and switch."""
    state = installed.state.with_name(f"{installed.state.name}-{name}")
    state.mkdir(exist_ok=True)
    server = replace(OURS, environ={**OURS.environ, "LOG_FORMAT": "json", **environ})
    return replace(installed, server=server, state=state)


async def visit(
    server: Running, requests: Sequence[bytes], rate: float, seconds: float, seed: int
) -> Visit:
    """Ask for some seconds, the same for the same seed, once what was switched has had effect."""
    client = Client(server.port)
    await client.offer(requests, rate, SWITCHED_SECONDS)
    busy, cpu = measure.core_busy_seconds(), measure.tree_cpu_seconds(server.pid)
    random.seed(seed)
    outcomes = await client.offer(requests, rate, seconds)
    client.close()
    await asyncio.sleep(PAUSE_SECONDS)  # what is left to copy belongs to it
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


def run(rounds: int, seconds: float) -> list[Case]:
    cases = [Case("none", 0), Case("10 %", 10), Case("100 %", 100), Case("black hole", 100, True)]
    candidate, live = prepared(install(OURS, "lr"), "candidate"), install(OURS, "steady")
    rows: Rows = json.loads(ROWS.read_text())
    requests = [post("/predict", json.dumps({"instances": [row]}).encode()) for row in rows]
    with ExitStack() as stack:
        with running(candidate, rows) as real:
            beside = stack.enter_context(replaying(record(real.port, requests)))
        hole = stack.enter_context(socket.create_server(("127.0.0.1", 0), backlog=64))
        servers = []
        installed = []
        for number, case in enumerate(cases):
            port = hole.getsockname()[1] if case.silent else beside
            environ = {
                "SHADOW_URL": f"http://127.0.0.1:{port}",
                "SHADOW_PERCENT": str(case.percent),
                "SHADOW_SWITCH_FILE": "{state}/switch",
            }
            one = prepared(live, str(number), **(environ if case.percent else {}))
            (one.state / "switch").write_text("off")
            installed.append(one)
            servers.append(stack.enter_context(running(one, rows)))
        first = asyncio.run(visit(servers[0], requests, FIRST_RATE, FIRST_SECONDS, 0))
        cpu_ms = [first.cpu_ms] * len(cases)
        for number in range(rounds):
            for i, (case, server) in enumerate(zip(cases, servers, strict=True)):
                rate = SHARE * 1000 / cpu_ms[i]
                visits = {}
                for state in ("off", "on") if number % 2 else ("on", "off"):
                    # Empty, it leaves the percentage as it was set.
                    (installed[i].state / "switch").write_text("off" if state == "off" else "")
                    visits[state] = asyncio.run(visit(server, requests, rate, seconds, number))
                (installed[i].state / "switch").write_text("off")
                case.rounds.append(Round(rate, **visits))
                cpu_ms[i] = visits["off"].cpu_ms
                report(number, case)
    for case, one in zip(cases, installed, strict=True):
        read_counts(case, one.state / "server.log")
    return cases


def report(number: int, case: Case) -> None:
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


def read_counts(case: Case, log: Path) -> None:
    """Take the worker's last counts from its log."""
    lines = [line for line in log.read_text().splitlines() if '"event":"shadow.counts"' in line]
    if lines:
        counts = json.loads(lines[-1])
        case.requests = counts["live_requests"] - counts["skipped"].get("switched_off", 0)
        case.copied, case.verdicts = counts["enqueued"], counts["verdicts"]


def judge(cases: Sequence[Case]) -> list[str]:
    """Return what of the promises is broken: beyond what the machine's moods may explain."""
    _, _, whole, hole = cases
    failures = []
    for case in (whole, hole):
        if (least := case.ratio("p99")[1]) > MOST_P99:
            failures.append(f"{case.name}: p99 is at least {least:.2f} times that without")
    if (cost := whole.cost_ms) > MOST_COST_MS:
        failures.append(f"a copy costs {cost:.3f} CPU-ms")
    failures += [f"{case.name}: {case.failed} requests failed" for case in cases if case.failed]
    return failures


def write(folder: Path, seconds: float, cases: list[Case], failures: list[str]) -> int:
    rate = statistics.median(one.rate for case in cases for one in case.rounds)
    lines = [
        f"{rate:.0f} requests/s, which takes one worker {SHARE:.0%} of its core; "
        f"{len(cases[0].rounds)} rounds of {seconds:g} s off and {seconds:g} s on. Medians of "
        "rounds, of ratios with their 95 % interval. The first row has no copies to switch on: "
        "it tells what the machine makes of the same asked twice.",
        "",
        "| shadow traffic | p50, off and on | ratio | p99, off and on | ratio "
        "| CPU-ms a request, off and on | CPU-ms a copy | copied | failed | core: others |",
        "|---|---|---|---|---|---|---|---|---|---|",
    ]
    for case in cases:
        shown = [case.name]
        for name in ("p50", "p99"):
            off, on = (1e3 * case.typical(name, state) for state in (False, True))
            shown.append(f"{off:.2f} and {on:.2f} ms")
            shown.append("{:.3f} ({:.2f} to {:.2f})".format(*case.ratio(name)))
        off, on = (case.typical("cpu_ms", state) for state in (False, True))
        shown.append(f"{off:.3f} and {on:.3f}")
        # Of a few copies it would be the noise of all requests.
        shown.append(f"{case.cost_ms:.3f}" if case.copies_per_request > 0.05 else "")
        shown.append(f"{case.copies_per_request:.0%}" if case.percent else "")
        shown += [str(case.failed), f"{case.typical('disturbance', True):.0%}"]
        lines.append(f"| {' | '.join(shown)} |")
    return outcome.leave(
        folder,
        "shadow",
        lines,
        {"seconds": seconds, "cases": [asdict(case) for case in cases]},
        failures=failures,
        kept=f"p99 is not shown to be more than {MOST_P99:g} times that without shadow traffic, "
        f"and a copy costs at most {MOST_COST_MS:g} CPU-ms.",
        options=f"--rounds {len(cases[0].rounds)} --seconds {seconds:g}",
    )


def draw(file: Path, cases: Sequence[Case]) -> None:
    figure = Figure(figsize=(10, 3.6), layout="constrained")
    figure.suptitle(f"{TITLE}: on, in multiples of off", fontsize=12)
    pictures = (("p50", "p50"), ("p99", "p99"), ("CPU-ms a request", "cpu_ms"))
    for axes, (label, name) in zip(figure.subplots(1, 3), pictures, strict=True):
        for place, case in enumerate(cases):
            middle, low, high = case.ratio(name)
            values = [one.ratio(name) for one in case.rounds]
            spread = [place + 0.6 * (i / len(values) - 0.5) for i in range(len(values))]
            axes.plot(spread, values, ".", color="#c9c9c9", markersize=4)
            color = "#6d3fc0" if case.percent else "#555555"
            axes.errorbar(
                place, middle, [[middle - low], [high - middle]], fmt="o", color=color, capsize=4
            )
        axes.axhline(1, color="#555555", linewidth=0.6)
        axes.set_xticks(range(len(cases)), [case.name for case in cases], fontsize=8)
        axes.set_title(label, fontsize=10, color="#555555")
        axes.set_yscale("log")
        axes.set_ylim(0.5, 2)
        axes.set_yticks([0.5, 0.8, 1, 1.25, 2], ["0.5", "0.8", "1", "1.25", "2"], fontsize=8)
        axes.minorticks_off()
        axes.spines[["top", "right"]].set_visible(False)
    figure.savefig(file, dpi=150)


def main() -> int:
    parser = outcome.parser(__doc__)
    parser.add_argument("--rounds", type=int, default=25)
    parser.add_argument("--seconds", type=float, default=2)
    arguments = parser.parse_args()
    os.sched_setaffinity(0, {measure.LOAD_CORE})
    gc.freeze()  # lest the client stop for 15 ms now and then, to look through what it has imported
    print("training ...", flush=True)
    cases = run(arguments.rounds, arguments.seconds)
    status = write(arguments.out, arguments.seconds, cases, judge(cases))
    draw(arguments.out / "shadow.png", cases)
    return status


if __name__ == "__main__":
    sys.exit(main())
