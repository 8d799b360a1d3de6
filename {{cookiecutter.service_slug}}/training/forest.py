"""The forest plot: how far a candidate's metric lies from the live model's, and how surely."""

from __future__ import annotations

import math

from matplotlib.ticker import MaxNLocator

from training.comparison import Compared, Outcome
from training.figures import INK, MAIN, MUTED, OTHER, Plot, one_plot, styled, svg
from training.plots import number, signed, words

OUTCOMES: dict[Outcome, str] = {
    "better": "✓ better",
    "good": "✓ as good",
    "undecided": "? cannot be told",
    "worse": "✗ worse",
}
COLORS: dict[Outcome, str] = {
    "better": MAIN,
    "good": MAIN,
    "undecided": OTHER,
    "worse": "#b3372f",
}


@styled
def forest(item: Compared) -> Plot | None:
    """Draw the difference and its interval; better is on the right, whatever the metric.

    Returns None where one of the models lacks the metric.
    """
    difference = item.candidate - item.live
    if math.isnan(difference):
        return None
    low, high = item.interval or (difference, difference)
    color = COLORS[item.outcome]
    figure, axes = one_plot(3.0, 0.95)
    axes.axvspan(-item.margin, item.margin, color=MUTED, alpha=0.3, linewidth=0)
    axes.axvline(0, color=INK, linewidth=1)
    axes.plot([low, high], [0, 0], color=color, linewidth=2, marker="|", markersize=8)
    axes.plot([difference], [0], color=color, marker="o", markersize=6)
    reach = 1.2 * max(map(abs, (low, high, difference, item.margin))) or 1.0
    ends = (-reach, reach) if item.higher_is_better else (reach, -reach)
    axes.set(xlim=ends, ylim=(-1, 1), yticks=[])
    for place, align, word in ((0, "left", "← worse"), (1, "right", "better →")):
        axes.text(place, 1, word, ha=align, va="top", size=8, transform=axes.transAxes)
    axes.xaxis.set_major_locator(MaxNLocator(4))
    axes.xaxis.set_major_formatter(lambda value, _: signed(value))
    axes.tick_params(labelsize=8, length=2)
    axes.spines["left"].set_visible(False)
    sure = f"between {signed(low)} and {signed(high)}" if item.interval else "no interval"
    return Plot(
        words(item.metric),
        f"Difference in {words(item.metric)}: {signed(difference)}, {sure}; "
        f"margin {number(item.margin)}: {OUTCOMES[item.outcome]}",
        "",
        svg(figure),
    )
