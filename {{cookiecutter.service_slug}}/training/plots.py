"""The card's pictures of the inputs, and how pictures write names and numbers."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
from matplotlib.ticker import MaxNLocator, PercentFormatter

from service.artifact import Histogram
from training.evaluate import Importance
from training.figures import INK, MAIN, MUTED, OTHER, Plot, one_plot, styled, svg

MAX_BARS = 20
MAX_VALUES = 6

# What is now is filled, what was before an outline.
STYLES: list[dict[str, Any]] = [
    {"fill": True, "color": MAIN},
    {"fill": False, "edgecolor": OTHER, "linewidth": 1.4},
]


@styled
def importance(found: list[Importance], score: str) -> Plot:
    """Draw the largest of `found`, sorted as it is; `score` is what drops, in words."""
    top = found[:MAX_BARS][::-1]
    figure, axes = one_plot(height=max(2.2, 0.6 + 0.21 * len(top)))
    axes.barh(
        range(len(top)),
        [item.mean for item in top],
        xerr=[item.deviation for item in top],
        color=MAIN,
        height=0.7,
        error_kw={"ecolor": INK, "elinewidth": 1, "capsize": 2},
    )
    axes.axvline(0, color=MUTED, linewidth=1)
    axes.set_yticks(range(len(top)), [label(item.name, 30) for item in top])
    axes.tick_params(axis="y", length=0)
    axes.set(xlabel=f"drop in {score} when shuffled", ylim=(-0.6, len(top) - 0.4))
    best = ", ".join(item.name for item in found[:3])
    more = f" The {MAX_BARS} largest of {len(found)}." if len(found) > MAX_BARS else ""
    return Plot(
        "Permutation importance",
        f"Permutation importance, largest first: {best}",
        f"How much {score} drops when one input is shuffled, so that it says nothing any more. The "
        f"whisker is the deviation over repeats, and a bar within its whisker may be chance. "
        f"Inputs that say the same share the importance, and so look unimportant.{more}",
        svg(figure),
    )


@styled
def histogram(name: str, found: Histogram) -> Plot:
    """Draw a small histogram of the input `name`, its six commonest values if it is no number."""
    figure, axes = one_plot(1.9, 1.15)
    axes.tick_params(labelsize=7.5, length=2)
    if found.edges is not None:
        axes.stairs(found.counts, found.edges, fill=True, color=MAIN)
        axes.xaxis.set_major_locator(MaxNLocator(3))
        axes.xaxis.set_major_formatter(lambda value, _: number(value))
        axes.set_yticks([])
        axes.spines["left"].set_visible(False)
        # Constrained layout draws all twice, to see what room numbers need.
        figure.set_layout_engine("none")
        axes.set_position((0.08, 0.24, 0.84, 0.7))
    else:
        values, counts = (found.values or [])[:MAX_VALUES], found.counts[:MAX_VALUES]
        axes.barh(range(len(values)), counts, color=MAIN, height=0.7)
        axes.set_yticks(range(len(values)), [label(value, 14) for value in values])
        axes.set_ylim(max(len(values), 3) - 0.4, -0.6)
        axes.xaxis.set_major_locator(MaxNLocator(3, integer=True))
        axes.tick_params(axis="y", length=0)
    return Plot(name, f"Histogram of {name}: {_peak(found)}", "", svg(figure))


@styled
def shift(name: str, now: Histogram, before: Histogram) -> Plot:
    """Draw how the input `name` is spread now, and as an outline how it was before."""
    figure, axes = one_plot(2.6, 1.5)
    axes.tick_params(labelsize=7.5, length=2)
    shares = [np.array(found.counts) / max(sum(found.counts), 1) for found in (now, before)]
    if now.edges is not None and before.edges is not None:
        # Shares by width: the bins are not the same.
        for share, edges, style in zip(shares, (now.edges, before.edges), STYLES, strict=True):
            axes.stairs(share / np.diff(edges), edges, **style)
        axes.xaxis.set_major_locator(MaxNLocator(3))
        axes.xaxis.set_major_formatter(lambda value, _: number(value))
        axes.set_yticks([])
        axes.spines["left"].set_visible(False)
    else:
        spread = [
            dict(zip(found.values or [], share.tolist(), strict=True))
            for found, share in zip((now, before), shares, strict=True)
        ]
        values = sorted({*spread[0], *spread[1]}, key=lambda v: -max(s.get(v, 0) for s in spread))
        shown = values[:MAX_VALUES]
        for of, style in zip(spread, STYLES, strict=True):
            axes.barh(range(len(shown)), [of.get(v, 0) for v in shown], height=0.7, **style)
        axes.set_yticks(range(len(shown)), [label(value, 14) for value in shown])
        axes.set_ylim(max(len(shown), 3) - 0.4, -0.6)
        axes.xaxis.set_major_formatter(PercentFormatter(1, decimals=0))
        axes.xaxis.set_major_locator(MaxNLocator(3))
        axes.tick_params(axis="y", length=0)
    alt = f"Histograms of {name}: now {_peak(now)}, before {_peak(before)}"
    return Plot(name, alt, "", svg(figure))


def label(value: object, width: int = 18) -> str:
    """Return `value` in at most `width` characters, none of them such as would break an SVG."""
    text = "".join(c if c.isprintable() else "·" for c in str(value))
    return text if len(text) <= width else text[: width - 1] + "…"


def words(metric: str) -> str:
    return metric.replace("_", " ")


def number(value: float, digits: int = 4) -> str:
    """Return `value` with so many significant digits, and all digits of its whole part.

    NaN, as of a metric that a model lacks, is a dash.
    """
    if math.isnan(value):
        return "–"
    whole = 10**digits <= abs(value) < 1e15
    return f"{value:,.0f}" if whole else f"{value:.{digits}g}"


def signed(value: float) -> str:
    """Return a difference in three significant digits, with its sign."""
    return f"{'+' if value > 0 else ''}{number(value, 3)}"


def _peak(found: Histogram) -> str:
    if not found.counts:
        return "no values"
    top = int(np.argmax(found.counts))
    if found.edges is None:
        return f"commonest is {(found.values or [])[top]}"
    return f"commonest from {number(found.edges[top])} to {number(found.edges[top + 1])}"
