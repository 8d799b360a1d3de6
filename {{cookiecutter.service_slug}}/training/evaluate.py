"""How good the model is on the data kept aside."""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import joblib
import numpy as np
import pandas as pd

from service.record import Answer
from training import metrics
from training.data import Data
from training.errors import TrainingError, in_one_line, owners
from training.kinds import Kind, classes_of, kind_of, strata

Array = np.ndarray[Any, Any]
Judge = Callable[[Any, pd.DataFrame, pd.DataFrame], Any]
OwnMeasure = Callable[[Array], dict[str, float]]  # the owner's metrics at positions of rows
MOST_NAMED = 10
RARE = 0.1  # the share of rows below which the rarer of two classes wants metrics of its own


@dataclass(frozen=True)
class Importance:
    """How much the score drops when one input is shuffled: mean and deviation over the repeats.

    The score is that of the answers' first field: accuracy of a classification, R² of a regression.
    """

    name: str
    mean: float
    deviation: float


@dataclass(frozen=True)
class Evaluation:
    """What the model made of the held-out rows, and how good that is.

    `truth` and `answer` (the first field that `predict` returns) have one entry per row of `frame`,
    and none for the kind "other". `probability` has a row per row and a column per class, and is
    None for all but classifiers with a predict_proba. `classes` is empty for all but
    classifications. `metrics` are in the order of the card, the headline first; `importance` has
    the largest first. `notes` are lines for whoever judges the model.
    """

    kind: Kind
    classes: list[Any]
    frame: pd.DataFrame
    truth: Array
    answer: Array
    probability: Array | None
    metrics: dict[str, float]
    importance: list[Importance]
    weights: Array | None = None
    positive: Any = None
    notes: list[str] = field(default_factory=list)

    @property
    def shown(self) -> Any:
        """Of two classes, the one that pictures are about."""
        return self.classes[1] if self.positive is None else self.positive


class _NotComparable(TrainingError):
    """The first field of the answers is nothing that the truth could be."""


def evaluate(
    model: Any,
    kept: Data,
    answers: Sequence[Answer],
    *,
    truth: Any = None,
    positive: Any = None,
    judge: Judge | None = None,
) -> Evaluation:
    """Judge `answers`, what the service would say to each row of `kept`.

    `truth`: that of all rows, for the classes; None if it is that of `kept`. The answers' first
    field is compared with the truth; `judge`, the owner's, adds metrics of its own, and alone
    judges what cannot be compared. Raises TrainingError for answers that cannot be judged.
    """
    said = _as_array([next(iter(answer.values())) for answer in answers])
    try:
        found = _compare(model, kept, said, kept.truth if truth is None else truth, positive)
    except _NotComparable:
        if judge is None:
            raise
        found = _nothing(kept)
    if judge is not None:
        found.metrics.update(_judged(judge, kept, pd.DataFrame(list(answers))))
    return found


def judged_at(judge: Judge, kept: Data, answers: Sequence[Answer]) -> OwnMeasure:
    """Return what tells the owner's metrics of some of the rows of `kept`, by their positions."""
    table = pd.DataFrame(list(answers))
    return lambda rows: _judged(judge, kept.take(rows), table.iloc[rows].reset_index(drop=True))


