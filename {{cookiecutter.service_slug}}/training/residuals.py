"""How far the answers of a regression are off, the live model's beside them if there is one."""

from __future__ import annotations

from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from training import bins
from training.evaluate import Array, Evaluation
from training.figures import INK, MAIN, OTHER, Plot, legend, one_plot, styled, svg

MAX_POINTS = 5000
NAMES = ("this model", "the live model")


@styled
def residuals(evaluation: Evaluation, live: Evaluation | None = None) -> list[Plot]:
    """Return the plots of a regression, in the order of the card."""
    truth = evaluation.truth.astype(float)
    answers = [item.answer.astype(float) for item in (evaluation, live) if item is not None]
    return [_predicted(truth, answers), _residuals(truth, answers), _errors(truth, answers)]


def _predicted(truth: Array, answers: list[Array]) -> Plot:
    figure, axes = one_plot()
    _scatter(figure, axes, [(truth, answer) for answer in answers])
    ends = [min(map(np.min, (truth, *answers))), max(map(np.max, (truth, *answers)))]
    axes.plot(ends, ends, color=INK, linestyle=":", linewidth=1)
    axes.set(xlabel="the truth", ylabel="the model's answer")
    return Plot(
        "Predicted and true",
        f"Predicted against true values of {len(truth)} held-out rows{_both(answers)}",
        "Each point is a held-out row; on the dotted line the answer is exactly right."
        f"{_of_points(truth)}",
        svg(figure),
    )


def _residuals(truth: Array, answers: list[Array]) -> Plot:
    figure, axes = one_plot()
    _scatter(figure, axes, [(answer, truth - answer) for answer in answers])
    axes.axhline(0, color=INK, linestyle=":", linewidth=1)
    axes.set(xlabel="the model's answer", ylabel="residual (truth less answer)")
    return Plot(
        "Residuals",
        f"Residuals against predicted values of {len(truth)} held-out rows{_both(answers)}",
        "What the answers miss. A good model leaves a level band around the dotted line; a bend "
        f"or a funnel is something it has not learnt.{_of_points(truth)}",
        svg(figure),
    )


def _errors(truth: Array, answers: list[Array]) -> Plot:
    figure, axes = one_plot()
    missed = [truth - answer for answer in answers]
    _, edges = bins.count(np.concatenate(missed), 30)
    drawn = [axes.stairs(np.histogram(missed[0], edges)[0], edges, fill=True, color=MAIN)]
    for other in missed[1:]:
        counts = np.histogram(other, edges)[0]
        drawn.append(axes.stairs(counts, edges, color=OTHER, linewidth=1.6))
    if len(drawn) > 1:
        legend(figure, drawn, NAMES)
    axes.axvline(0, color=INK, linestyle=":", linewidth=1)
    axes.set(xlabel="residual (truth less answer)", ylabel="held-out rows")
    axes.yaxis.set_major_locator(MaxNLocator(5, integer=True))
    return Plot(
        "Residual histogram",
        f"Histogram of the residuals of {len(truth)} held-out rows{_both(answers)}",
        "How often answers miss by how much. Left of the dotted line they were too high, right of "
        "it too low; a long tail is a few answers that are far off.",
        svg(figure),
    )


def _both(answers: list[Array]) -> str:
    return ", of this model and the live one" if len(answers) > 1 else ""


def _of_points(truth: Array) -> str:
    return f" {MAX_POINTS:,} of {len(truth):,} rows." if len(truth) > MAX_POINTS else ""


def _scatter(figure: Figure, axes: Axes, pairs: list[tuple[Array, Array]]) -> None:
    drawn = []
    for (x, y), color, depth in zip(pairs, (MAIN, OTHER), (1, 0.9), strict=False):
        rows = np.linspace(0, len(x) - 1, min(len(x), MAX_POINTS)).astype(int)
        # The points are pixels, since thousands of vectors would make the page heavy.
        style: dict[str, Any] = {"color": color, "alpha": 0.5, "linewidth": 0, "rasterized": True}
        drawn.append(axes.scatter(x[rows], y[rows], s=14, zorder=depth, **style))
    if len(drawn) > 1:
        legend(figure, drawn, NAMES)
