"""Whether the service stays as it is under a long load, and loses nothing as workers are replaced.

    python -m loadtests.soak                30 minutes; writes results/soak.{md,json,png}
    python -m loadtests.soak --minutes 3    a look

Two workers get 80 % of the measured capacity in an open loop: half of the time with workers that
stay, for memory, descriptors and threads; half with MAX_REQUESTS, so that each is replaced several
times, for losses. Greenlets cannot be seen from outside; there is one for each open connection, so
descriptors stand for them: when the load has gone, there must be as many as before it.

The model is the default one, asked row by row, which makes some hundred requests a second the
capacity; the default itself answers more than a client in Python can offer. Capacity is what two
clients a worker get: with more there are larger batches, which cost less a request than the single
ones that an open loop brings. No request is sent twice: a connection that ends without having
announced it loses a request. Leave the machine alone meanwhile: the service rightly refuses (503)
what it cannot do beside a busy neighbour, so refusals count only where nobody else took a core.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import sys
import time
from collections import Counter
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path

from matplotlib.figure import Figure

from loadtests import measure
from loadtests.environments import ROWS, Installed, install
from loadtests.openloop import Client, Outcome, post, quantile, statuses
from loadtests.running import Running, running
from loadtests.servers import OURS, Rows

SHARE = 0.8
WORKERS = 2
REPLACEMENTS = 5
CLIENTS = 2 * WORKERS
CAPACITY_SECONDS = 10
KEEPALIVE = 5  # the service's default; a client has to give up a connection before
WINDOWS = 60
GROWTH = 0.05
DISTURBED = 0.05
TITLE = "80 % of capacity: workers that stay, then workers that are replaced"


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
    sent: int
    statuses: dict[int, int]
    p50: float
    p99: float
    # The share of the server's core that the service had; and what others had of either core.
    load: float
    disturbance: float
    workers: list[Worker]


@dataclass
class Phase:
    """One server's life; `before` and `after` have its workers without load."""

    name: str
    max_requests: int
    rate: float
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

    def refused(self, disturbed: bool) -> int:
        """Return the 503s of windows in or before which others took a core, or did not."""
        before = [self.windows[0], *self.windows]
        return sum(
            window.statuses.get(503, 0)
            for window, last in zip(self.windows, before, strict=False)
            if (max(window.disturbance, last.disturbance) > DISTURBED) == disturbed
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
    phase: Phase, server: Running, requests: Sequence[bytes], seconds: float, since: float
) -> None:
    """Offer the load in windows that overlap in nothing but their last answers."""
    client = Client(server.port, reuse_seconds=KEEPALIVE - 1)
    loop = asyncio.get_running_loop()
    phase.before = look(server.pid)
    count = max(3, min(WINDOWS, round(seconds / 5)))
    length = seconds / count
    started = loop.time()
    judging: list[asyncio.Task[None]] = []

    async def judge(
        offered: asyncio.Task[list[Outcome]], at: float, load: float, rest: float
    ) -> None:
        workers = look(server.pid)
        outcomes = await offered
        window = Window(
            time=since + at,
            sent=len(outcomes),
            statuses=dict(statuses(outcomes)),
            p50=quantile([outcome.seconds for outcome in outcomes], 0.5),
            p99=quantile([outcome.seconds for outcome in outcomes], 0.99),
            load=load,
            disturbance=rest,
            workers=workers,
        )
        phase.windows.append(window)
        report(phase, window)

    for number in range(1, count + 1):
        before = spent(server.pid)
        offered = asyncio.create_task(client.offer(requests, phase.rate, length))
        await asyncio.sleep(started + number * length - loop.time())
        cpu, *others = (now - then for now, then in zip(spent(server.pid), before, strict=True))
        rest = max(0.0, *others) / length
        judging.append(asyncio.create_task(judge(offered, number * length, cpu / length, rest)))
    await asyncio.gather(*judging)
    client.close()
    # Every connection is closed by now, and a worker that is being replaced has its successor.
    await asyncio.sleep(KEEPALIVE + 3)
    phase.after = look(server.pid)


def spent(server: int) -> tuple[float, float, float]:
    """CPU seconds so far: the server's, and what others had of its core and of the client's.

    A client that has to wait for its core sends what it owes in a burst, which is another load.
    """
    cpu = measure.tree_cpu_seconds(server)
    return (
        cpu,
        measure.core_busy_seconds() - cpu,
        measure.core_busy_seconds(measure.LOAD_CORE) - time.process_time(),
    )


