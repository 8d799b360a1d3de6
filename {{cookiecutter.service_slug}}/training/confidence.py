"""How sure the metrics are: the intervals in which their true values lie."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd
from sklearn import metrics as sk

from training.evaluate import Array, Evaluation
from training.intervals import bootstrap, wilson
from training.metrics import one_hot

Interval = tuple[float, float]  # where the true value of a metric lies, with 95% confidence


def intervals(evaluation: Evaluation, seed: int) -> dict[str, Interval]:
    """Return the intervals of those metrics that have one; the fewer the rows, the wider it is."""
    truth, answer, weights = evaluation.truth, evaluation.answer, evaluation.weights
    found: dict[str, Interval | None] = {}

    def resampled(measure: Any) -> Interval | None:
        if weights is None:
            return bootstrap(measure, seed, truth, answer)
        return bootstrap(
            lambda t, a, w: float(measure(t, a, sample_weight=w)), seed, truth, answer, weights
        )

    if evaluation.kind == "regression":
        found["r2"] = resampled(sk.r2_score)
        found["mae"] = resampled(sk.mean_absolute_error)
        found["rmse"] = resampled(sk.root_mean_squared_error)
    elif evaluation.kind == "classification" and weights is not None:
        found["accuracy"] = resampled(sk.accuracy_score)
    elif evaluation.kind == "classification":
        found["accuracy"] = _share(truth == answer)
        if evaluation.positive is not None:
            true, said = truth == evaluation.positive, answer == evaluation.positive
            found["precision"], found["recall"] = _share(true[said]), _share(said[true])
        if evaluation.probability is not None and "roc_auc" in evaluation.metrics:
            hot = one_hot(truth, evaluation.classes)
            found["roc_auc"] = bootstrap(_roc_auc, seed, hot, evaluation.probability)
    return {name: interval for name, interval in found.items() if interval}


def _share(hits: Array) -> Interval | None:
    if not len(hits):
        return None
    low, high = wilson(np.sum(hits), len(hits))
    return float(low), float(high)


def _roc_auc(hot: Array, probability: Array) -> float:
    """Return the mean area over the classes present, by ranks: scikit-learn's takes far longer."""
    ranks = pd.DataFrame(probability).rank().to_numpy()
    hits = hot.sum(axis=0)
    pairs = hits * (len(hot) - hits)
    above = (ranks * hot).sum(axis=0) - hits * (hits + 1) / 2
    return float(np.mean(above[pairs > 0] / pairs[pairs > 0])) if pairs.any() else np.nan
