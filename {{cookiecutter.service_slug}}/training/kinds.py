"""What kind of model it is: by what it learnt and by the truth, never by its library."""

from __future__ import annotations

from typing import Any, Literal

import pandas as pd
from pandas.api import types

from training.fit import groups_argument

Kind = Literal["classification", "regression", "other"]
MAX_CODES = 20


def kind_of(model: Any, truth: Any, positive: Any = None) -> Kind:
    """Return the kind of a model, fitted or not, that is to answer with `truth`."""
    if not isinstance(truth, pd.Series):
        return "other"
    if positive is not None or _is_text(truth) or types.is_bool_dtype(truth.dtype):
        return "classification"
    if not types.is_numeric_dtype(truth.dtype):
        return "other"
    declared = _declared(model)
    if declared == "classifier" or has_classes(model):
        return "classification"
    if declared not in (None, "regressor") or groups_argument(model):
        return "other"
    return "regression"


def has_classes(model: Any) -> bool:
    # CatBoost's regressors have an empty one.
    classes = getattr(model, "classes_", None)
    return classes is not None and len(classes) > 0


def strata(model: Any, truth: Any, positive: Any = None) -> pd.Series[Any] | None:
    """Return each row's class for the split, before the model is fitted; None for no classes."""
    kind = kind_of(model, truth, positive)
    if kind == "classification":
        return truth  # type: ignore[no-any-return]
    # Few whole numbers may be classes of an estimator that does not say that it is a classifier.
    undeclared = kind == "regression" and _declared(model) is None
    if undeclared and types.is_integer_dtype(truth.dtype) and truth.nunique() <= MAX_CODES:
        return truth  # type: ignore[no-any-return]
    return None


def classes_of(model: Any, truth: pd.Series[Any]) -> tuple[list[Any], bool]:
    """Return the classes, and whether the first are the model's, in its order.

    A model may call them otherwise than the truth does, as 0 and 1: then they are the truth's.
    """
    known = set(truth.tolist())
    if has_classes(model):
        own = [value.item() if hasattr(value, "item") else value for value in model.classes_]
        if known & set(own):
            return own + sorted(known - set(own)), True
    return sorted(known), False


def _is_text(truth: pd.Series[Any]) -> bool:
    return types.infer_dtype(truth) in ("string", "boolean")


def _declared(model: Any) -> str | None:
    """Return what scikit-learn's tags say the model is, if it has any."""
    try:
        kind = model.__sklearn_tags__().estimator_type
    except Exception:  # of estimators without tags, alone or within a pipeline
        kind = getattr(model, "_estimator_type", None)
    return kind if isinstance(kind, str) else None
