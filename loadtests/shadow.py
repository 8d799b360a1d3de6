"""What shadow traffic costs the live service.

    python -m loadtests.shadow              17 minutes; writes results/shadow.{md,json,png}
    python -m loadtests.shadow --rounds 1   a look

Measured as loadtests/switched.py says: each service once with copies switched off and once with
them on. The first has none; one has a tenth of the requests copied, one all of them, and one all of
them to a candidate that accepts connections and never says a word.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path

from matplotlib.figure import Figure

from loadtests import outcome
from loadtests.switched import HEADINGS, SHARE, Case, measure_cases, summary

MOST_P99 = 1.05
MOST_COST = 0.15  # CPU time of a copy, of its request's; in milliseconds it is each machine's own
TITLE = f"What shadow traffic costs the live service, at {SHARE:.0%} of its core"


@dataclass
class Copied(Case):
    """A live service, and what its worker counted while switched on, copies and their verdicts."""

    requests: int = 0
    copied: int = 0
    verdicts: dict[str, int] = field(default_factory=dict)

    @property
    def copies_per_request(self) -> float:
        return self.copied / max(1, self.requests)

    @property
    def cost(self) -> float:
        """CPU time of a copy, as a share of that of a request without; median of rounds."""
        return (self.ratio("cpu_ms").middle - 1) / self.copies_per_request

    def read_counts(self, log: Path) -> None:
        """Take the worker's last counts from its log."""
        lines = [line for line in log.read_text().splitlines() if '"event":"shadow.counts"' in line]
        if lines:
            counts = json.loads(lines[-1])
            self.requests = counts["live_requests"] - counts["skipped"].get("switched_off", 0)
            self.copied, self.verdicts = counts["enqueued"], counts["verdicts"]


def settings(case: Case, candidate: str) -> dict[str, str]:
    return {
        "SHADOW_URL": candidate,
        "SHADOW_PERCENT": f"{case.percent:g}",
        "SHADOW_SWITCH_FILE": "{state}/switch",
    }


def run(rounds: int, seconds: float) -> list[Copied]:
    cases = [Copied("none", 0), Copied("10 %", 10), Copied("100 %", 100)]
    cases.append(Copied("black hole", 100, silent=True))
    logs = measure_cases("shadow", cases, settings, lambda plain: plain, rounds, seconds)
    for case, log in zip(cases, logs, strict=True):
        case.read_counts(log)
    return cases


def judge(cases: Sequence[Copied]) -> list[str]:
    """Return what of the promises is broken: beyond what the machine's moods may explain."""
    _, _, whole, hole = cases
    failures = []
    for case in (whole, hole):
        if (least := case.ratio("p99").low) > MOST_P99:
            failures.append(f"{case.name}: p99 is at least {least:.2f} times that without")
    if (cost := whole.cost) > MOST_COST:
        failures.append(f"a copy costs {cost:.0%} of what its request does")
    failures += [f"{case.name}: {case.failed} requests failed" for case in cases if case.failed]
    return failures


def write(folder: Path, seconds: float, cases: list[Copied]) -> int:
    headings = ("shadow traffic", *HEADINGS, "CPU of a copy, of a request's", "copied")
    rows = []
    for case in cases:
        # Of a few copies it would be the noise of all requests.
        cost = f"{case.cost:.0%}" if case.copies_per_request > 0.5 else ""
        copied = f"{case.copies_per_request:.0%}" if case.percent else ""
        rows.append([case.name, *case.cells(), cost, copied])
    return outcome.leave(
        folder,
        "shadow",
        [summary(cases, seconds), "", *outcome.table(headings, rows)],
        {"seconds": seconds, "cases": [asdict(case) for case in cases]},
        failures=judge(cases),
        kept=f"p99 is not shown to be more than {MOST_P99:g} times that without shadow traffic, "
        f"and a copy costs at most {MOST_COST:.0%} of the CPU time that its request does.",
        options=f"--rounds {len(cases[0].rounds)} --seconds {seconds:g}",
    )


def draw(file: Path, cases: Sequence[Copied]) -> None:
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
    cases = run(arguments.rounds, arguments.seconds)
    status = write(arguments.out, arguments.seconds, cases)
    draw(arguments.out / "shadow.png", cases)
    return status


if __name__ == "__main__":
    sys.exit(main())
