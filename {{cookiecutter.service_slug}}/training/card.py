"""The model card: one page that stands alone, by which a domain expert can judge the model."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from functools import cache
from typing import Any, NamedTuple

import msgspec
import numpy as np

from service.artifact import Histogram, Input, Manifest
from training import pages, plots
from training.confidence import Interval, intervals
from training.confusion import MAX_CLASSES, confusion, frequent_classes
from training.curves import curves
from training.evaluate import Evaluation
from training.figures import Plot
from training.gates import Gate
from training.intervals import wilson
from training.plots import label, number
from training.residuals import residuals

MAX_HISTOGRAMS = 30
MAX_CATEGORIES = 12


class Verdict(NamedTuple):
    """What came of a gate; `may_be` is the metric's interval if the bound lies within it."""

    gate: str
    reached: float
    passed: bool
    may_be: Interval | None


class ClassRow(NamedTuple):
    """How a class fares: its held-out rows and the share found, its answers and the share right."""

    name: str
    rows: int
    found: str
    answers: int
    right: str


class Spread(NamedTuple):
    """An input, its histogram, and the share of rows in which it is missing."""

    input: Input
    plot: Plot
    missing: float


def render_card(manifest: Manifest, evaluation: Evaluation) -> str:
    """Return the page as HTML; the same for the same arguments.

    `manifest.files` may be empty: the card itself is one of the files.
    """
    return TEMPLATE.render(sections(manifest, evaluation, performance(evaluation)))


def performance(evaluation: Evaluation, live: Evaluation | None = None) -> list[Plot]:
    """Return the pictures in which the live model, judged on the same rows, may stand beside."""
    if evaluation.kind == "regression":
        return residuals(evaluation, live)
    return curves(evaluation, live)


def sections(manifest: Manifest, evaluation: Evaluation, pictures: list[Plot]) -> dict[str, Any]:
    """Return what card.html shows; `pictures` are those of `performance`."""
    found = intervals(evaluation, manifest.seed)
    if evaluation.kind == "classification":
        pictures = [confusion(evaluation), *pictures]
    if evaluation.importance:
        score = "accuracy" if evaluation.kind == "classification" else "R²"
        pictures = [*pictures, plots.importance(evaluation.importance, score)]
    return {
        "manifest": manifest,
        "evaluation": evaluation,
        "intervals": found,
        "verdicts": [_verdict(text, evaluation.metrics, found) for text in manifest.gates],
        "guess": _guess(evaluation),
        "classes": _class_rows(evaluation),
        "plots": pictures,
        "spreads": _spreads(manifest, evaluation),
    }


def _verdict(text: str, metrics: dict[str, float], found: dict[str, Interval]) -> Verdict:
    gate = Gate.parse(text)
    passed = gate.passes(metrics)
    interval = found.get(gate.metric)
    unsure = any(gate.passes({gate.metric: end}) != passed for end in interval or ())
    return Verdict(text, metrics[gate.metric], passed, interval if unsure else None)


def _guess(evaluation: Evaluation) -> str:
    """Return what a model that looks at no input would reach: without it no metric means much."""
    if evaluation.kind == "other":
        return ""
    truth = evaluation.truth
    weights = np.ones(len(truth)) if evaluation.weights is None else evaluation.weights
    if evaluation.kind == "regression":
        mean = np.average(truth, weights=weights)
        deviation = number(float(np.sqrt(np.average((truth - mean) ** 2, weights=weights))))
        return f"Always answering the mean would give an R² of 0 and an RMSE of {deviation}."
    if evaluation.positive is not None:
        share = np.average(truth == evaluation.positive, weights=weights)
        return f"Guessing would have a precision of {share:.1%}, at any recall."
    rows: Counter[Any] = Counter()
    for name, weight in zip(truth.tolist(), weights.tolist(), strict=True):
        rows[name] += weight
    [(name, weight)] = rows.most_common(1)
    share = weight / weights.sum()
    return f"Always answering “{label(name)}” would be right {share:.1%} of the time."


def _class_rows(evaluation: Evaluation) -> list[ClassRow]:
    found = []
    for name in frequent_classes(evaluation, MAX_CLASSES):
        true, said = evaluation.truth == name, evaluation.answer == name
        hits, rows, answers = (int(np.sum(mask)) for mask in (true & said, true, said))
        found.append(ClassRow(str(name), rows, _share(hits, rows), answers, _share(hits, answers)))
    return found


def _share(hits: int, rows: int) -> str:
    if not rows:
        return "–"
    low, high = wilson(hits, rows)
    return f"{hits / rows:.1%} ({low:.0%}–{high:.0%})"


def _spreads(manifest: Manifest, evaluation: Evaluation) -> list[Spread]:
    """Return the most important inputs, as they are spread over all rows."""
    inputs = {item.name: item for item in manifest.inputs}
    histograms = manifest.baseline.inputs
    names = dict.fromkeys([*(item.name for item in evaluation.importance), *inputs])
    found = []
    for name in [name for name in names if name in histograms][:MAX_HISTOGRAMS]:
        histogram = histograms[name]
        missing = histogram.nulls / manifest.data.rows
        plot = _histogram(name, msgspec.json.encode(histogram))
        found.append(Spread(inputs[name], plot, missing))
    return found


@cache  # card and report show the same
def _histogram(name: str, found: bytes) -> Plot:
    return plots.histogram(name, msgspec.json.decode(found, type=Histogram))


def _allowed(item: Input) -> str:
    """Return in words what values an input had."""
    if item.minimum is not None and item.maximum is not None:
        ends = number(item.minimum), number(item.maximum)
        return f"always {ends[0]}" if item.minimum == item.maximum else " to ".join(ends)
    if item.type == "bool":
        return "true, false"
    if item.type == "datetime":
        return "any date and time"
    if item.categories is None or not item.public:
        return "any text"
    more = len(item.categories) - MAX_CATEGORIES
    shown = ", ".join(item.categories[:MAX_CATEGORIES])
    return f"{shown} and {more} more" if more > 0 else shown


def _interval(found: Interval) -> str:
    return " to ".join(number(end, 3) for end in found)


FILTERS: dict[str, Callable[..., str]] = {
    "number": number,
    "interval": _interval,
    "allowed": _allowed,
}
TEMPLATE = pages.load(pages.TEMPLATES / "card.html", **FILTERS)