def report(phase: Phase, window: Window) -> None:
    total = phase.statuses
    print(
        f"{window.time:5.0f} s  {phase.name}  sent {phase.sent}, "
        f"not 200: {sum(n for status, n in total.items() if status != 200)}, "
        f"p99 {window.p99 * 1e3:.0f} ms, others {window.disturbance:.0%}, "
        + ", ".join(
            f"{worker.pid}: {worker.rss_mb:.1f} MB {worker.descriptors} fds"
            for worker in window.workers
        ),
        flush=True,
    )


def run(
    installed: Installed, rows: Rows, minutes: float, max_requests: int | None
) -> tuple[float, list[Phase]]:
    """Return the capacity (requests a second) and both phases."""
    requests = [post("/predict", json.dumps({"instances": [row]}).encode()) for row in rows]
    seconds = minutes * 60 / 2
    environ = {**OURS.environ, "WEB_CONCURRENCY": str(WORKERS), "KEEPALIVE": str(KEEPALIVE)}
    phases: list[Phase] = []
    with running(replace(installed, server=replace(OURS, environ=environ)), rows) as server:
        server.check(rows, installed.scores)
        capacity = asyncio.run(saturate(server, requests[0]))
        rate = SHARE * capacity
        print(f"capacity {capacity:.0f} requests/s, offering {rate:.0f}/s", flush=True)
        phases.append(Phase("staying", 0, rate))
        asyncio.run(soak(phases[0], server, requests, seconds, since=0.0))
    if max_requests is None:
        max_requests = max(100, int(rate * seconds / WORKERS / (REPLACEMENTS + 1)))
    environ["MAX_REQUESTS"] = str(max_requests)
    with running(replace(installed, server=replace(OURS, environ=environ)), rows) as server:
        phases.append(Phase("replaced", max_requests, rate))
        asyncio.run(soak(phases[1], server, requests, seconds, since=seconds))
    return capacity, phases


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
        if refused := phase.refused(disturbed=False):
            failures.append(f"{phase.name}: {refused} refused (503) though nobody took a core")
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
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--minutes", type=float, default=30)
    parser.add_argument(
        "--max-requests", type=int, help="default: what replaces each worker some 5 times"
    )
    parser.add_argument("--out", type=Path, default=Path(__file__).parent / "results")
    arguments = parser.parse_args()
    os.sched_setaffinity(0, {measure.LOAD_CORE})
    print("training ...", flush=True)
    installed = install(OURS, "steady")
    rows = json.loads(ROWS.read_text())
    capacity, phases = run(installed, rows, arguments.minutes, arguments.max_requests)
    failures = judge(phases)
    write(arguments.out, arguments.minutes, capacity, phases, failures)
    return 1 if failures else 0


def write(
    folder: Path, minutes: float, capacity: float, phases: list[Phase], failures: list[str]
) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    stayed, replaced = phases
    lines = [
        f"{minutes:g} minutes at {stayed.rate:.0f} requests/s, {SHARE:.0%} of {capacity:.0f}; "
        f"{WORKERS} workers on one core.",
        "",
        "| workers | requests | answered 200 | 503 | 503 beside a busy neighbour | lost | p50 "
        "| p99, median of windows, worst | workers in all | share of its core, others' of either |",
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
            f"| {phase.sent} | {found[200]} | {phase.refused(disturbed=False)} "
            f"| {phase.refused(disturbed=True)} | {phase.sent - found[200] - found[503]} "
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
    lines += [
        "",
        *(f"FAILED: {failure}" for failure in failures),
        *(() if failures else ("Kept: flat, and nothing was lost.",)),
        "",
        f"Made by `python -m loadtests.soak --minutes {minutes:g}`.",
    ]
    (folder / "soak.md").write_text("\n".join(lines) + "\n")
    document = {
        "minutes": minutes,
        "capacity": capacity,
        "phases": [asdict(phase) for phase in phases],
        "failures": failures,
    }
    (folder / "soak.json").write_text(json.dumps(document, indent=1) + "\n")
    draw(folder / "soak.png", phases)
    print("\n".join(lines))


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
