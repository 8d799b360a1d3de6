"""The pictures of the report on a share of users, in the model card's style."""

from __future__ import annotations

import numpy as np
from matplotlib.ticker import LogLocator, NullFormatter

from tools.ab.summary import Summary
from tools.shadow.charts import BAD
from tools.shadow.statistics import Array, mean_bounds
from training.figures import INK, MAIN, OTHER, Plot, canvas, one_plot, styled, svg

STEPS = 40  # points of a line
FEW = 20  # customers; before, the band fills the picture


@styled
def difference(name: str, differences: Array, margin: float, alpha: float) -> Plot:
    """How a difference between customers became certain: the gate decides by this band."""
    pairs = np.arange(1, len(differences) + 1)
    steps = np.unique(np.linspace(min(FEW, len(pairs)), len(pairs), STEPS).astype(int))
    low, high = 100 * np.array([mean_bounds(differences[:n], alpha) for n in steps]).T
    figure = canvas(height=3.2)
    axes = figure.subplots()
    axes.fill_between(steps, low, high, color=MAIN, alpha=0.18, linewidth=0)
    axes.plot(steps, 100 * np.cumsum(differences)[steps - 1] / steps, color=MAIN)
    axes.axhline(0, color=INK, linewidth=0.8)
    label = f"allowed: {100 * margin:g} worse"
    axes.axhline(-100 * margin, color=BAD, linestyle=":", linewidth=1.2, label=label)
    axes.legend(loc="lower right")
    axes.set(xlabel="customers of each group", ylabel="percentage points")
    return Plot(
        f"{name.capitalize()}: the candidate's customers against live's",
        f"Difference in {name}, between {low[-1]:+.3g} and {high[-1]:+.3g} points at the end",
        "The line is the difference so far, above zero the candidate is better; the band is where "
        "the true one lies. The verdict falls when the band leaves the dotted line behind: above "
        "it the candidate is good enough, below it not.",
        svg(figure),
    )


@styled
def latency(summary: Summary, slow_ms: float) -> Plot:
    """How long each group waited for its answers."""
    sides = [
        (summary.sides["control"], MAIN, "live's"),
        (summary.sides["candidate"], OTHER, "the candidate's"),
    ]
    figure, axes = one_plot()
    both = np.maximum(np.concatenate([side.durations for side, *_ in sides]), 1e-3)
    ends = np.quantile(both, [0.0005, 0.9995])
    edges = np.geomspace(ends[0] * 0.95, ends[1] * 1.05, 60)
    for side, color, name in sides:
        if len(side.durations):
            counts, _ = np.histogram(np.clip(side.durations, edges[0], edges[-1]), edges)
            axes.stairs(counts / len(side.durations), edges, color=color, linewidth=1.3, label=name)
    axes.axvline(slow_ms, color=BAD, linestyle=":", linewidth=1.2, label="slow")
    axes.legend()
    axes.set(xscale="log", xlabel="answered after, ms (log scale)", ylabel="share of requests")
    axes.xaxis.set_major_locator(LogLocator(subs=(1, 2, 5) if edges[-1] < 300 * edges[0] else (1,)))
    axes.xaxis.set_major_formatter("{x:g}")
    axes.xaxis.set_minor_formatter(NullFormatter())
    return Plot(
        "How long users waited",
        "Histograms of both groups' times until the answer",
        "By live's clock, from a request's head to its answer: of the candidate's users with the "
        "hop there, and with what live did after it in vain.",
        svg(figure),
    )
