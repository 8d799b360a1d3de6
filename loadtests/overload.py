"""What the service does when more comes in than it can do.

    python -m loadtests.overload            about 2 minutes; writes results/overload.{md,json,png}

An open loop offers 0.5 to 10 times the measured capacity. The model is the hardest case for a
server in Python: it computes in Python, holds the interpreter, and costs the same for every row (a
forest that is asked row by row), so nothing is gained by batching and probes compete with it.
"""

from __future__ import annotations

import asyncio
import json
import math
import os
import sys
from dataclasses import asdict, dataclass
from pathlib import Path

from matplotlib.figure import Figure

from loadtests import measure, outcome
from loadtests.environments import ROWS, install
from loadtests.openloop import Client, Outcome, post, probe, quantile, statuses
from loadtests.running import running
from loadtests.servers import OURS

MULTIPLES = (0.5, 1, 2, 5, 10)
MAX_QUEUE_SECONDS = 0.25  # the service's default, MAX_QUEUE_MS
NOISE_SECONDS = 0.05
SLOWEST_PROBE_SECONDS = 0.1
LEAST_GOODPUT = 0.85
RECOVERY_SECONDS = 2.0
MEMORY_GROWTH_MB = 10.0
TITLE = "Goodput and p99 of accepted requests, against what is offered"


@dataclass(frozen=True)
class Step:
    """One offered load. Rates are per second, times in seconds."""

    multiple: float
    offered: float
    goodput: float
    shed: float
    accepted_p99: float
    shed_p99: float
    bound: float
    slowest_probe: float
    failures: list[str]


def judge(multiple: float, seconds: float, outcomes: list[Outcome], probes: list[float]) -> Step:
    """Say what became of a load and what of it breaks a promise."""
    accepted = [outcome for outcome in outcomes if outcome.status == 200]
    shed = [outcome for outcome in outcomes if outcome.status == 503]
    p99 = quantile([outcome.seconds for outcome in accepted], 0.99)
    call = quantile([outcome.inference for outcome in accepted], 0.99)
    bound = MAX_QUEUE_SECONDS + 2 * call + NOISE_SECONDS
    failures = []
    if others := {k: n for k, n in statuses(outcomes).items() if k not in (200, 503)}:
        failures.append(f"answers that are neither 200 nor 503: {others}")
    if not all(outcome.says_when_to_retry for outcome in shed):
        failures.append("a 503 without Retry-After")
    if p99 > bound:
        failures.append(f"p99 of accepted requests {p99:.3f} s, over {bound:.3f} s")
    if max(probes) > SLOWEST_PROBE_SECONDS:
        late = sum(probe > SLOWEST_PROBE_SECONDS for probe in probes)
        failures.append(f"{late} of {len(probes)} probes late, the slowest {max(probes):.3f} s")
    return Step(
        multiple=multiple,
        offered=len(outcomes) / seconds,
        goodput=len(accepted) / seconds,
        shed=len(shed) / seconds,
        accepted_p99=p99,
        shed_p99=quantile([outcome.seconds for outcome in shed], 0.99),
        bound=bound,
        slowest_probe=max(probes),
        failures=failures,
    )


async def climb(
    port: int, requests: list[bytes], multiples: tuple[float, ...], seconds: float
) -> tuple[list[Step], float]:
    """Offer each multiple of the capacity; return the steps and the seconds that recovery took."""
    client = Client(port, reuse_seconds=3)  # the service closes idle ones after 5
    capacity = await client.saturate(requests[0], clients=8, seconds=seconds)
    steps = []
    for multiple in multiples:
        probes = asyncio.create_task(probe(port, "/healthz", every=0.05))
        outcomes = await client.offer(requests, multiple * capacity, seconds)
        probes.cancel()
        steps.append(judge(multiple, seconds, outcomes, await probes))
    # The load has just gone away: from when on is everything answered as if nothing had been?
    started = asyncio.get_running_loop().time()
    calm = await client.offer(requests, 0.3 * capacity, 2 * RECOVERY_SECONDS)
    disturbed = [o.due - started for o in calm if o.status != 200 or o.seconds > 0.25]
    client.close()
    return steps, max(disturbed, default=0.0)


