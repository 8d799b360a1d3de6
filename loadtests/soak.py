"""Whether the service stays as it is under a long load, and loses nothing as workers are replaced.

    python -m loadtests.soak                30 minutes; writes results/soak.{md,json,png}
    python -m loadtests.soak --minutes 3    a look

Two workers get 80 % of what they can do, in an open loop: half of the time with workers that stay,
for memory, descriptors and threads; half with MAX_REQUESTS, so that each is replaced several times,
for losses. Metrics and traces are sent, to an agent beside the load. 80 % of capacity is what takes
80 % of the core's time: machines change their speed, so the load follows, every 5 seconds.
Greenlets cannot be seen from outside; there is one for each open connection, so descriptors stand
for them: when the load has gone, there must be as many as before.

The model is the default one, asked row by row, which makes some hundred requests a second the
capacity; the default itself answers more than a client in Python can offer. No request is sent
twice: a connection that ends without having announced it loses a request. The service rightly
refuses (503) what it cannot do beside a busy neighbour, when the machine slows down, or while a new
worker's start takes its share, so refusals count only where nothing of that was the case.
"""

from __future__ import annotations

import asyncio
import json
import os
import sys
import time
from collections import Counter
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from statistics import mean

from matplotlib.figure import Figure

from loadtests import measure, outcome
from loadtests.agent import agent
from loadtests.environments import ROWS, Installed, install
from loadtests.openloop import Client, Outcome, post, quantile, statuses
from loadtests.running import Running, running
from loadtests.servers import OBSERVED, Rows

SHARE = 0.8
# Of what clients get who wait for their answers; single requests cost more than those in batches.
START = 0.6
WORKERS = 2
REPLACEMENTS = 5
CLIENTS = 2 * WORKERS
CAPACITY_SECONDS = 5
KEEPALIVE = 5  # as the service is told; a client has to give up a connection before
WINDOW_SECONDS = 5
GROWTH = 0.05
DISTURBED = 0.05
FULL = 0.97
TITLE = "80 % of a core: workers that stay, then workers that are replaced"


@dataclass(frozen=True)
class Worker:
    pid: int
    rss_mb: float
    private_mb: float
    descriptors: int
    threads: int


@dataclass(frozen=True)
class Window:
    """A part of the load, and the workers at its end. Times in seconds, from the first phase's."""

    time: float
    rate: float
    sent: int
    statuses: dict[int, int]
    p50: float
    p99: float
    # The share of the server's core that the service had, also in its fullest second; and what
    # others had of either core.
    load: float
    fullest: float
    disturbance: float
    starting: bool
    workers: list[Worker]

    @property
    def may_refuse(self) -> bool:
        return self.disturbance > DISTURBED or self.fullest > FULL or self.starting


@dataclass
class Phase:
    """One server's life; `before` and `after` have its workers without load."""

    name: str
    max_requests: int
    before: list[Worker] = field(default_factory=list)
    windows: list[Window] = field(default_factory=list)
    after: list[Worker] = field(default_factory=list)

    @property
    def sent(self) -> int:
        return sum(window.sent for window in self.windows)

    @property
    def statuses(self) -> Counter[int]:
        total: Counter[int] = Counter()
        for window in self.windows:
            total.update(window.statuses)
        return total

    def refused(self, rightly: bool) -> int:
        """Return the 503s of windows in or before which there was a reason to refuse, or none."""
        before = [self.windows[0], *self.windows]
        return sum(
            window.statuses.get(503, 0)
            for window, last in zip(self.windows, before, strict=False)
            if (window.may_refuse or last.may_refuse) == rightly
        )

    @property
    def pids(self) -> list[int]:
        seen = [worker for window in self.windows for worker in window.workers]
        return list(dict.fromkeys(worker.pid for worker in [*self.before, *seen, *self.after]))


def look(root: int) -> list[Worker]:
    """Return the workers that are there; one may be ending just now."""
    found = []
    for pid in measure.process_tree(root)[1:]:
        try:
            descriptors = len(os.listdir(f"/proc/{pid}/fd"))
            threads = len(os.listdir(f"/proc/{pid}/task"))
        except OSError:
            continue
        memory = measure.memory(pid)
        found.append(Worker(pid, memory.rss_mb, memory.private_mb, descriptors, threads))
    return found


