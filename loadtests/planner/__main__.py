"""A day of the autoscaler in seconds: what it does with this traffic, and what that costs.

    python -m loadtests.planner SIZING                       the peak that it was made for
    python -m loadtests.planner SIZING --peak-rps 5000       another peak, a typical day
    python -m loadtests.planner SIZING --trace day.csv       your traffic: columns time,rps

SIZING is a service's k8s/overlays/production/sizing.json, which its `make size` writes. The planner
simulates the HorizontalPodAutoscaler over pods that do what was measured, and draws build/plan.png.
"""

from __future__ import annotations

import argparse
import math
import sys
from pathlib import Path

import numpy as np
from rich.console import Console
from rich.table import Table

from loadtests.planner import PlanError, picture, traffic
from loadtests.planner.inputs import Sizing, read_sizing
from loadtests.planner.plan import Plan, compare
from loadtests.planner.pod import Array, Pod
from loadtests.planner.simulate import spans

SIZING = Path("{{cookiecutter.service_slug}}/k8s/overlays/production/sizing.json")
# The part of a pod's start until it runs: it is scheduled, and its container started.
SCHEDULING_SECONDS = 5.0
SHOWN_FAILURES = 8

console = Console(highlight=False, soft_wrap=True)


def main() -> int:
    arguments = _arguments()
    try:
        sizing = read_sizing(arguments.sizing)
        run(arguments, sizing, _traffic(arguments, sizing))
    except PlanError as error:
        console.print(f"[bold red]not planned:[/] {error}")
        return 2
    return 0


def run(arguments: argparse.Namespace, sizing: Sizing, offered: Array) -> None:
    peak, average = traffic.busiest(offered), float(offered.mean())
    start = arguments.pod_start or sizing.pod_start_seconds
    pod = Pod(sizing.curve, sizing.cpus, min(SCHEDULING_SECONDS, start), start)
    console.print(
        f"traffic   {len(offered) / 3600:.3g} hours, {_rate(average)} requests/s on average, "
        f"{_rate(peak)} in the busiest minute"
    )
    console.print(
        f"a pod     {1000 * sizing.cpus:.0f}m CPU, at most {sizing.capacity_rps:,.0f} requests/s, "
        f"ready {start:.0f} s after it is wanted"
    )
    advised, [default], others = compare(sizing, offered, peak, pod)
    chosen = advised[-1]
    console.print(table([*advised, default, *others]))
    kept = [plan for plan in (chosen, *others) if plan.holds]
    if kept:
        best = min(kept, key=lambda plan: plan.day.core_hours)
        console.print(
            f"cheapest  of the targets that keep the promise all day: {best.scaler.target} %, "
            f"{best.day.core_hours:,.1f} core-hours"
        )
    for plan in (chosen, default):
        show_failures(plan)
    arguments.out.parent.mkdir(parents=True, exist_ok=True)
    picture.draw(arguments.out, chosen, default, sizing)
    console.print(f"written   {arguments.out}")


def table(plans: list[Plan]) -> Table:
    columns = ("", "replicas", "target", "core-hours", "used", "refused", "broken")
    found = Table(*columns, box=None, padding=(0, 2, 0, 0), header_style="dim")
    for column in found.columns[1:]:
        column.justify = "right"
    found.columns[0].no_wrap = True
    for plan in plans:
        day = plan.day
        found.add_row(
            plan.name,
            f"{day.replicas.min():,.0f} to {day.replicas.max():,.0f}",
            f"{plan.scaler.target} %",
            f"{day.core_hours:,.1f}",
            f"{np.average(day.utilization, weights=day.ready + 1e-9):.0%}",
            f"{day.shed:.3%}",
            f"[{'green' if plan.holds else 'red'}]{plan.broken.sum():,d} min[/]",
        )
    return found


def show_failures(plan: Plan) -> None:
    """Say when the promise is broken, and how badly."""
    shed, p99 = plan.day.shed_by_minute(), plan.day.p99_by_minute()
    found = spans(plan.broken)
    if not found:
        console.print(f"[green]{plan.name}: the promise holds all day[/]")
    for begin, end in found[:SHOWN_FAILURES]:
        console.print(
            f"[red]{plan.name}:[/] {begin // 60:02d}:{begin % 60:02d} to "
            f"{end // 60:02d}:{end % 60:02d}, refused up to {shed[begin:end].max():.1%}, "
            f"p99 up to {p99[begin:end].max():.0f} ms"
        )
    if len(found) > SHOWN_FAILURES:
        console.print(f"[red]{plan.name}:[/] and {len(found) - SHOWN_FAILURES} times more")


def _traffic(arguments: argparse.Namespace, sizing: Sizing) -> Array:
    if not arguments.trace:
        return traffic.synthetic(arguments.peak_rps or sizing.peak_rps)
    offered = traffic.read(arguments.trace)
    return traffic.scale(offered, arguments.peak_rps) if arguments.peak_rps else offered


def _rate(value: float) -> str:
    return f"{value:,.0f}" if value >= 100 else f"{value:.3g}"


def positive(text: str) -> float:
    """Return a number over 0; argparse says what is wrong with others."""
    if not 0 < float(text) < math.inf:
        raise ValueError
    return float(text)


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="python -m loadtests.planner",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("sizing", type=Path, nargs="?", default=SIZING, metavar="SIZING")
    parser.add_argument("--peak-rps", type=positive, help="requests a second, busiest minute")
    parser.add_argument("--trace", type=Path, help="CSV with the columns time and rps")
    parser.add_argument("--pod-start", type=positive, help="seconds until a new pod takes traffic")
    parser.add_argument("--out", type=Path, default=Path("build/plan.png"), help="the picture")
    return parser.parse_args()


if __name__ == "__main__":
    sys.exit(main())
