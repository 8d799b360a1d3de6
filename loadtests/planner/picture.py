"""plan.png: the day from top to bottom, what was planned against what the defaults do."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import matplotlib
import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter, MultipleLocator

from loadtests.planner.inputs import Sizing
from loadtests.planner.plan import Plan
from loadtests.planner.pod import Array
from loadtests.planner.simulate import minutes, spans

MAIN, OTHER, MUTED, INK, GOOD = "#2f6690", "#d9822b", "#9aa7b4", "#33414f", "#2a9d6f"
STYLE: dict[Any, Any] = {
    "font.size": 9,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "legend.frameon": False,
    "legend.fontsize": 8,
}
# A shorter failure would hardly be seen in a day's width, so it gets a mark.
SHORT_MINUTES = 15


@matplotlib.rc_context(STYLE)
def draw(file: Path, plan: Plan, default: Plan, sizing: Sizing) -> None:
    figure = Figure(figsize=(11, 10), layout="constrained")
    figure.suptitle(
        "; ".join(
            f"{one.name}: {one.day.core_hours:,.0f} core-hours, broken in {one.broken.sum():,d} min"
            for one in (plan, default)
        ),
        fontsize=11,
    )
    panels = figure.subplots(5, 1, sharex=True, height_ratios=[1.5, 1, 1, 1, 1])
    traffic, replicas, used, refused, p99 = panels
    hours = np.arange(len(plan.broken)) / 60

    able = minutes(plan.day.ready).min(1) * sizing.capacity_rps
    traffic.fill_between(hours, minutes(plan.day.offered).max(1), color=MUTED, alpha=0.5, lw=0)
    traffic.plot(hours, able, color=MAIN, linewidth=1.2, label="what ready pods can do")
    traffic.set_title("requests per second, and what ready pods can do", loc="left")
    for one, color in ((default, OTHER), (plan, MAIN)):
        style: dict[str, Any] = {"color": color, "linewidth": 1.2, "label": one.name}
        replicas.plot(hours, minutes(one.day.replicas).max(1), **style)
        used.plot(hours, 100 * minutes(one.day.utilization).max(1), **style)
        refused.plot(hours, 100 * one.day.shed_by_minute(), **style)
        p99.plot(hours, one.day.p99_by_minute(), **style)
        _mark(panels, hours, one.broken, color)
    replicas.set_title("replicas", loc="left")
    replicas.legend(loc="lower right", bbox_to_anchor=(1, 0.98), ncols=2)
    used.axhline(plan.scaler.target, color=GOOD, linestyle="--", linewidth=1)
    used.set_title("CPU, percent of the request (dashed: target)", loc="left")
    refused.set_title("percent refused (shaded and marked: the promise is broken)", loc="left")
    refused.set_ylim(top=max(1.0, 1.05 * refused.get_ylim()[1]))
    p99.axhline(sizing.p99_ms, color=INK, linestyle="--", linewidth=1)
    p99.set_title("p99 of what was answered, milliseconds (dashed: promised)", loc="left")
    p99.set_yscale("log")
    p99.set_xlabel("hour")
    for axes in (traffic, replicas, used, refused):
        axes.set_ylim(bottom=0)
    for axes in panels:
        axes.set_xlim(0, hours[-1])
        axes.yaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:,.6g}"))
    if hours[-1] > 8:
        p99.xaxis.set_major_locator(MultipleLocator(2))
    figure.savefig(file, dpi=150)


def _mark(panels: Any, hours: Array, broken: Array, color: str) -> None:
    """Shade the minutes in which the promise is broken; a mark points at short ones."""
    short = [hours[begin] for begin, end in spans(broken) if end - begin < SHORT_MINUTES]
    for axes in panels:
        box: Axes = axes
        across = box.get_xaxis_transform()
        shade: dict[str, Any] = {"step": "mid", "color": color, "alpha": 0.15, "lw": 0}
        box.fill_between(hours, 0, 1, where=broken, transform=across, **shade)
        box.plot(short, [0.95] * len(short), "v", color=color, ms=6, transform=across)