async def soak(
    phase: Phase,
    server: Running,
    requests: Sequence[bytes],
    rate: float,
    seconds: float,
    since: float,
) -> None:
    """Offer the load in windows that overlap in nothing but their last answers; `rate` to start."""
    client = Client(server.port, reuse_seconds=KEEPALIVE - 1)
    loop = asyncio.get_running_loop()
    phase.before = look(server.pid)
    count = max(3, round(seconds / WINDOW_SECONDS))
    length = seconds / count
    started = loop.time()
    judging: list[asyncio.Task[None]] = []

    async def judge(
        offered: asyncio.Task[list[Outcome]], at: float, rate: float, seen: list[Second]
    ) -> None:
        workers = look(server.pid)
        outcomes = await offered
        window = Window(
            time=since + at,
            rate=rate,
            sent=len(outcomes),
            statuses=dict(statuses(outcomes)),
            p50=quantile([outcome.seconds for outcome in outcomes], 0.5),
            p99=quantile([outcome.seconds for outcome in outcomes], 0.99),
            load=mean(second.load for second in seen),
            fullest=max(second.load for second in seen),
            disturbance=mean(second.others for second in seen),
            starting=bool({worker.pid for worker in workers} - set(phase.pids)),
            workers=workers,
        )
        phase.windows.append(window)
        report(phase, window)

    for number in range(1, count + 1):
        offered = asyncio.create_task(client.offer(requests, rate, length))
        seen = []
        for part in range(1, WINDOW_SECONDS + 1):
            before = spent(server.pid)
            end = started + (number - 1 + part / WINDOW_SECONDS) * length
            await asyncio.sleep(end - loop.time())
            seen.append(spent(server.pid).since(before))
        judging.append(asyncio.create_task(judge(offered, number * length, rate, seen)))
        # Quickly down, since too much is another test; slowly up.
        rate *= min(max(SHARE / mean(second.load for second in seen), 0.5), 1.05)
    await asyncio.gather(*judging)
    client.close()
    # Every connection is closed by now, and a worker that is being replaced has its successor.
    await asyncio.sleep(KEEPALIVE + 3)
    phase.after = look(server.pid)


@dataclass(frozen=True)
class Second:
    """What the service had of its core, and what others had of it or of the client's.

    A client that has to wait for its core sends what it owes in a burst, which is another load.
    """

    load: float
    others: float


@dataclass(frozen=True)
class Spent:
    """Seconds so far: of time, of the server's CPU, of others' on its core and the client's."""

    time: float
    server: float
    beside_server: float
    beside_client: float

    def since(self, before: Spent) -> Second:
        seconds = self.time - before.time
        others = max(
            self.beside_server - before.beside_server, self.beside_client - before.beside_client
        )
        return Second((self.server - before.server) / seconds, max(0.0, others) / seconds)


def spent(server: int) -> Spent:
    cpu = measure.tree_cpu_seconds(server)
    return Spent(
        time.monotonic(),
        cpu,
        measure.core_busy_seconds() - cpu,
        measure.core_busy_seconds(measure.LOAD_CORE) - time.process_time(),
    )


def report(phase: Phase, window: Window) -> None:
    total = phase.statuses
    print(
        f"{window.time:5.0f} s  {phase.name}  {window.rate:.0f}/s, sent {phase.sent}, "
        f"not 200: {sum(n for status, n in total.items() if status != 200)}, "
        f"p99 {window.p99 * 1e3:.0f} ms, load {window.load:.0%}, others {window.disturbance:.0%}, "
        + ", ".join(
            f"{worker.pid}: {worker.rss_mb:.1f} MB {worker.descriptors} fds"
            for worker in window.workers
        ),
        flush=True,
    )


