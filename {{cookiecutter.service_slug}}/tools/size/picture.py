"""sizing.png: what a pod did at each load, and the load that was chosen for it."""

from __future__ import annotations

from pathlib import Path

from matplotlib.axes import Axes
from matplotlib.figure import Figure

from tools.size.advice import Sizing
from training.figures import INK, MAIN, MUTED, OTHER, styled_file

GOOD = "#2a9d6f"


@styled_file
def draw(file: Path, sizing: Sizing, name: str) -> None:
    measured, advice = sizing.measured, sizing.advice
    figure = Figure(figsize=(11, 3.9), layout="constrained")
    figure.suptitle(
        f"{name} {measured.version[:12]}: one pod of {measured.cpus:g} CPU is to get at most "
        f"{advice.capacity_rps:,.0f} requests/s, {advice.target_rps:,.0f} at the HPA's target",
        fontsize=11,
    )
    answered, latency, cpu = figure.subplots(1, 3)
    steps = measured.steps
    load = [step.offered for step in steps]
    held = [step.holds(measured.slo) for step in steps]

    answered.plot(load, load, ":", color=MUTED, label="offered")
    good = [step.offered * (1 - step.errors) for step in steps]
    _series(answered, load, good, held, MAIN, "answered")
    answered.set(title="answers per second", ylim=(0, 1.05 * max(load)))
    answered.legend(loc="upper left")

    _series(latency, load, [step.p99_ms for step in steps], held, MAIN, "p99")
    p50 = [step.p50_ms for step in steps]
    latency.plot(load, p50, "-", color=MUTED, linewidth=1.2, label="p50")
    latency.axhline(measured.p99_ms, color=OTHER, linestyle="--", linewidth=1)
    latency.text(0, measured.p99_ms, " promised p99", color=OTHER, va="bottom", fontsize=8)
    latency.set(title="milliseconds of what was answered", yscale="log")
    latency.yaxis.set_major_formatter(lambda value, _: f"{value:g}")
    latency.legend(loc="upper left")

    percent = [100 * step.cpus / measured.cpus for step in steps]
    _series(cpu, load, percent, held, MAIN, "used")
    cpu.axhline(advice.target, color=GOOD, linestyle="--", linewidth=1)
    where = {"ha": "right", "va": "top", "fontsize": 8}
    cpu.text(1.02 * max(load), advice.target - 1, "autoscaler's target", color=GOOD, **where)
    cpu.plot([advice.target_rps], [advice.target], "o", color=GOOD, markersize=7)
    cpu.set(title="CPU, percent of the request", ylim=(0, max(105, 1.05 * max(percent))))

    for axes in (answered, latency, cpu):
        axes.set_xlabel("offered requests per second")
        axes.set_xlim(0, 1.03 * max(load))
        axes.xaxis.set_major_formatter(lambda value, _: f"{value:,.0f}")
        axes.axvline(advice.capacity_rps, color=INK, linewidth=1)
        axes.axvspan(advice.held_rps, 1.03 * max(load), color=OTHER, alpha=0.08, linewidth=0)
    low = answered.get_ylim()[1] / 40
    answered.text(advice.capacity_rps, low, "chosen ", ha="right", fontsize=8)
    answered.text(1.02 * max(load), low, "promise broken", ha="right", color=OTHER, fontsize=8)
    answered.yaxis.set_major_formatter(lambda value, _: f"{value:,.0f}")
    figure.savefig(file, dpi=150)


def _series(
    axes: Axes, load: list[float], values: list[float], held: list[bool], color: str, label: str
) -> None:
    """A line through all steps; those that broke the promise are hollow."""
    axes.plot(load, values, "-", color=color, linewidth=1.6, label=label)
    fills = [color if kept else "white" for kept in held]
    axes.scatter(load, values, s=22, c=fills, edgecolors=color, zorder=3)
