"""What ghost mode costs the live service.

    python -m loadtests.shadow              12 minutes; writes results/shadow.{md,json,png}
    python -m loadtests.shadow --rounds 1   a look

Four services of one worker each wait on the server's core: without ghost mode, with a tenth of the
requests copied, with all of them, and with all of them to a candidate that accepts connections and
never says a word. They are asked one after the other, in turns, by an open loop at what takes the
first 70 % of its core. Machines change their speed from second to second, so rounds are short and
many, and each goes by the one before. The candidate is on the other core, where it gives way to the
load client.

The live model is the default one, asked row by row, which makes some hundred requests a second the
capacity; the default itself answers more than a client in Python can offer. The candidate is the
default model as it is, and gives the same answers.
"""

from __future__ import annotations

import asyncio
import json
import os
import socket
import statistics
import sys
from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path

from matplotlib.figure import Figure

from loadtests import measure, outcome
from loadtests.environments import ROWS, Installed, install
from loadtests.openloop import Client, post, quantile
from loadtests.running import Running, running
from loadtests.servers import OURS, Rows

SHARE = 0.7
FIRST_RATE, FIRST_SECONDS = 150, 5
WARM_UP_SECONDS = 1
PAUSE_SECONDS = 0.5
MOST_P99 = 1.05
MOST_COST_MS = 0.25
TITLE = "What ghost mode costs the live service, at 70 % of its core"


@dataclass(frozen=True)
class Round:
    """Times in seconds, `rate` in requests a second."""

    rate: float
    p50: float
    p99: float
    cpu_ms: float
    answered: int
    failed: int
    disturbance: float


@dataclass
class Case:
    """A live service, and what the candidate does: nothing to say of it if nothing is copied."""

    name: str
    percent: int
    silent: bool = False
    rounds: list[Round] = field(default_factory=list)
    # Of the worker, at its end: requests, copies, and what came of them.
    requests: int = 0
    copied: int = 0
    verdicts: dict[str, int] = field(default_factory=dict)

    def median(self, name: str) -> float:
        values: list[float] = [getattr(one, name) for one in self.rounds]
        return statistics.median(values)

    def against(self, other: Case, name: str) -> float:
        """Return the median over rounds of the ratio to another case in the same round."""
        pairs = zip(self.rounds, other.rounds, strict=True)
        ratios: list[float] = [getattr(a, name) / getattr(b, name) for a, b in pairs]
        return statistics.median(ratios)

    @property
    def copies_per_request(self) -> float:
        return self.copied / max(1, self.requests)


def give_way(server: Running) -> None:
    """Move a server to the core of the load client, and run it when that has nothing to do."""
    for pid in measure.process_tree(server.pid):
        for thread in Path(f"/proc/{pid}/task").iterdir():
            os.sched_setaffinity(int(thread.name), {measure.LOAD_CORE})
            os.sched_setscheduler(int(thread.name), os.SCHED_IDLE, os.sched_param(0))


def prepared(installed: Installed, name: str, **environ: str) -> Installed:
    """Return the service with other settings and a folder of its own for its log."""
    state = installed.state.with_name(f"{installed.state.name}-{name}")
    state.mkdir(exist_ok=True)
    server = replace(OURS, environ={**OURS.environ, "LOG_FORMAT": "json", **environ})
    return replace(installed, server=server, state=state)


async def measured(
    server: Running, requests: Sequence[bytes], rate: float, seconds: float
) -> Round:
    client = Client(server.port)
    await client.offer(requests, rate, WARM_UP_SECONDS)
    busy, cpu = measure.core_busy_seconds(), measure.tree_cpu_seconds(server.pid)
    outcomes = await client.offer(requests, rate, seconds)
    client.close()
    await asyncio.sleep(PAUSE_SECONDS)  # what is left to copy belongs to it
    cpu = measure.tree_cpu_seconds(server.pid) - cpu
    busy = measure.core_busy_seconds() - busy
    answered = [outcome.seconds for outcome in outcomes if outcome.status == 200]
    return Round(
        rate=rate,
        p50=quantile(answered, 0.5),
        p99=quantile(answered, 0.99),
        cpu_ms=1000 * cpu / len(outcomes),
        answered=len(answered),
        failed=len(outcomes) - len(answered),
        disturbance=max(0.0, busy - cpu) / (seconds + PAUSE_SECONDS),
    )


def run(rows: Rows, rounds: int, seconds: float) -> list[Case]:
    cases = [Case("off", 0), Case("10 %", 10), Case("100 %", 100), Case("black hole", 100, True)]
    candidate, live = prepared(install(OURS, "lr"), "candidate"), install(OURS, "steady")
    requests = [post("/predict", json.dumps({"instances": [row]}).encode()) for row in rows]
    with ExitStack() as stack:
        beside = stack.enter_context(running(candidate, rows))
        give_way(beside)
        hole = stack.enter_context(socket.create_server(("127.0.0.1", 0), backlog=64))
        servers = []
        installed = []
        for number, case in enumerate(cases):
            port = hole.getsockname()[1] if case.silent else beside.port
            environ = {
                "SHADOW_URL": f"http://127.0.0.1:{port}",
                "SHADOW_PERCENT": str(case.percent),
                "SHADOW_MAX_RPS": "0",
            }
            installed.append(prepared(live, str(number), **(environ if case.percent else {})))
            servers.append(stack.enter_context(running(installed[-1], rows)))
        last = asyncio.run(measured(servers[0], requests, FIRST_RATE, FIRST_SECONDS))
        for number in range(rounds):
            rate = SHARE * 1000 / last.cpu_ms
            order = list(zip(cases, servers, strict=True))
            for case, server in order[number % 4 :] + order[: number % 4]:
                case.rounds.append(asyncio.run(measured(server, requests, rate, seconds)))
                report(number, case)
            last = cases[0].rounds[-1]
    for case, one in zip(cases, installed, strict=True):
        read_counts(case, one.state / "server.log")
    return cases


