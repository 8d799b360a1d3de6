"""How good the model is on the data kept aside: metrics, and their intervals."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
import pandas as pd
from sklearn import metrics as sk
from sklearn.base import is_classifier
from sklearn.inspection import permutation_importance

from training.errors import TrainingError
from training.intervals import wilson

IMPORTANCE_ROWS = 1000
IMPORTANCE_REPEATS = 5

RESAMPLES = 300
MIN_RESAMPLED_ROWS = 10  # with fewer, an interval means little
MAX_RESAMPLED_VALUES = 20_000  # with more, it takes long

Array = np.ndarray[Any, Any]
Interval = tuple[float, float]  # where the true value of a metric lies, with 95% confidence


@dataclass(frozen=True)
class Importance:
    """How much the score drops when one input is shuffled: mean and deviation over the repeats.

    The score is the estimator's own: accuracy of a classifier, R² of a regression.
    """

    name: str
    mean: float
    deviation: float


@dataclass(frozen=True)
class Evaluation:
    """What the model made of the held-out rows, and how good that is.

    `truth` and `answer` (the first field that `predict` returns) have one entry per row of `frame`;
    `probability` has a row per row and a column per class, and is None for a regression or a
    classifier without predict_proba. `classes` is empty for a regression. `metrics` are in the
    order of the card, the headline first; `importance` has the largest first.
    """

    kind: Literal["classification", "regression"]
    classes: list[Any]
    frame: pd.DataFrame
    truth: Array
    answer: Array
    probability: Array | None
    metrics: dict[str, float]
    importance: list[Importance]


def evaluate(
    model: Any, frame: pd.DataFrame, truth: pd.Series[Any], answer: Sequence[Any], seed: int
) -> Evaluation:
    """Judge `answer`, what the service would say to each row of `frame`, by `truth`.

    Raises TrainingError if a classifier answers with something that is none of its classes.
    """
    target, said = truth.to_numpy(), np.asarray(answer)
    classes: list[Any] = []
    probability = None
    if is_classifier(model):
        classes = np.asarray(model.classes_).tolist()
        if unknown := set(said.tolist()) - set(classes):
            raise TrainingError(
                f"predict: its first field must hold the class, one of {classes}; got {unknown}"
            )
        if hasattr(model, "predict_proba"):
            probability = np.asarray(model.predict_proba(frame))
        metrics = _classification(target, said, probability, classes)
    else:
        metrics = _regression(target, said)
    sample = frame.sample(min(len(frame), IMPORTANCE_ROWS), random_state=seed)
    drop = permutation_importance(
        model, sample, truth.loc[sample.index], n_repeats=IMPORTANCE_REPEATS, random_state=seed
    )
    means, deviations = drop.importances_mean.tolist(), drop.importances_std.tolist()
    importance = map(Importance, frame.columns, means, deviations)
    return Evaluation(
        kind="classification" if classes else "regression",
        classes=classes,
        frame=frame,
        truth=target,
        answer=said,
        probability=probability,
        metrics=metrics,
        importance=sorted(importance, key=lambda item: -item.mean),
    )


def intervals(evaluation: Evaluation, seed: int) -> dict[str, Interval]:
    """Return the intervals of those metrics that have one; the fewer the rows, the wider it is."""
    truth, answer = evaluation.truth, evaluation.answer
    found: dict[str, Interval | None] = {}
    if evaluation.kind == "regression":
        found["r2"] = _bootstrap(sk.r2_score, truth, answer, seed)
        found["mae"] = _bootstrap(sk.mean_absolute_error, truth, answer, seed)
        found["rmse"] = _bootstrap(sk.root_mean_squared_error, truth, answer, seed)
    else:
        low, high = wilson(np.sum(truth == answer), len(truth))
        found["accuracy"] = float(low), float(high)
        if evaluation.probability is not None and "roc_auc" in evaluation.metrics:
            one_hot = _one_hot(truth, evaluation.classes)
            found["roc_auc"] = _bootstrap(_roc_auc, one_hot, evaluation.probability, seed)
    return {name: interval for name, interval in found.items() if interval}


def _classification(
    truth: Array, answer: Array, probability: Array | None, classes: list[Any]
) -> dict[str, float]:
    one_hot = _one_hot(truth, classes)
    macro: Any = {"average": "macro", "zero_division": 0}  # the mean over the classes kept aside
    found = {"accuracy": sk.accuracy_score(truth, answer)}
    # Areas under curves are undefined unless every class was kept aside at least once.
    if probability is not None and one_hot.any(axis=0).all():
        found["roc_auc"] = sk.roc_auc_score(one_hot, probability, average="macro")
        found["average_precision"] = sk.average_precision_score(one_hot, probability)
    found["precision_macro"] = sk.precision_score(truth, answer, **macro)
    found["recall_macro"] = sk.recall_score(truth, answer, **macro)
    found["f1_macro"] = sk.f1_score(truth, answer, **macro)
    if probability is not None:
        found["log_loss"] = sk.log_loss(truth, probability, labels=classes)
        if len(classes) == 2:
            found["brier_score"] = sk.brier_score_loss(one_hot[:, 1], probability[:, 1])
    return {name: float(value) for name, value in found.items()}


def _regression(truth: Array, answer: Array) -> dict[str, float]:
    found = {
        "r2": sk.r2_score(truth, answer),
        "mae": sk.mean_absolute_error(truth, answer),
        "rmse": sk.root_mean_squared_error(truth, answer),
        "median_error": sk.median_absolute_error(truth, answer),
        "max_error": sk.max_error(truth, answer),
    }
    return {name: float(value) for name, value in found.items()}


def _one_hot(truth: Array, classes: list[Any]) -> Array:
    """Return a row per row of `truth` and a column per class: True where it is the row's class."""
    one_hot: Array = truth[:, None] == np.asarray(classes)[None, :]
    return one_hot


def _bootstrap(
    measure: Callable[[Array, Array], float], truth: Array, answer: Array, seed: int
) -> Interval | None:
    """Return the interval of `measure` over resampled rows; None if resampling cannot tell it."""
    rows = len(truth)
    if rows < MIN_RESAMPLED_ROWS or answer.size > MAX_RESAMPLED_VALUES:
        return None
    draws = np.random.default_rng(seed).integers(0, rows, (RESAMPLES, rows))
    values = [measure(truth[draw], answer[draw]) for draw in draws]
    low, high = np.nanpercentile(values, [2.5, 97.5])
    # A perfect score stays perfect however often it is resampled, which says nothing.
    return (float(low), float(high)) if low < high else None


def _roc_auc(one_hot: Array, probability: Array) -> float:
    """Return the mean area over the classes present, by ranks: scikit-learn's takes far longer."""
    ranks = pd.DataFrame(probability).rank().to_numpy()
    hits = one_hot.sum(axis=0)
    pairs = hits * (len(one_hot) - hits)
    above = (ranks * one_hot).sum(axis=0) - hits * (hits + 1) / 2
    return float(np.mean(above[pairs > 0] / pairs[pairs > 0])) if pairs.any() else np.nan