def _compare(model: Any, kept: Data, said: Array, truth: Any, positive: Any) -> Evaluation:
    if positive is not None and not isinstance(truth, pd.Series):
        raise TrainingError("POSITIVE: load_data gives no truth in which it could be a class")
    kind = kind_of(model, truth, positive)
    if kind == "other" or kept.truth is None:
        return _nothing(kept)
    target = kept.truth.to_numpy()
    weights = None if kept.weights is None else kept.weights.to_numpy()
    classes: list[Any] = []
    probability = None
    notes: list[str] = []
    if kind == "classification":
        classes, own = classes_of(model, truth)
        if positive is not None and positive not in classes:
            raise TrainingError(f"POSITIVE: {positive!r} is none of the classes {_few(classes)}")
        _refuse_other_classes(said, classes)
        if own:
            probability, notes = _probability(model, kept.frame, len(classes))
        values = metrics.classification(target, said, probability, classes, weights, positive)
        rare = min(classes, key=target.tolist().count) if len(classes) == 2 else None
        if positive is None and rare is not None and np.mean(target == rare) < RARE:
            notes.append(
                f"class {rare} is rare: set POSITIVE to measure it, since means over both classes "
                "flatter a model that never finds it"
            )
    else:
        if said.dtype.kind not in "biuf":
            odd = next(value for value in said.tolist() if not isinstance(value, int | float))
            raise _NotComparable(
                f"predict: its first field must hold a number, as the truth does; got {odd!r}"
            )
        values = metrics.regression(target, said, weights)
        if strata(model, truth) is not None:
            notes.append(
                "judged as a regression, since the truth is numbers and the model has no classes_; "
                'if they are names of classes, return them as text: "1"'
            )
    return Evaluation(
        kind=kind,
        classes=classes,
        frame=kept.frame,
        truth=target,
        answer=said,
        probability=probability,
        metrics=values,
        importance=[],
        weights=weights,
        positive=positive,
        notes=notes,
    )


def _nothing(kept: Data) -> Evaluation:
    """Return the evaluation of answers that cannot be compared with any truth."""
    none = np.empty(0)
    return Evaluation("other", [], kept.frame, none, none, None, {}, [])


def _refuse_other_classes(said: Array, classes: list[Any]) -> None:
    known = set(classes)
    for value in said.tolist():
        if isinstance(value, list | dict) or value not in known:
            raise _NotComparable(
                f"predict: its first field must hold the class as the truth has it, one of "
                f"{_few(classes)}; got {value!r}. Return that first, then what you like"
            )


def _few(classes: list[Any]) -> str:
    more = f" and {len(classes) - MOST_NAMED} more" if len(classes) > MOST_NAMED else ""
    return ", ".join(map(repr, classes[:MOST_NAMED])) + more


def _as_array(values: list[Any]) -> Array:
    """Return one entry per value, whatever the values are."""
    if any(isinstance(value, list | dict) or value is None for value in values):
        array = np.empty(len(values), dtype=object)
        array[:] = values
        return array
    return np.asarray(values)


def _probability(model: Any, frame: pd.DataFrame, classes: int) -> tuple[Array | None, list[str]]:
    """Return predict_proba of the rows, with a column per class; None and a line if there is none.

    Classes that the model does not know come last, with a probability of 0.
    """
    if not hasattr(model, "predict_proba"):
        return None, []
    try:
        with joblib.parallel_config("sequential"):
            found = np.asarray(model.predict_proba(frame), dtype=np.float64)
    except Exception as error:
        return None, [f"no curves: predict_proba of load_data's columns: {in_one_line(error)}"]
    known = len(model.classes_)
    if found.shape != (len(frame), known) or not np.isfinite(found).all():
        return None, [f"no curves: predict_proba has shape {found.shape}, or gaps"]
    return np.hstack([found, np.zeros((len(frame), classes - known))]), []


def _judged(judge: Judge, kept: Data, answers: pd.DataFrame) -> dict[str, float]:
    # With the columns of GROUP and TIME: rankings are judged by group.
    split_by = {str(c.name): c for c in (kept.group, kept.time) if c is not None}
    with owners("judge"):
        found = judge(kept.truth, answers, kept.frame.assign(**split_by))
    if not isinstance(found, Mapping):
        raise TrainingError(
            f'judge: returned {type(found).__name__}, expected {{"name of a metric": number}}'
        )
    values = {}
    for name, value in found.items():
        if not isinstance(name, str) or not re.fullmatch(r"\w+", name):
            raise TrainingError(f"judge: metric {name!r}: use letters, digits and _ in names")
        with owners(f"judge: metric {name!r}"):
            values[name] = float(value)
        if not math.isfinite(values[name]):
            raise TrainingError(f"judge: metric {name!r} is {values[name]}; leave it out then")
    return values