def run(installed: Installed, rows: Rows, minutes: float, max_requests: int | None) -> list[Phase]:
    requests = [post("/predict", json.dumps({"instances": [row]}).encode()) for row in rows]
    seconds = minutes * 60 / 2
    environ = {**OBSERVED.environ, "WEB_CONCURRENCY": str(WORKERS)}
    environ["KEEPALIVE_SECONDS"] = str(KEEPALIVE)
    phases: list[Phase] = []
    with running(replace(installed, server=replace(OBSERVED, environ=environ)), rows) as server:
        server.check(rows, installed.scores)
        capacity = asyncio.run(saturate(server, requests[0]))
        phases.append(Phase("staying", 0))
        asyncio.run(soak(phases[0], server, requests, START * capacity, seconds, since=0.0))
    rate = quantile([window.rate for window in phases[0].windows], 0.5)
    if max_requests is None:
        max_requests = max(100, int(rate * seconds / WORKERS / (REPLACEMENTS + 1)))
    environ["MAX_REQUESTS"] = str(max_requests)
    with running(replace(installed, server=replace(OBSERVED, environ=environ)), rows) as server:
        phases.append(Phase("replaced", max_requests))
        asyncio.run(soak(phases[1], server, requests, rate, seconds, since=seconds))
    return phases


async def saturate(server: Running, request: bytes) -> float:
    client = Client(server.port)
    capacity = await client.saturate(request, CLIENTS, CAPACITY_SECONDS)
    client.close()
    await asyncio.sleep(KEEPALIVE + 1)
    return capacity


def judge(phases: Sequence[Phase]) -> list[str]:
    """Return what of the promises is broken."""
    failures = []
    for phase in phases:
        lost = {status: n for status, n in phase.statuses.items() if status not in (200, 503)}
        if lost:
            failures.append(f"{phase.name}: neither 200 nor 503 (0: no answer): {lost}")
        if refused := phase.refused(rightly=False):
            failures.append(f"{phase.name}: {refused} refused (503) though there was time for them")
    stayed, replaced = phases
    if len(stayed.pids) != WORKERS:
        failures.append(f"staying: {len(stayed.pids)} workers were seen instead of {WORKERS}")
    for worker in stayed.after:
        first, last = lifetime(stayed, worker.pid)
        if last.rss_mb > (1 + GROWTH) * first.rss_mb:
            failures.append(
                f"staying: memory of {worker.pid} {first.rss_mb:.1f} to {last.rss_mb:.1f}"
            )
        idle = next((one for one in stayed.before if one.pid == worker.pid), worker)
        if worker.descriptors > idle.descriptors:
            failures.append(
                f"staying: {worker.pid} has {worker.descriptors} descriptors without load, "
                f"{idle.descriptors} before"
            )
        if worker.threads > idle.threads:
            failures.append(
                f"staying: {worker.pid} has {worker.threads} threads, {idle.threads} before"
            )
    if len(replaced.pids) < 2 * WORKERS:
        failures.append(f"replaced: only {len(replaced.pids)} workers in all, use more time")
    return failures


def lifetime(phase: Phase, pid: int) -> tuple[Worker, Worker]:
    """Return a worker at the second sample of it under load, when it is warm, and at the last."""
    seen = [worker for window in phase.windows for worker in window.workers if worker.pid == pid]
    return seen[min(1, len(seen) - 1)], seen[-1]


def main() -> int:
    parser = outcome.parser(__doc__)
    parser.add_argument("--minutes", type=float, default=30)
    parser.add_argument(
        "--max-requests", type=int, help="default: what replaces each worker some 5 times"
    )
    arguments = parser.parse_args()
    os.sched_setaffinity(0, {measure.LOAD_CORE})
    print("training ...", flush=True)
    installed = install(OBSERVED, "steady")
    rows = json.loads(ROWS.read_text())
    with agent():
        phases = run(installed, rows, arguments.minutes, arguments.max_requests)
    failures = judge(phases)
    return write(arguments.out, arguments.minutes, phases, failures)


