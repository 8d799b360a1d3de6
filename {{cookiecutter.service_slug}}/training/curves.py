"""How far a classifier's probabilities can be trusted; a live model's curves are dashed."""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
from matplotlib.axes import Axes
from matplotlib.lines import Line2D
from matplotlib.ticker import MaxNLocator, PercentFormatter
from sklearn import metrics as sk

from training.confusion import frequent_classes, of_many
from training.evaluate import Array, Evaluation
from training.figures import MAIN, MUTED, OTHER, Plot, canvas, legend, one_plot, styled, svg
from training.intervals import wilson
from training.plots import label

MAX_CURVES = 10
MAX_CURVES_OF_TWO = 4

# The colours of curves: colour-blind readers can tell them apart too.
CURVES = [MAIN, OTHER, "#2a9d6f", "#b5548d", "#7d6bb0"]
CURVES += ["#c0453b", "#4ba3c3", "#8a7a2f", "#59636d", "#1f8a8a"]
DASHED: dict[str, Any] = {"linestyle": (0, (4, 1.6)), "linewidth": 1.6}


class Ranking(NamedTuple):
    """How one model ranks the rows of a class: `event` is True where a row is of it."""

    name: str
    event: Array
    score: Array
    style: dict[str, Any]


@styled
def curves(evaluation: Evaluation, live: Evaluation | None = None) -> list[Plot]:
    """Return the plots of a classification, in the order of the card; none without probabilities.

    `live`: of the same rows.
    """
    if evaluation.probability is None:
        return []
    return [*_ranked(evaluation, live), _calibration(evaluation, live)]


def _ranked(evaluation: Evaluation, live: Evaluation | None) -> list[Plot]:
    """Return ROC and precision-recall, each class against the rest; nothing for a single class."""
    names = frequent_classes(evaluation, MAX_CURVES if live is None else MAX_CURVES_OF_TWO)
    if len(names) == 2 and names[1] == evaluation.shown:
        names.reverse()
    rows = len(evaluation.truth)
    names = [name for name in names if 0 < np.sum(evaluation.truth == name) < rows]
    if not names:
        return []
    # The ROC curves of two classes are mirror images: one is enough; beside another model's, the
    # precision-recall curve of one is, too.
    first = names[:1] if len(evaluation.classes) == 2 else names
    both = names if live is None else first
    return [
        _roc(_rankings(evaluation, live, first), of_many(evaluation, len(names))),
        _precision_recall(_rankings(evaluation, live, both), of_many(evaluation, len(names))),
    ]


def _rankings(evaluation: Evaluation, live: Evaluation | None, names: list[Any]) -> list[Ranking]:
    found = []
    for color, name in zip(CURVES, names, strict=False):
        event = evaluation.truth == name
        found.append(Ranking(label(name), event, _score(evaluation, name), {"color": color}))
        if live is not None and live.probability is not None:
            style = DASHED | {"color": color if len(names) > 1 else OTHER}
            found.append(Ranking(f"live: {label(name)}", event, _score(live, name), style))
    return found


def _score(evaluation: Evaluation, name: Any) -> Array:
    assert evaluation.probability is not None
    score: Array = evaluation.probability[:, evaluation.classes.index(name)]
    return score


def _roc(shown: list[Ranking], most: str) -> Plot:
    figure, axes = one_plot(height=3.6 + 0.08 * len(shown))
    areas = []
    for item in shown:
        false, true, _ = sk.roc_curve(item.event, item.score)
        areas.append(f"{item.name} (area {sk.auc(false, true):.3f})")
        axes.plot(false, true, zorder=3, **item.style)
    legend(figure, axes.lines, areas)
    axes.plot([0, 1], [0, 1], color=MUTED, linestyle=":", linewidth=1)
    _unit_square(axes, "share of the others flagged (false alarms)", "share of the class found")
    return Plot(
        "ROC curve",
        f"ROC curve: {'; '.join(areas)}",
        "What finding more of a class costs in false alarms as the threshold falls. Good curves "
        f"hug the upper left corner; guessing follows the dotted line.{most}",
        svg(figure),
    )


