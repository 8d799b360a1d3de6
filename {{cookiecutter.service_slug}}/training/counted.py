"""The metrics of many resamples of the held-out rows at once: one by one, they would take minutes.

A resample is how often each row counts, 0 times or more. Its metrics are those that
training/metrics.py tells of rows repeated so often; areas are means over the classes present.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from training.evaluate import Array, Evaluation
from training.metrics import one_hot

Formula = Callable[[Evaluation, Array], Array]


def measure(metric: str, evaluation: Evaluation, counts: Array) -> Array:
    """Return the metric of each resample; NaN where it is undefined.

    `counts`: resamples x rows. `metric`: one of FORMULAS that the evaluation has.
    """
    weights = counts if evaluation.weights is None else counts * evaluation.weights
    with np.errstate(divide="ignore", invalid="ignore"):
        found = FORMULAS[metric](evaluation, weights)
    defined: Array = np.where(np.isfinite(found), found, np.nan)
    return defined


def _mean(weights: Array, values: Array) -> Array:
    found: Array = weights @ values / weights.sum(axis=1)
    return found


def _errors(evaluation: Evaluation) -> Array:
    found: Array = np.abs(evaluation.truth.astype(float) - evaluation.answer.astype(float))
    return found


def _r2(evaluation: Evaluation, weights: Array) -> Array:
    truth = evaluation.truth.astype(float)
    truth -= truth.mean()  # near 0, where squares are exact
    spread = _mean(weights, truth**2) - _mean(weights, truth) ** 2
    found: Array = 1 - _mean(weights, _errors(evaluation) ** 2) / spread
    return found


def _median_error(evaluation: Evaluation, weights: Array) -> Array:
    errors = _errors(evaluation)
    order = np.argsort(errors)
    below = np.take(weights, order, axis=1).cumsum(axis=1)
    half = below[:, -1:] / 2
    lower, upper = (compare(below, half).sum(axis=1) for compare in (np.less, np.less_equal))
    found: Array = (errors[order][lower] + errors[order][upper]) / 2
    return found


def _precision(evaluation: Evaluation, weights: Array) -> Array:
    said = evaluation.answer == evaluation.positive
    found = _mean(weights[:, said], evaluation.truth[said] == evaluation.positive)
    return np.nan_to_num(found)


def _recall(evaluation: Evaluation, weights: Array) -> Array:
    true = evaluation.truth == evaluation.positive
    return _mean(weights[:, true], evaluation.answer[true] == evaluation.positive)


def _macro(of_class: Callable[[Array, Array, Array], Array]) -> Formula:
    """Return the mean over classes that are true or said somewhere, 0 where one is undefined.

    `of_class` gets the weight of rows where the class is both, is said, and is true.
    """

    def formula(evaluation: Evaluation, weights: Array) -> Array:
        total = present = np.zeros(len(weights))
        for name in evaluation.classes:
            true, said = evaluation.truth == name, evaluation.answer == name
            both, said, true = (weights @ rows for rows in (true & said, said, true))
            total = total + np.nan_to_num(of_class(both, said, true))
            present = present + (said + true > 0)
        return total / present

    return formula


def _log_loss(evaluation: Evaluation, weights: Array) -> Array:
    probability: Any = evaluation.probability
    said = (probability * one_hot(evaluation.truth, evaluation.classes)).sum(axis=1)
    return -_mean(weights, np.log(np.clip(said, np.finfo(probability.dtype).eps, 1)))


def _brier_score(evaluation: Evaluation, weights: Array) -> Array:
    probability: Any = evaluation.probability
    return _mean(weights, (probability[:, 1] - (evaluation.truth == evaluation.classes[1])) ** 2)


def _area(of_ranks: Callable[[Array, Array], Array], of_positive: bool = False) -> Formula:
    """Return the mean of an area under curves over the classes, or that of the positive one.

    `of_ranks` gets the weight of rows of the class, and of others, at each distinct probability,
    in ascending order (resamples x probabilities). Classes where it is undefined count for nothing.
    """

    def formula(evaluation: Evaluation, weights: Array) -> Array:
        probability: Any = evaluation.probability
        total = defined = np.zeros(len(weights))
        for column, name in enumerate(evaluation.classes):
            if of_positive and evaluation.positive not in (None, name):
                continue
            order = np.argsort(probability[:, column])
            score = probability[order, column]
            starts = np.flatnonzero(np.diff(score, prepend=-1.0))  # equal ones stand at one place
            every = np.take(weights, order, axis=1)
            true = every * (evaluation.truth[order] == name)
            if len(starts) < len(order):
                every, true = (np.add.reduceat(part, starts, axis=1) for part in (every, true))
            area = of_ranks(true, every - true)
            total, defined = total + np.nan_to_num(area), defined + np.isfinite(area)
        return total / defined

    return formula


def _above_others(true: Array, false: Array) -> Array:
    """Return how likely a row of the class stands above another; equal ones count half."""
    below = false.cumsum(axis=1) - false / 2
    found: Array = (true * below).sum(axis=1) / (true.sum(axis=1) * false.sum(axis=1))
    return found


def _precision_over_recall(true: Array, false: Array) -> Array:
    """Return the sum of precisions at each threshold, times the recall that it adds."""
    hits, misses = (part[:, ::-1].cumsum(axis=1)[:, ::-1] for part in (true, false))
    found: Array = (true * np.nan_to_num(hits / (hits + misses))).sum(axis=1) / true.sum(axis=1)
    return found


FORMULAS: dict[str, Formula] = {
    "accuracy": lambda e, weights: _mean(weights, e.truth == e.answer),
    "precision": _precision,
    "recall": _recall,
    "precision_macro": _macro(lambda both, said, true: both / said),
    "recall_macro": _macro(lambda both, said, true: both / true),
    "f1_macro": _macro(lambda both, said, true: 2 * both / (said + true)),
    "roc_auc": _area(_above_others),
    "average_precision": _area(_precision_over_recall, of_positive=True),
    "log_loss": _log_loss,
    "brier_score": _brier_score,
    "r2": _r2,
    "mae": lambda e, weights: _mean(weights, _errors(e)),
    "rmse": lambda e, weights: np.sqrt(_mean(weights, _errors(e) ** 2)),
    "median_error": _median_error,
    "max_error": lambda e, weights: np.max(np.where(weights > 0, _errors(e), 0), axis=1),
}
