"""A day of the autoscaler in seconds: what it does with this traffic, and what that costs.

    python -m tools.plan                                    the peak that sizing.yaml was made for
    python -m tools.plan --peak-rps 5000                    another peak, a typical day
    python -m tools.plan --trace day.csv                    your traffic: columns time,rps

Simulates the HorizontalPodAutoscaler over pods that do what `make size` measured; draws plan.png.
"""

from __future__ import annotations

import argparse
import sys
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from rich.console import Console
from rich.table import Table

from tools.plan import manifests, picture, traffic
from tools.plan.hpa import Autoscaler
from tools.plan.simulate import Day, Pod, simulate, spans
from tools.size import manifest
from tools.size.advice import SCHEDULING_SECONDS, Measured, Sizing, advise, pod_start_seconds
from tools.size.curve import Curve
from tools.size.errors import SizingError, positive

# What Kubernetes takes where an autoscaler does not say: one pod, 80 %.
DEFAULT_MINIMUM, DEFAULT_TARGET = 1, 80
TARGETS = (40, 50, 60, 70, 80, 90)
SHOWN_FAILURES = 8

console = Console(highlight=False, soft_wrap=True)


@dataclass(frozen=True)
class Plan:
    name: str
    scaler: Autoscaler
    day: Day
    broken: np.ndarray[Any, np.dtype[np.bool_]]

    @property
    def holds(self) -> bool:
        return not self.broken.any()


def main() -> int:
    arguments = _arguments()
    try:
        run(arguments)
    except SizingError as error:
        console.print(f"[bold red]not planned:[/] {error}")
        return 2
    return 0


def run(arguments: argparse.Namespace) -> None:
    sizing = Sizing.read(arguments.sizing)
    measured, advice = sizing.measured, sizing.advice
    if arguments.trace:
        offered = traffic.read(arguments.trace)
        if arguments.peak_rps:
            offered = traffic.scale(offered, arguments.peak_rps)
    else:
        offered = traffic.synthetic(arguments.peak_rps or advice.peak_rps)
    peak, average = traffic.busiest(offered), float(offered.mean())
    up, down = manifests.behavior()
    start = arguments.pod_start or pod_start_seconds(measured)
    pod = Pod(
        curve=Curve.of(measured.steps),
        cpu_request=advice.cpu_millicores / 1000,
        running_seconds=min(SCHEDULING_SECONDS, start),
        ready_seconds=start,
    )

    def plan(name: str, scaler: Autoscaler) -> Plan:
        day = simulate(offered, pod, scaler)
        return Plan(name, scaler, day, day.broken(measured.p99_ms, measured.error_ratio))

    wanted = advise(measured, peak, average)
    as_is = Autoscaler(advice.minimum, advice.maximum, advice.target, up, down)
    fitting = Autoscaler(wanted.minimum, wanted.maximum, wanted.target, up, down)
    plans = [plan("as in sizing.yaml", as_is)]
    if fitting != as_is:
        plans.append(plan("for this traffic", fitting))
    chosen = plans[-1]
    default = plan(
        "Kubernetes' defaults", Autoscaler(DEFAULT_MINIMUM, fitting.maximum, DEFAULT_TARGET)
    )
    others = [
        plan(f"target {target} %", replace(fitting, target=target))
        for target in TARGETS
        if target != fitting.target
    ]
    console.print(
        f"traffic   {len(offered) / 3600:.3g} hours, {_rate(average)} requests/s on average, "
        f"{_rate(peak)} in the busiest minute"
    )
    console.print(
        f"a pod     {advice.cpu_millicores}m CPU, at most {advice.capacity_rps:,.0f} requests/s, "
        f"ready {start:.0f} s after it is wanted"
    )
    console.print(table([*plans, default, *others]))
    kept = [one for one in (chosen, *others) if one.holds]
    if kept:
        best = min(kept, key=lambda one: one.day.core_hours)
        console.print(
            f"cheapest  of the targets that keep the promise all day: {best.scaler.target} %, "
            f"{best.day.core_hours:,.1f} core-hours"
        )
    for one in (chosen, default):
        failures(one, measured)
    picture.draw(arguments.out, chosen, default, measured, advice.capacity_rps)
    console.print(f"written   {arguments.out}")


def table(plans: list[Plan]) -> Table:
    columns = ("", "replicas", "target", "core-hours", "used", "refused", "broken")
    found = Table(*columns, box=None, padding=(0, 2, 0, 0), header_style="dim")
    for column in found.columns[1:]:
        column.justify = "right"
    found.columns[0].no_wrap = True
    for plan in plans:
        day, scaler = plan.day, plan.scaler
        found.add_row(
            plan.name,
            f"{day.replicas.min():,.0f} to {day.replicas.max():,.0f}",
            f"{scaler.target} %",
            f"{day.core_hours:,.1f}",
            f"{np.average(day.utilization, weights=day.ready + 1e-9):.0%}",
            f"{day.shed:.3%}",
            f"[{'green' if plan.holds else 'red'}]{plan.broken.sum():,d} min[/]",
        )
    return found


def failures(plan: Plan, measured: Measured) -> None:
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


def _rate(value: float) -> str:
    return f"{value:,.0f}" if value >= 100 else f"{value:.3g}"


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="python -m tools.plan",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--peak-rps", type=positive, help="requests a second, busiest minute")
    parser.add_argument("--trace", type=Path, help="CSV with the columns time and rps")
    parser.add_argument("--pod-start", type=positive, help="seconds until a new pod takes traffic")
    parser.add_argument("--sizing", type=Path, default=manifest.RECORD, help="what was measured")
    parser.add_argument("--out", type=Path, default=Path("plan.png"), help="the picture")
    return parser.parse_args()


if __name__ == "__main__":
    sys.exit(main())
