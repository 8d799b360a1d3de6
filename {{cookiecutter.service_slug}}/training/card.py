"""The model card: one self-contained page that a domain expert can judge the model by."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
from jinja2 import Environment, StrictUndefined
from sklearn import metrics as sk

from service.artifact import Baseline, Data, Golden, Histogram, Input, Source
from training import plots
from training.evaluate import Array, Evaluation, Gate

MAX_HISTOGRAMS = 30
MAX_CATEGORIES = 12
MAX_EXAMPLES = 5

RESAMPLES = 300
# With fewer rows resampling promises too much; with more, the interval is too narrow to matter.
RESAMPLED_ROWS = range(10, 20_001)

# The first of each kind is the headline.
MEANINGS = {
    "accuracy": "Share of answers that are right.",
    "balanced_accuracy": "Share of right answers, each class counting the same however rare it is.",
    "precision_macro": "How often the model is right when it names a class; mean over classes.",
    "recall_macro": "How much of a class the model finds; mean over classes.",
    "f1_macro": "Precision and recall in one number, low if either is; mean over classes.",
    "roc_auc": "How often a row of a class is ranked above one of another: 1 is always, 0.5 guessing.",
    "average_precision": "Precision averaged over all shares of a class to be found; mean over classes.",
    "log_loss": "Penalty for probability given to wrong classes, harsh on the overconfident; 0 is best.",
    "brier_score": "Mean squared error of the probabilities; 0 is best.",
    "r2": "Share of the target's variation that the answers explain: 1 is all, 0 no better than "
    "always answering the mean.",
    "rmse": "Typical error in units of the target; large errors weigh more.",
    "mae": "Mean error in units of the target, regardless of sign.",
    "median_error": "Half of the answers are closer to the truth than this.",
    "max_error": "The worst answer is off by this much.",
}


@dataclass(frozen=True)
class Facts:
    """What the card says besides the evaluation. `baseline` describes the `rows_train` rows."""

    name: str
    version: str
    created_at: str
    origin: str
    source: Source
    data: Data
    seed: int
    rows_train: int
    inputs: list[Input]
    gates: list[str]
    baseline: Baseline
    golden: Golden
    runtime: dict[str, str]


class Interval(NamedTuple):
    """Where a metric's true value lies, with 95 % confidence."""

    low: float
    high: float


class Verdict(NamedTuple):
    gate: Gate
    value: float
    passed: bool
    unsure: bool  # the bound lies in the interval


class ClassRow(NamedTuple):
    name: str
    rows: int
    found: str
    answers: int
    right: str


class Spread(NamedTuple):
    """How an input's values are spread: a plot, unless there are none."""

    input: Input
    nulls: float
    plot: plots.Plot | None


def render_card(facts: Facts, evaluation: Evaluation) -> str:
    """Return the page; the same for the same arguments."""
    intervals = _intervals(evaluation, facts.seed)
    score = "accuracy" if evaluation.kind == "classification" else "R²"
    figures = plots.performance(evaluation)
    return PAGE.render(
        facts=facts,
        evaluation=evaluation,
        rows=len(evaluation.truth),
        verdicts=[_verdict(text, evaluation, intervals) for text in facts.gates],
        metrics=[(name, evaluation.metrics[name]) for name in _by_weight(evaluation.metrics)],
        meanings=MEANINGS,
        intervals=intervals,
        guess=_guess(evaluation),
        classes=_class_rows(evaluation),
        figures=figures + [plots.importance(evaluation.importance, score)],
        spreads=_spreads(facts, evaluation),
        examples=list(zip(facts.golden.instances, facts.golden.predictions, strict=True)),
        MAX_EXAMPLES=MAX_EXAMPLES,
    )


def _by_weight(metrics: dict[str, float]) -> list[str]:
    known = list(MEANINGS)
    return sorted(metrics, key=lambda name: known.index(name) if name in known else len(known))


def _verdict(text: str, evaluation: Evaluation, intervals: dict[str, Interval]) -> Verdict:
    gate = Gate.parse(text)
    ends = intervals.get(gate.metric, ())
    return Verdict(
        gate,
        evaluation.metrics[gate.metric],
        gate.passes(evaluation.metrics),
        len({gate.passes({gate.metric: end}) for end in ends}) == 2,
    )


def _intervals(evaluation: Evaluation, seed: int) -> dict[str, Interval]:
    """Return how far the metrics may be off for want of held-out rows, where that is known."""
    truth, answer, probability = evaluation.truth, evaluation.answer, evaluation.probability
    if evaluation.kind == "regression":
        error, target = answer.astype(float) - truth.astype(float), truth.astype(float)
        measures: dict[str, Callable[[Array], float]] = {
            "r2": lambda rows: 1 - np.mean(error[rows] ** 2) / np.var(target[rows]),
            "rmse": lambda rows: np.sqrt(np.mean(error[rows] ** 2)),
            "mae": lambda rows: np.mean(np.abs(error[rows])),
        }
        return _bootstrap(measures, len(truth), seed)
    low, high = plots.wilson(np.sum(truth == answer), np.array(len(truth)))
    found = {"accuracy": Interval(float(low), float(high))}
    if probability is not None:
        event = truth[:, None] == np.asarray(evaluation.classes)[None, :]
        found |= _bootstrap({"roc_auc": lambda rows: 0.0}, len(truth), seed)
    return found


def _class_rows(evaluation: Evaluation) -> list[ClassRow]:
    found = []
    for name in plots.frequent_classes(evaluation, plots.MAX_CLASSES):
        true, said = evaluation.truth == name, evaluation.answer == name
        hits, rows, answers = (int(np.sum(mask)) for mask in (true & said, true, said))
        found.append(ClassRow(str(name), rows, _share(hits, rows), answers, _share(hits, answers)))
    return found