def _precision_recall(shown: list[Ranking], most: str) -> Plot:
    figure, axes = one_plot(height=3.6 + 0.08 * len(shown))
    areas = []
    for item in shown:
        precision, recall, _ = sk.precision_recall_curve(item.event, item.score)
        average = sk.average_precision_score(item.event, item.score)
        areas.append(f"{item.name} (average {average:.3f})")
        axes.step(recall, precision, where="post", zorder=3, **item.style)
    legend(figure, axes.lines, areas)
    _unit_square(axes, "share of the class found (recall)", "share of alarms right (precision)")
    return Plot(
        "Precision-recall curve",
        f"Precision-recall curve: {'; '.join(areas)}",
        "How far alarms can be trusted as more of a class is to be found. Good curves stay at the "
        f"top; guessing is right as often as the class is common.{most}",
        svg(figure),
    )


class Claims(NamedTuple):
    """Rows by the tenth in which their probability lies: how many, how many came true (`hits`),
    and the mean probability (`said`); `used` tells which of the ten hold rows.
    """

    rows: Array
    hits: Array
    said: Array
    used: Array


def _calibration(evaluation: Evaluation, live: Evaluation | None) -> Plot:
    two = len(evaluation.classes) == 2
    positive = evaluation.shown if two else None
    names = (label(positive), "the other class") if two else ("right", "wrong")
    meaning = f"the probability of {f'“{names[0]}”' if two else 'the likeliest class'}"
    rows, hits, said, used = _claims(evaluation, positive)
    figure = canvas(height=4.2)
    upper, lower = figure.subplots(2, 1, sharex=True, height_ratios=[3, 1])
    low, high = wilson(hits, rows)
    share = hits / rows
    whiskers = np.clip([share - low, high - share], 0, None)
    upper.errorbar(said, share, whiskers, color=MAIN, elinewidth=1, zorder=3)
    upper.scatter(said, share, s=18, color=MAIN, zorder=3, clip_on=False)
    upper.plot([0, 1], [0, 1], color=MUTED, linestyle=":", linewidth=1)
    _unit_square(upper, "", "share that came true")
    edges = np.linspace(0, 0.9, 10)[used]
    drawn: list[Any] = [
        lower.bar(edges, values, 0.1, bottom, align="edge", color=color)
        for values, color, bottom in ((hits, MAIN, 0), (rows - hits, MUTED, hits))
    ]
    other = None if live is None else _other_line(upper, live, positive)
    legend(figure, [*drawn, *([other] if other else [])], [*names, *(["live"] if other else [])])
    lower.set(xlabel=label(meaning, 60), ylabel="rows")
    lower.yaxis.set_major_locator(MaxNLocator(3, integer=True))
    return Plot(
        "Calibration",
        f"Calibration curve over a histogram of {meaning}, for {len(evaluation.truth)} "
        f"held-out rows{', with the curve of the live model' if other else ''}",
        "Whether probabilities mean what they say: of the rows given 80%, 80% should come true, "
        "on the dotted line. Whiskers are 95% intervals, long where rows are few; below, how many "
        "rows got which probability.",
        svg(figure),
    )


def _claims(evaluation: Evaluation, positive: Any) -> Claims:
    """Sort what is said of the class `positive`, of the likeliest class if it is None."""
    if positive is not None:
        score, event = _score(evaluation, positive), evaluation.truth == positive
    else:
        assert evaluation.probability is not None
        score, best = evaluation.probability.max(axis=1), evaluation.probability.argmax(axis=1)
        event = np.array([evaluation.classes[i] for i in best]) == evaluation.truth
    score = np.clip(score, 0, 1)
    tenth = np.clip(np.digitize(score, np.linspace(0, 1, 11)) - 1, 0, 9)
    rows = np.bincount(tenth, minlength=10)
    used = rows > 0
    hits, said = (np.bincount(tenth, of, minlength=10)[used] for of in (event, score))
    return Claims(rows[used], hits, said / rows[used], used)


def _other_line(axes: Axes, live: Evaluation, positive: Any) -> Line2D | None:
    if live.probability is None or (positive is not None and positive not in live.classes):
        return None
    found = _claims(live, positive)
    [line] = axes.plot(found.said, found.hits / found.rows, marker="o", color=OTHER, **DASHED)
    line.set_markersize(3)
    return line


def _unit_square(axes: Axes, xlabel: str, ylabel: str) -> None:
    axes.set(xlim=(0, 1), ylim=(0, 1.01), xlabel=xlabel, ylabel=ylabel)
    axes.xaxis.set_major_formatter(PercentFormatter(1))
    axes.yaxis.set_major_formatter(PercentFormatter(1))
