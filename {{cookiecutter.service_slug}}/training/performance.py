"""The card's pictures of the answers to held-out rows: where they are right, and where wrong."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator, PercentFormatter
from sklearn import metrics as sk

from training import bins
from training.evaluate import Array, Evaluation
from training.figures import INK, MAIN, MUTED, OTHER, SHADES, Plot, canvas, one_plot, styled, svg
from training.intervals import wilson
from training.plots import label

MAX_CURVES = 10
MAX_CLASSES = 20
MAX_POINTS = 5000

# The colours of curves: colour-blind readers can tell them apart too.
CURVES = [MAIN, OTHER, "#2a9d6f", "#b5548d", "#7d6bb0"]
CURVES += ["#c0453b", "#4ba3c3", "#8a7a2f", "#59636d", "#1f8a8a"]


@styled
def draw(evaluation: Evaluation) -> list[Plot]:
    """Return the plots of a classification or regression, in the order of the card."""
    if evaluation.kind == "regression":
        truth, answer = evaluation.truth.astype(float), evaluation.answer.astype(float)
        return [_predicted(truth, answer), _residuals(truth, answer), _errors(truth, answer)]
    plots = [_confusion(evaluation)]
    if evaluation.probability is not None:
        plots += _curves(evaluation, evaluation.probability)
        plots.append(_calibration(evaluation, evaluation.probability))
    return plots


def frequent_classes(evaluation: Evaluation, limit: int) -> list[Any]:
    """Return the classes in their order; of more than `limit`, those commonest in held-out rows."""
    common = {value for value, _ in Counter(evaluation.truth.tolist()).most_common(limit)}
    few = len(evaluation.classes) <= limit
    return [value for value in evaluation.classes if few or value in common]


def _confusion(evaluation: Evaluation) -> Plot:
    classes = frequent_classes(evaluation, MAX_CLASSES)
    size = len(classes)
    pairs = Counter(zip(evaluation.truth.tolist(), evaluation.answer.tolist(), strict=True))
    rows = Counter(evaluation.truth.tolist())
    counts = np.array([[pairs[true, said] for said in classes] for true in classes])
    shares = counts / np.array([[max(rows[true], 1)] for true in classes])
    figure, axes = one_plot(height=max(3.7, 0.24 * size + 1))
    axes.pcolormesh(shares, cmap=SHADES, vmin=0, vmax=1, edgecolors="#dde3e9", linewidth=0.8)
    for (i, j), count in np.ndenumerate(counts):
        share = f"\n{shares[i, j]:.0%}" if size <= 6 else ""
        color = "white" if shares[i, j] > 0.55 else INK
        text = f"{count:,}{share}" if count or size <= 6 else ""
        font = 10 if size <= 6 else 7
        axes.text(j + 0.5, i + 0.5, text, ha="center", va="center", color=color, fontsize=font)
    names = [label(name, 14) for name in classes]
    slope = 60 if sum(map(len, names)) > 48 else 0
    axes.set_xticks(np.arange(size) + 0.5, names, rotation=slope)
    axes.set_yticks(np.arange(size) + 0.5, names)
    axes.tick_params(length=0)
    axes.invert_yaxis()
    axes.spines[:].set_visible(False)
    axes.set(xlabel="the model's answer", ylabel="the truth")
    right = sum(pairs[name, name] for name in evaluation.classes)
    most = _of_many(evaluation, size)
    return Plot(
        "Confusion matrix",
        f"Confusion matrix: {right} of {len(evaluation.truth)} held-out rows on the diagonal",
        "Each row of the matrix holds the held-out rows of one true class, spread over the answers "
        f"they got; the darker, the larger the share of the class. The diagonal is right.{most}",
        svg(figure),
    )


def _curves(evaluation: Evaluation, probability: Array) -> list[Plot]:
    """Return ROC and precision-recall, each class against the rest; nothing for a single class."""
    names = frequent_classes(evaluation, MAX_CURVES)
    if len(names) == 2 and names[1] == evaluation.shown:
        names.reverse()
    shown = [
        (label(name), evaluation.truth == name, probability[:, evaluation.classes.index(name)])
        for name in names
    ]
    shown = [(name, event, score) for name, event, score in shown if 0 < event.sum() < len(event)]
    if not shown:
        return []
    most = _of_many(evaluation, len(shown))
    # The ROC curves of two classes are mirror images: one is enough.
    return [_roc(shown[:1] if len(names) == 2 else shown, most), _precision_recall(shown, most)]


def _roc(shown: list[tuple[str, Array, Array]], most: str) -> Plot:
    figure, axes = one_plot(height=3.6 + 0.08 * len(shown))
    areas = []
    for color, (name, event, score) in zip(CURVES, shown, strict=False):
        false, true, _ = sk.roc_curve(event, score)
        areas.append(f"{name} (area {sk.auc(false, true):.3f})")
        axes.plot(false, true, color=color, zorder=3)
    _legend(figure, axes.lines, areas)
    axes.plot([0, 1], [0, 1], color=MUTED, linestyle=":", linewidth=1)
    _unit_square(axes, "share of the others flagged (false alarms)", "share of the class found")
    return Plot(
        "ROC curve",
        f"ROC curve: {'; '.join(areas)}",
        "What finding more of a class costs in false alarms as the threshold falls. Good curves "
        f"hug the upper left corner; guessing follows the dotted line.{most}",
        svg(figure),
    )


def _precision_recall(shown: list[tuple[str, Array, Array]], most: str) -> Plot:
    figure, axes = one_plot(height=3.6 + 0.08 * len(shown))
    areas = []
    for color, (name, event, score) in zip(CURVES, shown, strict=False):
        precision, recall, _ = sk.precision_recall_curve(event, score)
        areas.append(f"{name} (average {sk.average_precision_score(event, score):.3f})")
        axes.step(recall, precision, where="post", color=color, zorder=3)
    _legend(figure, axes.lines, areas)
    _unit_square(axes, "share of the class found (recall)", "share of alarms right (precision)")
    return Plot(
        "Precision-recall curve",
        f"Precision-recall curve: {'; '.join(areas)}",
        "How far alarms can be trusted as more of a class is to be found. Good curves stay at the "
        f"top; guessing is right as often as the class is common.{most}",
        svg(figure),
    )


def _calibration(evaluation: Evaluation, probability: Array) -> Plot:
    if len(evaluation.classes) == 2:
        positive = evaluation.shown
        score = np.clip(probability[:, evaluation.classes.index(positive)], 0, 1)
        event = evaluation.truth == positive
        names = (label(positive), "the other class")
        meaning = f"the probability of “{names[0]}”"
    else:
        best = probability.argmax(axis=1)
        event = np.array([evaluation.classes[i] for i in best]) == evaluation.truth
        score = np.clip(probability.max(axis=1), 0, 1)
        names, meaning = ("right", "wrong"), "the probability of the likeliest class"
    figure = canvas(height=4.2)
    upper, lower = figure.subplots(2, 1, sharex=True, height_ratios=[3, 1])
    edges = np.linspace(0, 1, 11)
    tenth = np.clip(np.digitize(score, edges) - 1, 0, 9)
    rows = np.bincount(tenth, minlength=10)
    used = rows > 0
    hits, rows = np.bincount(tenth, event, minlength=10)[used], rows[used]
    said = np.bincount(tenth, score, minlength=10)[used] / rows
    low, high = wilson(hits, rows)
    share = hits / rows
    whiskers = np.clip([share - low, high - share], 0, None)
    upper.errorbar(said, share, whiskers, color=MAIN, elinewidth=1, zorder=3)
    upper.scatter(said, share, s=18, color=MAIN, zorder=3, clip_on=False)
    upper.plot([0, 1], [0, 1], color=MUTED, linestyle=":", linewidth=1)
    _unit_square(upper, "", "share that came true")
    for values, color, bottom in ((hits, MAIN, 0), (rows - hits, MUTED, hits)):
        lower.bar(edges[:-1][used], values, 0.1, bottom, align="edge", color=color)
    _legend(figure, lower.containers, names)
    lower.set(xlabel=label(meaning, 60), ylabel="rows")
    lower.yaxis.set_major_locator(MaxNLocator(3, integer=True))
    return Plot(
        "Calibration",
        f"Calibration curve over a histogram of {meaning}, for {len(event)} held-out rows",
        "Whether probabilities mean what they say: of the rows given 80%, 80% should come true, "
        "on the dotted line. Whiskers are 95% intervals, long where rows are few; below, how many "
        "rows got which probability.",
        svg(figure),
    )


def _predicted(truth: Array, answer: Array) -> Plot:
    figure, axes = one_plot()
    _scatter(axes, truth, answer)
    ends = [min(truth.min(), answer.min()), max(truth.max(), answer.max())]
    axes.plot(ends, ends, color=INK, linestyle=":", linewidth=1)
    axes.set(xlabel="the truth", ylabel="the model's answer")
    return Plot(
        "Predicted and true",
        f"Predicted against true values of {len(truth)} held-out rows",
        "Each point is a held-out row; on the dotted line the answer is exactly right."
        f"{_of_points(truth)}",
        svg(figure),
    )


def _residuals(truth: Array, answer: Array) -> Plot:
    figure, axes = one_plot()
    _scatter(axes, answer, truth - answer)
    axes.axhline(0, color=INK, linestyle=":", linewidth=1)
    axes.set(xlabel="the model's answer", ylabel="residual (truth less answer)")
    return Plot(
        "Residuals",
        f"Residuals against predicted values of {len(truth)} held-out rows",
        "What the answers miss. A good model leaves a level band around the dotted line; a bend "
        f"or a funnel is something it has not learnt.{_of_points(truth)}",
        svg(figure),
    )


def _errors(truth: Array, answer: Array) -> Plot:
    figure, axes = one_plot()
    axes.stairs(*bins.count(truth - answer, 30), fill=True, color=MAIN)
    axes.axvline(0, color=INK, linestyle=":", linewidth=1)
    axes.set(xlabel="residual (truth less answer)", ylabel="held-out rows")
    axes.yaxis.set_major_locator(MaxNLocator(5, integer=True))
    return Plot(
        "Residual histogram",
        f"Histogram of the residuals of {len(truth)} held-out rows",
        "How often answers miss by how much. Left of the dotted line they were too high, right of "
        "it too low; a long tail is a few answers that are far off.",
        svg(figure),
    )


def _of_many(evaluation: Evaluation, shown: int) -> str:
    hidden = len(evaluation.classes) - shown
    return f" The {shown} commonest of {len(evaluation.classes)} classes." if hidden else ""


def _of_points(truth: Array) -> str:
    return f" {MAX_POINTS:,} of {len(truth):,} rows." if len(truth) > MAX_POINTS else ""


def _scatter(axes: Axes, x: Array, y: Array) -> None:
    rows = np.linspace(0, len(x) - 1, min(len(x), MAX_POINTS)).astype(int)
    # The points are pixels, since thousands of vectors would make the page heavy.
    axes.scatter(x[rows], y[rows], s=14, color=MAIN, alpha=0.5, linewidth=0, rasterized=True)


def _legend(figure: Figure, handles: Sequence[Any], labels: Sequence[str]) -> None:
    """Put the legend below the plot, where it hides nothing."""
    columns = 2 if max(map(len, labels)) < 36 else 1
    figure.legend(list(handles), list(labels), loc="outside lower center", ncols=columns)


def _unit_square(axes: Axes, xlabel: str, ylabel: str) -> None:
    axes.set(xlim=(0, 1), ylim=(0, 1.01), xlabel=xlabel, ylabel=ylabel)
    axes.xaxis.set_major_formatter(PercentFormatter(1))
    axes.yaxis.set_major_formatter(PercentFormatter(1))