def report(number: int, case: Case) -> None:
    last = case.rounds[-1]
    print(
        f"round {number + 1}  {case.name:<10}  {last.rate:.0f}/s, p50 {last.p50 * 1e3:.2f} ms, "
        f"p99 {last.p99 * 1e3:.2f} ms, {last.cpu_ms:.3f} CPU-ms, failed {last.failed}, "
        f"others {last.disturbance:.0%}",
        flush=True,
    )


def read_counts(case: Case, log: Path) -> None:
    """Take the worker's last counts from its log."""
    lines = [line for line in log.read_text().splitlines() if '"event":"shadow.counts"' in line]
    if lines:
        counts = json.loads(lines[-1])
        case.requests, case.copied = counts["live_requests"], counts["enqueued"]
        case.verdicts = counts["verdicts"]


def judge(cases: Sequence[Case]) -> list[str]:
    """Return what of the promises is broken."""
    off, _, whole, hole = cases
    failures = []
    for case in (whole, hole):
        if (ratio := case.against(off, "p99")) > MOST_P99:
            failures.append(f"{case.name}: p99 is {ratio:.2f} times that without ghost mode")
    if (cost := cost_ms(whole, off)) > MOST_COST_MS:
        failures.append(f"a copy costs {cost:.3f} CPU-ms")
    for case in cases:
        if failed := sum(one.failed for one in case.rounds):
            failures.append(f"{case.name}: {failed} requests failed")
    return failures


def cost_ms(case: Case, off: Case) -> float:
    """Return the CPU time of a copied request, beyond that of one that is not; median of rounds."""
    pairs = zip(case.rounds, off.rounds, strict=True)
    more = statistics.median(a.cpu_ms - b.cpu_ms for a, b in pairs)
    return more / case.copies_per_request if case.copied else 0.0


def write(folder: Path, seconds: float, cases: list[Case], failures: list[str]) -> int:
    off = cases[0]
    lines = [
        f"{off.median('rate'):.0f} requests/s, which takes one worker {SHARE:.0%} of its core; "
        f"{len(off.rounds)} rounds of {seconds:g} s each, in turns. Medians of rounds.",
        "",
        "| ghost mode | p50 | p99 | p99, to off | CPU-ms a request | CPU-ms a copy | copied "
        "| failed | core: others |",
        "|---|---|---|---|---|---|---|---|---|",
    ]
    for case in cases:
        cost = f"{cost_ms(case, off):.3f}" if case.copied else ""
        copied = f"{case.copies_per_request:.0%}" if case.percent else ""
        p50, p99 = case.median("p50"), case.median("p99")
        lines.append(
            f"| {case.name} | {p50 * 1e3:.2f} ms | {p99 * 1e3:.2f} ms "
            f"| {case.against(off, 'p99'):.3f} | {case.median('cpu_ms'):.3f} | {cost} | {copied} "
            f"| {sum(one.failed for one in case.rounds)} | {case.median('disturbance'):.0%} |"
        )
    document = {
        "seconds": seconds,
        "cases": [asdict(case) for case in cases],
    }
    status = outcome.leave(
        folder,
        "shadow",
        lines,
        document,
        failures=failures,
        kept="clients do not notice.",
        options=f"--rounds {len(off.rounds)} --seconds {seconds:g}",
    )
    draw(folder / "shadow.png", cases)
    return status


def draw(file: Path, cases: Sequence[Case]) -> None:
    figure = Figure(figsize=(10, 3.6), layout="constrained")
    figure.suptitle(TITLE, fontsize=12)
    pictures = (("p50, ms", "p50", 1e3), ("p99, ms", "p99", 1e3), ("CPU-ms a request", "cpu_ms", 1))
    for axes, (label, name, scale) in zip(figure.subplots(1, 3), pictures, strict=True):
        for place, case in enumerate(cases):
            values = [scale * getattr(one, name) for one in case.rounds]
            axes.bar(place, statistics.median(values), color="#6d3fc0" if place else "#c9c9c9")
            axes.plot([place] * len(values), values, "k.", markersize=3)
        axes.set_xticks(range(len(cases)), [case.name for case in cases], fontsize=8)
        axes.set_title(label, fontsize=10, color="#555555")
        axes.set_ylim(0)
        axes.spines[["top", "right"]].set_visible(False)
    figure.savefig(file, dpi=150)


def main() -> int:
    parser = outcome.parser(__doc__)
    parser.add_argument("--rounds", type=int, default=60)
    parser.add_argument("--seconds", type=float, default=1.5)
    arguments = parser.parse_args()
    os.sched_setaffinity(0, {measure.LOAD_CORE})
    print("training ...", flush=True)
    rows = json.loads(ROWS.read_text())
    cases = run(rows, arguments.rounds, arguments.seconds)
    failures = judge(cases)
    return write(arguments.out, arguments.seconds, cases, failures)


if __name__ == "__main__":
    sys.exit(main())
