"""What the training frame says about the service's inputs: names, types, ranges, gaps."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any

import numpy as np
import pandas as pd
from pandas.api import types

from service.artifact import Histogram, Input, Type
from service.record import Row
from training import bins
from training.errors import TrainingError

MAX_CATEGORIES = 100
BINS = 20


def describe(frame: pd.DataFrame) -> list[Input]:
    """Return the input that each column stands for; raises TrainingError for unusable columns."""
    names = list(frame.columns)
    if not names or not all(isinstance(name, str) and name for name in names):
        raise TrainingError("load_data: every column needs a name that is a non-empty string")
    if odd := [name for name in names if json.dumps(name, ensure_ascii=False) != f'"{name}"']:
        raise TrainingError(
            f"load_data: no quotes, backslashes or control characters in {odd[0]!r}"
        )
    if doubles := sorted({name for name in names if names.count(name) > 1}):
        raise TrainingError(f"load_data: columns with the same name: {', '.join(doubles)}")
    return [_input(name, frame[name]) for name in names]


def _input(name: str, column: pd.Series[Any]) -> Input:
    kind = _type(name, column)
    values = column.dropna()
    if values.empty:
        raise TrainingError(f"load_data: column {name!r} has no values")
    minimum = maximum = categories = None
    if kind in ("float", "int"):
        if not np.isfinite(values.to_numpy(dtype="float64")).all():
            raise TrainingError(f"load_data: column {name!r} has infinite values; JSON has none")
        minimum, maximum = float(values.min()), float(values.max())
    elif kind == "string":
        # The categories of a categorical column are part of its dtype: serving needs all of them.
        found = list(column.cat.categories) if column.dtype == "category" else sorted(set(values))
        categories = found if column.dtype == "category" or len(found) <= MAX_CATEGORIES else None
    return Input(
        name=name,
        type=kind,
        dtype=str(column.dtype),
        nullable=bool(column.isna().any()),
        minimum=minimum,
        maximum=maximum,
        categories=categories,
    )


def _type(name: str, column: pd.Series[Any]) -> Type:
    if types.is_bool_dtype(column.dtype):
        return "bool"
    if types.is_integer_dtype(column.dtype):
        return "int"
    if types.is_float_dtype(column.dtype):
        return "float"
    values = column.cat.categories if column.dtype == "category" else column.dropna()
    if all(isinstance(value, str) for value in values):
        return "string"
    if all(isinstance(value, bool) for value in values) and column.dtype == object:
        return "bool"
    raise TrainingError(
        f"load_data: column {name!r} has dtype {column.dtype}; inputs are numbers, booleans or "
        f"strings, so convert it there (dates to numbers or ISO strings, for example)"
    )


def plain_rows(inputs: Sequence[Input], frame: pd.DataFrame) -> list[Row]:
    """Return the frame's rows as a request would carry them: plain values, None for gaps."""
    columns = [frame[item.name].astype(object) for item in inputs]
    plain = [column.where(column.notna(), None).tolist() for column in columns]
    return list(zip(*plain, strict=True))


def histogram(column: pd.Series[Any]) -> Histogram:
    """Return how values are spread: numbers over BINS equal bins, others over the commonest."""
    values = column.dropna()
    nulls = int(column.isna().sum())
    if types.is_numeric_dtype(values.dtype) and not types.is_bool_dtype(values.dtype):
        numbers, edges = bins.count(values.to_numpy(dtype="float64"), BINS)
        return Histogram(counts=numbers.tolist(), edges=edges.tolist(), nulls=nulls)
    counts = values.astype(str).value_counts().head(BINS)
    return Histogram(counts=counts.tolist(), values=counts.index.tolist(), nulls=nulls)
