"""How good the model is on the data kept aside: metrics, what they rest on, and the gates."""

from __future__ import annotations

import operator
import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
import pandas as pd
from sklearn import metrics as sk
from sklearn.base import is_classifier
from sklearn.inspection import permutation_importance

from training.errors import TrainingError

IMPORTANCE_ROWS = 1000
IMPORTANCE_REPEATS = 5

Array = np.ndarray[Any, Any]


@dataclass(frozen=True)
class Importance:
    """How much the score drops when one input is shuffled: mean and deviation over the repeats."""

    name: str
    mean: float
    deviation: float


@dataclass(frozen=True)
class Evaluation:
    """The model on the held-out rows.

    `truth` and `answer` (what `predict` serves) have one entry a row; `probability` has a column
    for each of `classes`, and is None for a regression or a classifier without predict_proba.
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
    """Judge `answer`, what the service would say to the rows of `frame`, by `truth`."""
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
    importance = [
        Importance(name, float(mean), float(deviation))
        for name, mean, deviation in zip(
            frame.columns, drop.importances_mean, drop.importances_std, strict=True
        )
    ]
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


def _classification(
    truth: Array, answer: Array, probability: Array | None, classes: list[Any]
) -> dict[str, float]:
    macro: Any = {"average": "macro", "zero_division": 0}  # means over the classes kept aside
    found = {
        "accuracy": sk.accuracy_score(truth, answer),
        "precision_macro": sk.precision_score(truth, answer, **macro),
        "recall_macro": sk.recall_score(truth, answer, **macro),
        "f1_macro": sk.f1_score(truth, answer, **macro),
    }
    if probability is not None:
        found["log_loss"] = sk.log_loss(truth, probability, labels=classes)
        one_hot = truth[:, None] == np.asarray(classes)[None, :]
        if one_hot.any(axis=0).all():  # undefined unless every class was kept aside at least once
            found["roc_auc"] = sk.roc_auc_score(one_hot, probability, average="macro")
            found["average_precision"] = sk.average_precision_score(one_hot, probability)
        if len(classes) == 2:
            found["brier_score"] = sk.brier_score_loss(one_hot[:, 1], probability[:, 1])
    return {name: float(value) for name, value in found.items()}


def _regression(truth: Array, answer: Array) -> dict[str, float]:
    found = {
        "r2": sk.r2_score(truth, answer),
        "rmse": sk.root_mean_squared_error(truth, answer),
        "mae": sk.mean_absolute_error(truth, answer),
        "median_error": sk.median_absolute_error(truth, answer),
        "max_error": sk.max_error(truth, answer),
    }
    return {name: float(value) for name, value in found.items()}


@dataclass(frozen=True)
class Gate:
    """A condition on a metric that the model must meet, written like "accuracy >= 0.95"."""

    text: str
    metric: str
    compare: Any
    bound: float

    @classmethod
    def parse(cls, text: str) -> Gate:
        match = re.fullmatch(r"\s*(\w+)\s*(>=|<=)\s*(\S+)\s*", text)
        try:
            name, sign, bound = match.groups() if match else ("", "", "")
            return cls(text, name, operator.ge if sign == ">=" else operator.le, float(bound))
        except ValueError:
            raise TrainingError(
                f"GATES: {text!r} is not of the form 'accuracy >= 0.95' or 'rmse <= 60'"
            ) from None

    def passes(self, metrics: dict[str, float]) -> bool:
        if self.metric not in metrics:
            raise TrainingError(f"GATES: no metric {self.metric!r}; there are {', '.join(metrics)}")
        return bool(self.compare(metrics[self.metric], self.bound))
