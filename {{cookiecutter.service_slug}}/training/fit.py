"""Fitting an estimator of any library: with what its `fit` takes, and never a second time."""

from __future__ import annotations

import inspect
from typing import Any

import numpy as np
import pandas as pd

from training.data import Data
from training.errors import TrainingError, owners

NUMBERS_WANTED = (
    "if the estimator wants numbers for classes, return numbers as the truth in load_data and as "
    "the first field in predict"
)


def build(user: Any) -> Any:
    """Return the owner's estimator; raises TrainingError if `build` returns none."""
    with owners("build"):
        estimator = user.build()
    if estimator is None or inspect.isclass(estimator):
        name = "nothing" if estimator is None else f"the class {estimator.__name__}"
        what = f"{estimator.__name__}()" if inspect.isclass(estimator) else "return it"
        raise TrainingError(f"build: returned {name}, expected an estimator: {what}")
    return estimator


def is_fitted(estimator: Any) -> bool:
    """Tell whether the estimator has learnt already; what has no `fit` has."""
    if not hasattr(estimator, "fit"):
        return True
    if steps := getattr(estimator, "steps", None):  # of a pipeline
        return is_fitted(steps[-1][1])
    for name in ("__sklearn_is_fitted__", "is_fitted"):  # of scikit-learn, of CatBoost
        if callable(asked := getattr(estimator, name, None)):
            return bool(asked())
    own = getattr(estimator, "__dict__", {})
    return any(name.endswith("_") and not name.startswith("_") for name in own)


def fit(estimator: Any, data: Data) -> list[str]:
    """Fit the estimator to the rows; returns a line for whatever it does not take."""
    arguments: dict[str, Any] = {}
    lines = []
    keyword, hint = groups_argument(estimator), ""
    if data.group is not None and keyword:
        codes = pd.factorize(data.group)[0]
        order = np.argsort(codes, kind="stable")  # rankers want a group's rows in one piece
        data, codes = data.take(order), codes[order]
        sizes = keyword.split("__")[-1] == "group"
        arguments[keyword] = np.bincount(codes) if sizes else codes
    elif keyword:
        hint = '; set GROUP = "column" for its groups'
    if data.weights is not None:
        if name := _argument(estimator, "sample_weight"):
            arguments[name] = data.weights.to_numpy()
        else:
            kind = type(estimator).__name__
            lines.append(f"{kind} takes no weights in fit: they count in the metrics alone")
    examples = [data.frame]
    if data.truth is not None and _takes_truth(estimator):
        examples.append(data.truth)  # type: ignore[arg-type]
    try:
        with owners("fit", hint):
            estimator.fit(*examples, **arguments)
    except TrainingError as error:
        classes = set(data.truth.map(str)) if isinstance(data.truth, pd.Series) else set()
        if any(repr(name) in str(error) for name in classes):
            raise TrainingError(f"{error}; {NUMBERS_WANTED}", error.trace) from error
        raise
    return lines


def groups_argument(estimator: Any) -> str | None:
    """Return the name under which a ranker's `fit` takes each row's group; None for no ranker."""
    names = (_argument(estimator, name) for name in ("qid", "group_id", "group"))
    return next(filter(None, names), None)


def _argument(estimator: Any, name: str) -> str | None:
    """Return what `name` is called in the estimator's `fit`, which may hand it on to another."""
    if steps := getattr(estimator, "steps", None):
        step, last = steps[-1]
        inner = _argument(last, name)
        return f"{step}__{inner}" if inner else None
    parameters = _parameters(estimator)
    if name in parameters:
        return name
    inner = getattr(estimator, "estimator", None) or getattr(estimator, "regressor", None)
    hands_on = any(p.kind is p.VAR_KEYWORD for p in parameters.values())
    return _argument(inner, name) if hands_on and inner is not None else None


def _takes_truth(estimator: Any) -> bool:
    positional = (inspect.Parameter.POSITIONAL_ONLY, inspect.Parameter.POSITIONAL_OR_KEYWORD)
    parameters = _parameters(estimator).values()
    several = any(p.kind is p.VAR_POSITIONAL for p in parameters)
    return several or sum(p.kind in positional for p in parameters) != 1


def _parameters(estimator: Any) -> dict[str, inspect.Parameter]:
    try:
        return dict(inspect.signature(estimator.fit).parameters)
    except (AttributeError, TypeError, ValueError):  # no `fit`, or one that is not Python's
        return {}