def write(folder: Path, minutes: float, phases: list[Phase], failures: list[str]) -> int:
    stayed, replaced = phases
    rates = sorted(window.rate for phase in phases for window in phase.windows)
    lines = [
        f"{minutes:g} minutes at what took {SHARE:.0%} of one core, {rates[0]:.0f} to "
        f"{rates[-1]:.0f} requests/s; {WORKERS} workers.",
        "",
        "| workers | requests | answered 200 | 503 | 503 with the core full, taken, or a worker "
        "starting | lost | p50 | p99, median of windows, worst | workers in all "
        "| share of its core, others' of either |",
        "|---|---|---|---|---|---|---|---|---|---|",
    ]
    for phase in phases:
        found, windows = phase.statuses, phase.windows
        p50, p99 = (
            quantile([w.p50 for w in windows], 0.5),
            quantile([w.p99 for w in windows], 0.5),
        )
        load = sum(w.load for w in windows) / len(windows)
        disturbed = sum(w.disturbance for w in windows) / len(windows)
        lines.append(
            f"| {phase.name}{f', MAX_REQUESTS={phase.max_requests}' * (phase.max_requests > 0)} "
            f"| {phase.sent} | {found[200]} | {phase.refused(rightly=False)} "
            f"| {phase.refused(rightly=True)} | {phase.sent - found[200] - found[503]} "
            f"| {p50 * 1e3:.1f} ms | {p99 * 1e3:.0f}, {max(w.p99 for w in windows) * 1e3:.0f} ms "
            f"| {len(phase.pids)} | {load:.0%}, {disturbed:.0%} |"
        )
    lines += [
        "",
        "| worker that stays | RSS at 2nd sample | at the last | growth | private, same "
        "| descriptors idle before, most, idle after | threads |",
        "|---|---|---|---|---|---|---|",
    ]
    for number, worker in enumerate(stayed.after, 1):
        first, last = lifetime(stayed, worker.pid)
        idle = next((one for one in stayed.before if one.pid == worker.pid), worker)
        seen = [w for window in stayed.windows for w in window.workers if w.pid == worker.pid]
        lines.append(
            f"| {number} | {first.rss_mb:.1f} MB | {last.rss_mb:.1f} MB "
            f"| {last.rss_mb / first.rss_mb - 1:+.1%} "
            f"| {first.private_mb:.1f}, {last.private_mb:.1f} MB "
            f"| {idle.descriptors}, {max(w.descriptors for w in seen)}, {worker.descriptors} "
            f"| {worker.threads} |"
        )
    document = {
        "minutes": minutes,
        "phases": [asdict(phase) for phase in phases],
    }
    status = outcome.leave(
        folder,
        "soak",
        lines,
        document,
        failures=failures,
        kept="flat, and nothing was lost.",
        options=f"--minutes {minutes:g}",
    )
    draw(folder / "soak.png", phases)
    return status


def draw(file: Path, phases: Sequence[Phase]) -> None:
    figure = Figure(figsize=(10, 7), layout="constrained")
    figure.suptitle(TITLE, fontsize=12)
    memory, descriptors, latency = figure.subplots(3, 1, sharex=True)
    for phase in phases:
        for pid in phase.pids:
            seen = [
                (w.time / 60, one) for w in phase.windows for one in w.workers if one.pid == pid
            ]
            times = [time for time, _ in seen]
            style = {"color": "#6d3fc0", "marker": ".", "linewidth": 1.0}
            memory.plot(times, [one.rss_mb for _, one in seen], **style)
            descriptors.plot(times, [one.descriptors for _, one in seen], **style)
        times = [window.time / 60 for window in phase.windows]
        latency.plot(times, [window.p99 * 1e3 for window in phase.windows], ".-", color="#6d3fc0")
    memory.set_ylabel("RSS, MB, a line a worker")
    descriptors.set_ylabel("open descriptors")
    latency.set_ylabel("p99, milliseconds")
    latency.set_xlabel("minutes")
    border = phases[0].windows[-1].time / 60
    for axes in (memory, descriptors, latency):
        axes.axvline(border, color="#c9c9c9", linestyle="--")
        axes.set_ylim(0, 1.1 * axes.get_ylim()[1])
        axes.spines[["top", "right"]].set_visible(False)
    figure.savefig(file, dpi=150)


if __name__ == "__main__":
    sys.exit(main())
