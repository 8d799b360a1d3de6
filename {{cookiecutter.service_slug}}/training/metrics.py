"""The metrics of answers whose truth is known; those that cannot be told are left out."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
from sklearn import metrics as sk

Array = np.ndarray[Any, Any]


def classification(
    truth: Array,
    answer: Array,
    probability: Array | None,
    classes: list[Any],
    weights: Array | None = None,
    positive: Any = None,
) -> dict[str, float]:
    """Return the metrics, those of the class `positive` first if there is such.

    `probability`: a row per row and a column per class of `classes`, None if the model gives none.
    """
    hot = one_hot(truth, classes)
    macro: Any = {"average": "macro", "zero_division": 0}  # the mean over the classes kept aside
    found: dict[str, Any] = {}
    if positive is not None:
        score = None if probability is None else probability[:, classes.index(positive)]
        found |= _of_class(truth == positive, answer == positive, score, weights)
    found["accuracy"] = sk.accuracy_score(truth, answer, sample_weight=weights)
    # Areas under curves are undefined unless every class was kept aside at least once.
    if probability is not None and hot.any(axis=0).all() and not hot.all(axis=0).any():
        found["roc_auc"] = sk.roc_auc_score(hot, probability, sample_weight=weights)
        if positive is None:
            found["average_precision"] = sk.average_precision_score(
                hot, probability, sample_weight=weights
            )
    found["precision_macro"] = sk.precision_score(truth, answer, sample_weight=weights, **macro)
    found["recall_macro"] = sk.recall_score(truth, answer, sample_weight=weights, **macro)
    found["f1_macro"] = sk.f1_score(truth, answer, sample_weight=weights, **macro)
    if probability is not None:
        # A class that the model does not know has probability 0, of which there is no logarithm.
        said = np.clip((probability * hot).sum(axis=1), np.finfo(probability.dtype).eps, 1)
        found["log_loss"] = 0.0 - np.average(np.log(said), weights=weights)
        if len(classes) == 2:
            errors = (probability[:, 1] - hot[:, 1]) ** 2
            found["brier_score"] = np.average(errors, weights=weights)
    return _told(found)


def regression(truth: Array, answer: Array, weights: Array | None = None) -> dict[str, float]:
    """Return the metrics; all but r2 are in units of the truth."""
    found: dict[str, Any] = {}
    if len(truth) > 1:
        found["r2"] = sk.r2_score(truth, answer, sample_weight=weights)
    found["mae"] = sk.mean_absolute_error(truth, answer, sample_weight=weights)
    found["rmse"] = sk.root_mean_squared_error(truth, answer, sample_weight=weights)
    found["median_error"] = sk.median_absolute_error(truth, answer, sample_weight=weights)
    found["max_error"] = sk.max_error(truth, answer)
    return _told(found)


def one_hot(truth: Array, classes: list[Any]) -> Array:
    """Return a row per row of `truth` and a column per class: True where it is the row's class."""
    found: Array = truth[:, None] == np.asarray(classes)[None, :]
    return found


def _of_class(
    true: Array, said: Array, score: Array | None, weights: Array | None
) -> dict[str, float]:
    weight = np.ones(len(true)) if weights is None else weights
    hits, answers, rows = (weight[mask].sum() for mask in (true & said, said, true))
    found = {"precision": hits / answers if answers else 0.0}
    if rows:
        found["recall"] = hits / rows
        if score is not None:
            found["average_precision"] = sk.average_precision_score(
                true, score, sample_weight=weights
            )
    return found


def _told(found: dict[str, Any]) -> dict[str, float]:
    numbers = {name: float(value) for name, value in found.items()}
    return {name: value for name, value in numbers.items() if math.isfinite(value)}
