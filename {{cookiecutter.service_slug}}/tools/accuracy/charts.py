"""The picture of the report: how good each version was over time."""

from __future__ import annotations

from datetime import UTC
from typing import Any

import numpy as np
from matplotlib.dates import AutoDateLocator, ConciseDateFormatter, date2num

from tools.accuracy.judge import Judgement, Version, mean
from tools.shadow.statistics import Array
from tools.shadow.words import percent
from training.figures import MAIN, MUTED, OTHER, Plot, one_plot, styled, svg
from training.intervals import wilson
from training.plots import label

PERIODS = 24
FEW = 5  # truths of a period, with fewer of which its interval fills the picture
COLORS = [MAIN, OTHER, "#5c8a4d", "#8c5a9e"]
BAD = "#b3372f"
LINE: dict[str, Any] = {
    "marker": "o",
    "markersize": 3.5,
    "linewidth": 1.2,
    "elinewidth": 0.8,
    "capsize": 1.5,
}
CARD: dict[str, Any] = {"linestyle": "--", "linewidth": 1}
NAMES = {"label": "share that is right", "number": "mean absolute error"}
METRICS = {"label": "accuracy", "number": "mae"}


@styled
def over_time(found: Judgement) -> Plot:
    """Draw accuracy, or the mean absolute error, of periods, beside the card's figure and the gate.

    `found`: with a version that is judged.
    """
    metric, name = METRICS[found.kind], NAMES[found.kind]
    shown = [version for version in found.versions if version.truths][: len(COLORS)]
    times = [date2num([truth.time for truth in v.truths]) for v in shown]  # type: ignore[no-untyped-call]
    first, last = min(map(np.min, times)), max(map(np.max, times))
    edges = np.linspace(first, max(last, first + 1e-6), PERIODS + 1)
    figure, axes = one_plot(height=4.0)
    for version, when, color in zip(shown, times, COLORS, strict=False):
        called = label(version.name, 16)
        if len(points := _points(version, when, edges, found.kind)):
            x, y, low, high = points.T
            axes.errorbar(x, y, [y - low, high - y], color=color, label=called, **LINE)
        if metric in version.card:
            by_card = f"{called}, by its card"
            axes.axhline(version.card[metric], color=color, label=by_card, **CARD)
    for rule in found.rules:
        if rule.gate.metric == metric:
            axes.axhline(rule.gate.bound, color=BAD, linestyle=":", linewidth=1.2, label="gate")
    axes.legend(loc="best")
    axes.grid(axis="y", color=MUTED, alpha=0.25, linewidth=0.6)
    axes.set(xlabel="time of the answer (UTC)", ylabel=name)
    if metric == "accuracy":
        axes.yaxis.set_major_formatter(lambda share, _: percent(share) if share <= 1 else "")
    locator = AutoDateLocator(maxticks=7, tz=UTC)  # type: ignore[no-untyped-call]
    axes.xaxis.set_major_locator(locator)
    axes.xaxis.set_major_formatter(ConciseDateFormatter(locator, tz=UTC))  # type: ignore[no-untyped-call]
    return Plot(
        f"{name[0].upper()}{name[1:]}, over time",
        f"{name} over time, of {len(shown)} version{'s'[: len(shown) > 1]}",
        "Each point is a period, with the interval in which its true value lies 95 times of 100. "
        "The dashed line is the card's figure, of the rows that training kept aside; the dotted "
        f"one is the gate. Periods with fewer than {FEW} truths are left out.",
        svg(figure),
    )


def _points(version: Version, times: Array, edges: Array, kind: str) -> Array:
    """Return a row for each period with enough truths: its middle, the figure, low and high."""
    period = np.clip(np.searchsorted(edges, times, "right") - 1, 0, len(edges) - 2)
    points = []
    for at in np.unique(period):
        scores = version.scores[period == at]
        if len(scores) < FEW:
            continue
        middle = (edges[at] + edges[at + 1]) / 2
        if kind == "label":
            between = wilson(int(scores.sum()), len(scores))
            points.append((middle, scores.mean(), *map(float, between)))
        else:
            size, low, high = mean(np.abs(scores))
            points.append((middle, size, max(low, 0.0), high))
    return np.array(points)