def main() -> int:
    parser = outcome.parser(__doc__)
    parser.add_argument("--seconds", type=float, default=15, help="of each load")
    arguments = parser.parse_args()
    os.sched_setaffinity(0, {measure.LOAD_CORE})
    rows = json.loads(ROWS.read_text()) if ROWS.exists() else []
    installed = install(OURS, "slow")
    rows = rows or json.loads(ROWS.read_text())
    requests = [post("/predict", json.dumps({"instances": [row]}).encode()) for row in rows]
    with running(installed, rows) as server:
        port = int(server.url.split(":")[2].split("/")[0])
        before = measure.tree_pss_mb(server.pid)
        steps, recovery = asyncio.run(climb(port, requests, MULTIPLES, arguments.seconds))
        grown = measure.tree_pss_mb(server.pid) - before
    failures = [f"at {step.multiple:g}x: {line}" for step in steps for line in step.failures]
    best, last = max(step.goodput for step in steps), steps[-1].goodput
    if last < LEAST_GOODPUT * best:
        failures.append(f"goodput at {steps[-1].multiple:g}x is {last / best:.0%} of the best")
    if recovery > RECOVERY_SECONDS:
        failures.append(f"still disturbed {recovery:.1f} s after the load went away")
    if grown > MEMORY_GROWTH_MB:
        failures.append(f"memory grew by {grown:.0f} MB")
    return write(arguments.out, steps, recovery, grown, failures)


def write(
    folder: Path, steps: list[Step], recovery: float, grown: float, failures: list[str]
) -> int:
    best = max(step.goodput for step in steps)
    lines = [
        "| offered | offered/s | answered/s | of the best | 503/s | p99 accepted | p99 of 503 "
        "| slowest probe |",
        "|---|---|---|---|---|---|---|---|",
    ]
    for step in steps:
        shed = "-" if math.isnan(step.shed_p99) else f"{step.shed_p99 * 1e3:.0f} ms"
        lines.append(
            f"| {step.multiple:g}x | {step.offered:.0f} | {step.goodput:.0f} "
            f"| {step.goodput / best:.0%} | {step.shed:.0f} | {step.accepted_p99 * 1e3:.0f} ms "
            f"| {shed} | {step.slowest_probe * 1e3:.0f} ms |"
        )
    lines += [
        "",
        f"Recovered {recovery:.1f} s after the load went away; memory grew by {grown:.1f} MB.",
    ]
    document = {
        "steps": [asdict(step) for step in steps],
        "recovery_seconds": recovery,
        "memory_growth_mb": grown,
    }
    kept = "what is accepted is answered in time, and the rest is refused at once."
    status = outcome.leave(folder, "overload", lines, document, failures=failures, kept=kept)
    draw(folder / "overload.png", steps)
    return status


def draw(file: Path, steps: list[Step]) -> None:
    figure = Figure(figsize=(10, 4), layout="constrained")
    rate, latency = figure.subplots(1, 2)
    offered = [step.offered for step in steps]
    figure.suptitle(TITLE, fontsize=12)
    rate.plot(offered, [step.goodput for step in steps], "o-", color="#6d3fc0", label="answered")
    rate.plot(offered, [step.shed for step in steps], "o-", color="#c9c9c9", label="503")
    rate.set_ylabel("requests per second")
    latency.plot(
        offered,
        [step.accepted_p99 * 1e3 for step in steps],
        "o-",
        color="#6d3fc0",
        label="p99 of accepted",
    )
    latency.plot(
        offered, [step.bound * 1e3 for step in steps], "--", color="#c0503f", label="bound"
    )
    latency.set_ylabel("milliseconds")
    for axes in (rate, latency):
        axes.set_xlabel("offered requests per second")
        axes.set_ylim(bottom=0)
        axes.legend(frameon=False)
        axes.spines[["top", "right"]].set_visible(False)
    figure.savefig(file, dpi=150)


if __name__ == "__main__":
    sys.exit(main())
