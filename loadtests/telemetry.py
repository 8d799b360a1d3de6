"""What telemetry costs: the service without it, with each part, and with all of it, side by side.

    python -m loadtests.telemetry           about 7 minutes; writes results/telemetry.{md,json}
    python -m loadtests.telemetry --quick   a look

In turns of a second (turns.py), with one row a request.
"""

from __future__ import annotations

import sys
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

from loadtests import outcome
from loadtests.agent import Counts, agent, counts, expect
from loadtests.environments import install
from loadtests.report import MODEL_TITLES
from loadtests.results import SHARE_OBSERVED, TARGET_CONNECTIONS, Cell, Record, gather
from loadtests.rounds import Interval
from loadtests.servers import OBSERVED, OURS, PARTS
from loadtests.turns import in_turns

VARIANTS = {server.name: server for server in (OURS, *PARTS, OBSERVED)}
SECONDS = 1


@dataclass(frozen=True)
class Cost:
    """Of a variant, against the plain service: medians over the rounds."""

    model: str
    variant: str
    requests_per_second: float
    share: Interval
    cpu_ms: float
    times_cpu: Interval


def main() -> int:
    parser = outcome.parser(__doc__)
    parser.add_argument("--quick", action="store_true")
    parser.add_argument("--rounds", type=int, default=25)
    arguments = parser.parse_args()
    rounds = 5 if arguments.quick else arguments.rounds
    costs: list[Cost] = []
    for model in MODEL_TITLES:
        installed = [install(variant, model) for variant in VARIANTS.values()]
        records = []
        with agent():
            before = counts()
            cell = Cell(model, 1, TARGET_CONNECTIONS)
            for record in in_turns(installed, [cell], rounds, SECONDS):
                records.append(record)
                print(record, flush=True)
            expect_all(records, before)
        costs += compare(records)
    return write(arguments.out, costs, rounds)


def expect_all(records: Sequence[Record], before: Counts) -> None:
    """Raise Failure unless all have reported what they were asked since `before`."""
    for name in ("DD_DOGSTATSD_URL", "DD_TRACE_AGENT_URL"):
        sent = 0
        for record in records:
            environ: Mapping[str, str] = VARIANTS[record.server].environ
            # Of traces, those that send all.
            if environ.get(name) and (name == "DD_DOGSTATSD_URL" or "DD_ENV" not in environ):
                sent += record.sample.requests
        expect({name: "on"}, sent, before)


def compare(records: Sequence[Record]) -> list[Cost]:
    (result,) = gather(records)
    return [
        Cost(
            result.cell.model,
            VARIANTS[name].title,
            summary.requests_per_second,
            result.ratio("requests_per_second", name, OURS.name),
            summary.cpu_ms_per_request,
            result.ratio("cpu_ms_per_request", name, OURS.name),
        )
        for name, summary in result.summaries().items()
    ]


def write(folder: Path, costs: list[Cost], rounds: int) -> int:
    lines = [
        "# What telemetry costs",
        "",
        f"One row a request, {TARGET_CONNECTIONS} connections, medians over {rounds} rounds of a "
        "second each; in brackets, the 95 % interval.",
    ]
    for model, title in MODEL_TITLES.items():
        lines += [
            "",
            f"## {title}",
            "",
            "| | requests/s | times those without | CPU ms a request | times that without |",
            "|---|--:|--:|--:|--:|",
        ]
        lines += [
            f"| {cost.variant} | {cost.requests_per_second:,.0f} | {cost.share} "
            f"| {cost.cpu_ms:.3f} | {cost.times_cpu} |"
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
        options=f"--rounds {rounds}",
    )


if __name__ == "__main__":
    sys.exit(main())
