"""sizing.png: what a pod did at each load, and the load that was chosen for it."""

from __future__ import annotations

from pathlib import Path

from matplotlib.figure import Figure

from tools.size.advice import Sizing
from training.figures import INK, MAIN, MUTED, OTHER, styled_file

GOOD = "#2a9d6f"


@styled_file
def draw(file: Path, sizing: Sizing, name: str) -> None:
    measured, advice, steps = sizing.measured, sizing.advice, sizing.measured.steps
    figure = Figure(figsize=(11, 3.9), layout="constrained")
    figure.suptitle(
        f"{name} {measured.version[:12]}: one pod of {measured.cpus:g} CPU is to get at most "
        f"{advice.capacity_rps:,.0f} requests/s, {advice.target_rps:,.0f} at the HPA's target",
        fontsize=11,
    )
    answered, latency, cpu = figure.subplots(1, 3)
    load = [step.offered for step in steps]
    end = 1.03 * max(load)
    # The steps that broke the promise are hollow.
    fills = [MAIN if step.holds(measured.slo) else "white" for step in steps]
    percent = [100 * step.cpus / measured.cpus for step in steps]
    for axes, values, label in (
        (answered, [step.offered * (1 - step.errors) for step in steps], "answered"),
        (latency, [step.p99_ms for step in steps], "p99"),
        (cpu, percent, "used"),
    ):
        axes.plot(load, values, color=MAIN, linewidth=1.6, label=label)
        axes.scatter(load, values, s=22, c=fills, edgecolors=MAIN, zorder=3)
        axes.set(xlabel="offered requests per second", xlim=(0, end))
        axes.xaxis.set_major_formatter("{x:,.0f}")
        axes.axvline(advice.capacity_rps, color=INK, linewidth=1)
        axes.axvspan(measured.held_rps, end, color=OTHER, alpha=0.08, linewidth=0)

    answered.plot(load, load, ":", color=MUTED, label="offered")
    answered.set(title="answers per second", ylim=(0, 1.05 * max(load)))
    answered.yaxis.set_major_formatter("{x:,.0f}")
    answered.legend(loc="upper left")
    answered.text(advice.capacity_rps, max(load) / 40, "chosen ", ha="right", fontsize=8)
    answered.text(end, max(load) / 40, "promise broken ", ha="right", color=OTHER, fontsize=8)

    latency.plot(load, [step.p50_ms for step in steps], color=MUTED, linewidth=1.2, label="p50")
    latency.axhline(measured.p99_ms, color=OTHER, linestyle="--", linewidth=1)
    latency.text(0, measured.p99_ms, " promised p99", color=OTHER, va="bottom", fontsize=8)
    latency.set(title="milliseconds of what was answered", yscale="log")
    latency.yaxis.set_major_formatter("{x:g}")
    latency.legend(loc="upper left")

    cpu.axhline(advice.target, color=GOOD, linestyle="--", linewidth=1)
    cpu.text(end, advice.target + 1, "autoscaler's target ", color=GOOD, ha="right", fontsize=8)
    cpu.plot([advice.target_rps], [advice.target], "o", color=GOOD, markersize=7)
    cpu.set(title="CPU, percent of the request", ylim=(0, max(105, 1.05 * max(percent))))
    figure.savefig(file, dpi=150)
