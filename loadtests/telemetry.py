"""What telemetry costs: the service without it, with each part, and with all of it, side by side.

    python -m loadtests.telemetry           about 7 minutes; writes results/telemetry.{md,json}
    python -m loadtests.telemetry --quick   a look

All variants run at once on one core, idle but for the one that wrk asks for a second, in turn and
many times over: on a machine whose speed changes from minute to minute, longer visits would compare
minutes. Each variant's ratio is taken to the plain service's second just before or after it.
"""

from __future__ import annotations

import json
import sys
from contextlib import ExitStack
from dataclasses import asdict, dataclass
from pathlib import Path
from statistics import median

from loadtests import outcome, rounds
from loadtests.agent import agent, counts, expect
from loadtests.bench import requests
from loadtests.environments import ROWS, Installed, install
from loadtests.measure import load, measure
from loadtests.report import MODEL_TITLES
from loadtests.results import SHARE_OBSERVED, TARGET_CONNECTIONS
from loadtests.rounds import Interval
from loadtests.running import Running, running
from loadtests.servers import OBSERVED, OURS, PARTS, Rows

VARIANTS = (OURS, *PARTS, OBSERVED)
SECONDS = 1


@dataclass(frozen=True)
class Cost:
    """Of a variant, against the plain service: medians over the rounds."""

    model: str
    variant: str
    requests_per_second: float
    share: Interval
    cpu_ms: float
    more_cpu_ms: float


def main() -> int:
    parser = outcome.parser(__doc__)
    parser.add_argument("--quick", action="store_true")
    parser.add_argument("--rounds", type=int, default=25)
    arguments = parser.parse_args()
    turns = 5 if arguments.quick else arguments.rounds
    rows: Rows = json.loads(ROWS.read_text()) if ROWS.exists() else []
    costs: list[Cost] = []
    for model in ("lr", "rf"):
        installed = [install(variant, model) for variant in VARIANTS]
        rows = rows or json.loads(ROWS.read_text())
        with agent(), ExitStack() as stack:
            servers = [stack.enter_context(running(each, rows)) for each in installed]
            costs += compare(model, installed, servers, rows, turns)
    return write(arguments.out, costs, turns)


def compare(
    model: str, installed: list[Installed], servers: list[Running], rows: Rows, turns: int
) -> list[Cost]:
    bodies = installed[0].state / "1-row.jsonl"
    bodies.write_text(requests(installed[0], rows, 1))
    rates: list[list[float]] = [[] for _ in servers]
    cpu: list[list[float]] = [[] for _ in servers]
    sent = [0] * len(servers)
    before = counts()
    for server in servers:
        load(server.url, bodies, TARGET_CONNECTIONS, SECONDS)
    for number in range(turns):
        order = range(len(servers)) if number % 2 else reversed(range(len(servers)))
        for i in order:
            sample = measure(servers[i].pid, servers[i].url, bodies, TARGET_CONNECTIONS, SECONDS)
            rates[i].append(sample.requests_per_second)
            cpu[i].append(sample.cpu_ms_per_request)
            sent[i] += sample.requests
        print(
            f"{model} {number + 1:3} of {turns}: "
            + ", ".join(
                f"{one.server.name} {r[-1]:,.0f}/s" for one, r in zip(installed, rates, strict=True)
            ),
            flush=True,
        )
    for name in ("DD_DOGSTATSD_URL", "DD_TRACE_AGENT_URL"):
        those = sum(
            n
            for one, n in zip(installed, sent, strict=True)
            # Of traces, those that send all.
            if (environ := one.server.environ).get(name)
            and (name == "DD_DOGSTATSD_URL" or "DD_ENV" not in environ)
        )
        expect({name: "on"}, those, before)
    found = []
    for one, r, c in zip(installed, rates, cpu, strict=True):
        shares = [mine / plain for mine, plain in zip(r, rates[0], strict=True)]
        more = [mine - plain for mine, plain in zip(c, cpu[0], strict=True)]
        found.append(
            Cost(
                model,
                one.server.title,
                median(r),
                rounds.median(shares),
                median(c),
                median(more),
            )
        )
    return found


def write(folder: Path, costs: list[Cost], turns: int) -> int:
    lines = [
        "# What telemetry costs",
        "",
        f"One row a request, {TARGET_CONNECTIONS} connections, medians over {turns} rounds of a "
        "second each; in brackets, the 95 % interval.",
    ]
    for model, title in MODEL_TITLES.items():
        lines += [
            "",
            f"## {title}",
            "",
            "| | requests/s | times those without | CPU ms a request | more than without |",
            "|---|--:|--:|--:|--:|",
        ]
        lines += [
            f"| {cost.variant} | {cost.requests_per_second:,.0f} | {cost.share} "
            f"| {cost.cpu_ms:.3f} | {cost.more_cpu_ms:+.3f} |"
            for cost in costs
            if cost.model == model
        ]
    failures = [
        f"{MODEL_TITLES[cost.model]}: {cost.share.middle:.0%} of the throughput without, "
        f"under {SHARE_OBSERVED[cost.model]:.0%}"
        for cost in costs
        if cost.variant == OBSERVED.title and cost.share.middle < SHARE_OBSERVED[cost.model]
    ]
    return outcome.leave(
        folder,
        "telemetry",
        lines,
        {"costs": [asdict(cost) for cost in costs]},
        failures=failures,
        kept="with all of it on, at least "
        + " and ".join(f"{SHARE_OBSERVED[model]:.0%} ({model})" for model in MODEL_TITLES)
        + " of the throughput without.",
        options=f"--rounds {turns}",
    )


if __name__ == "__main__":
    sys.exit(main())
