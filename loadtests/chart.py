"""One picture a model: requests per second, what each costs, and how long one client waits."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from matplotlib.axes import Axes
from matplotlib.figure import Figure

from loadtests.results import TARGET_CONNECTIONS, Summary
from loadtests.servers import CEILING, OBSERVED, OURS, SERVERS, TEMPLATE

COLOURS = {OURS.name: "#6d3fc0", OBSERVED.name: "#9b7bd6", CEILING.name: "#c9c9c9"}
RIVAL_COLOUR = "#8fb3d9"
SMALL: dict[str, Any] = {"fontsize": 10, "color": "#555555"}


def draw(
    file: Path, model: str, servers: Mapping[str, Summary], alone: Mapping[str, Summary]
) -> None:
    """`servers`: with many connections; `alone`: those that were asked over one, too."""
    names = sorted(servers, key=lambda name: servers[name].requests_per_second)
    figure = Figure(figsize=(13, 0.9 + 0.42 * len(names)), layout="constrained")
    speed, cost, wait = figure.subplots(1, 3, sharey=True)
    figure.suptitle(f"{model}: one row a request, one core", fontsize=12)

    rates = [servers[name].requests_per_second for name in names]
    _bars(speed, names, rates, [f"{rate:,.0f}" for rate in rates])
    speed.set_title(f"requests per second, {TARGET_CONNECTIONS} connections", **SMALL)
    speed.set_yticks(range(len(names)), [SERVERS[name].title for name in names])
    for label, name in zip(speed.get_yticklabels(), names, strict=True):
        label.set_fontweight("bold" if name in TEMPLATE else "normal")

    costs = [servers[name].cpu_ms_per_request for name in names]
    _bars(cost, names, costs, [f"{milliseconds:.2f}" for milliseconds in costs])
    cost.set_title(f"CPU milliseconds per request, {TARGET_CONNECTIONS} connections", **SMALL)

    waits = [alone[name].p50_ms if name in alone else 0 for name in names]
    _bars(wait, names, waits, [f"{wait:.2f}" if wait else "" for wait in waits])
    wait.set_title("median milliseconds, one connection", **SMALL)

    figure.savefig(file, dpi=150)


def _bars(axes: Axes, names: list[str], values: list[float], labels: list[str]) -> None:
    colours = [COLOURS.get(name, RIVAL_COLOUR) for name in names]
    bars = axes.barh(range(len(names)), values, color=colours, height=0.7)
    axes.bar_label(bars, labels, padding=4, fontsize=9)
    axes.set_xlim(0, 1.2 * max(values) or 1)
    axes.set_xticks([])
    axes.tick_params(length=0)
    axes.spines[:].set_visible(False)
