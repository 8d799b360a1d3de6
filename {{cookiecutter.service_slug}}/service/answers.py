"""The answers' columns: what `predict` returns, in whatever form, made values that JSON has."""

from __future__ import annotations

import math
from collections.abc import Mapping
from datetime import date
from types import NoneType
from typing import Any

import numpy as np
import pandas as pd

from service.artifact import Output

# The field's name, where `predict` gives it none.
UNNAMED = "prediction"

_NAMES: dict[type, Any] = {
    float: "float",
    int: "int",
    bool: "bool",
    str: "string",
    pd.Timestamp: "datetime",
    list: "list",
    dict: "object",
}
# Kinds of numpy's dtypes that hold a type and, but for NaN among floats, no gap.
_KINDS = {"float": "fiu", "int": "iu", "bool": "b", "string": "U"}
# The integers that can be encoded.
_SMALLEST, _LARGEST = -(2**63), 2**64 - 1


def columns(returned: Any, rows: int) -> dict[str, Any]:
    """Return a list or an array with an entry per row for each field of what `predict` returned.

    Rows of a two-dimensional array are entries, too. What has an index, as pandas' columns do, is
    put into the frame's order. Raises TypeError or RuntimeError for what answers no so many rows.
    """
    named: Any = [(UNNAMED, returned)]
    if isinstance(returned, Mapping):
        named = returned.items()
    elif isinstance(returned, pd.DataFrame):
        named = [(name, returned.iloc[:, i]) for i, name in enumerate(returned.columns)]
    elif returned is None or isinstance(returned, str | tuple) or getattr(returned, "ndim", 1) != 1:
        shape = f" of shape {returned.shape}" if hasattr(returned, "shape") else ""
        raise TypeError(
            f"predict returned {type(returned).__name__}{shape}, which has no names for its "
            'columns: return {"name": column, ...}'
        )
    found = {(key := str(name)): _column(key, column, rows) for name, column in named}
    if len(found) < max(1, len(named)):
        raise TypeError(
            f"predict returned the fields {[str(name) for name, _ in named]}: expected one or "
            "more, with different names"
        )
    return found


def _column(name: str, column: Any, rows: int) -> Any:
    if type(column) is not np.ndarray:
        column = _entries(name, column, rows)
    shape: tuple[int, ...] = (len(column),) if isinstance(column, list) else column.shape
    if shape == (rows,) or (len(shape) == 2 and shape[0] == rows and shape[1] != 1):
        return column
    hint = ": take [:, 0], or .tolist() for lists of one" if shape == (rows, 1) else ""
    raise RuntimeError(f"predict returned shape {shape} for {name!r}, expected ({rows},){hint}")


def _entries(name: str, column: Any, rows: int) -> Any:
    """Return a list or an array of what is in a column of another kind."""
    if isinstance(column, pd.api.extensions.ExtensionArray | pd.Index):
        column = pd.Series(column)
    if isinstance(column, pd.Series | pd.DataFrame):
        column = _aligned(name, column, rows)
        # An array would make fractions of integers with gaps.
        of_numpy = isinstance(column, pd.DataFrame) or isinstance(column.dtype, np.dtype)
        return column.to_numpy() if of_numpy else column.tolist()
    return column if isinstance(column, list) else np.asanyarray(column)


def _aligned(name: str, column: Any, rows: int) -> Any:
    index = pd.RangeIndex(rows)
    if column.index.equals(index) or len(column) != rows:
        return column
    if column.index.is_unique and column.index.isin(index).all():
        return column.reindex(index)
    raise RuntimeError(
        f"predict returned {name!r} with another index than the frame's, so that no row's answer "
        "is known: keep frame.index, or return .to_numpy() if the order is the frame's"
    )


class Learner:
    """Settles the type of a field by its values in all calls of training.

    Integers among fractions are fractions; a null makes the field nullable.
    """

    def __init__(self, name: str) -> None:
        self._name = name
        self._types: set[type] = set()
        self._items: set[type] = set()

    def learn(self, column: Any) -> Output:
        """Return the field by the values so far; raises TypeError if they are of no one type."""
        for value in _values(self._name, column):
            self._types.add(type(value))
            if isinstance(value, list | dict):
                found = value.values() if isinstance(value, dict) else value
                self._items.update(map(type, found))
        kind = _one(repr(self._name), self._types - {NoneType})
        nested = kind in ("list", "object")
        items = _one(f"what is in {self._name!r}", self._items) if nested else None
        return Output(name=self._name, type=kind, nullable=NoneType in self._types, items=items)


def _one(what: str, types: set[type]) -> Any:
    names = {_NAMES[kind] for kind in types}
    if names == {"int", "float"}:
        return "float"
    if len(names) != 1:
        got = " and ".join(sorted(names)) or "nothing, or null, in every row"
        raise TypeError(f"predict returned {got} for {what}: expected values of one type")
    return names.pop()


class Reader:
    """Makes a column of a field plain values, one per row; all that can be is decided before."""

    def __init__(self, field: Output) -> None:
        self._field = field
        self._is_list = field.type == "list"
        self._element = field.items if self._is_list and field.items else field.type
        self._dimensions = 2 if self._is_list else 1
        self._kinds = _KINDS.get(self._element, "")

    def __call__(self, column: Any) -> list[Any]:
        """Raises TypeError or RuntimeError for values that training did not have the like of."""
        if (
            type(column) is np.ndarray
            and column.dtype.kind in self._kinds
            and column.ndim == self._dimensions
        ):
            if self._element != "float":
                return column.tolist()  # type: ignore[no-any-return]
            if column.dtype != np.float64:
                column = column.astype(np.float64)
            if np.isfinite(column).all():
                return column.tolist()  # type: ignore[no-any-return]
        return [self._value(value) for value in _values(self._field.name, column)]

    def _value(self, value: Any) -> Any:
        field = self._field
        if value is None and field.nullable:
            return None
        if field.type == "list" and isinstance(value, list):
            return [self._scalar(field.items, item) for item in value]
        if field.type == "object" and isinstance(value, dict):
            return {key: self._scalar(field.items, item) for key, item in value.items()}
        return self._scalar(field.type, value)

    def _scalar(self, wanted: str | None, value: Any) -> Any:
        name = self._field.name
        if value is None and wanted != "float":
            raise RuntimeError(f"predict returned null for {name!r}, at training time never")
        if value is None or (type(value) is float and not math.isfinite(value)):
            raise RuntimeError(f"predict returned NaN or infinity for {name!r}")
        found = _NAMES[type(value)]
        if (found, wanted) == ("int", "float"):
            return float(value)
        if found != wanted:
            raise TypeError(f"predict returned {found} for {name!r}, at training time {wanted}")
        return value.isoformat() if found == "datetime" else value


def _values(name: str, column: Any) -> list[Any]:
    """Return the entries of a column as values of `_NAMES`' types, or None."""
    if isinstance(column, np.ndarray):
        if column.dtype.kind in "mcSV" or (column.dtype.kind == "M" and column.ndim > 1):
            raise _unusable(name, column.dtype)
        if column.dtype.kind == "f" and np.isfinite(column).all():
            column = column.astype(np.float64)
            return column.tolist()  # type: ignore[no-any-return]
        if column.dtype.kind in "iubU":
            return column.tolist()  # type: ignore[no-any-return]
        # A numpy array would make integers of dates.
        column = pd.Series(column) if column.dtype.kind == "M" else column
        column = column.tolist()
    return [_plain(name, value) for value in column]


def _plain(name: str, value: Any) -> Any:
    if isinstance(value, np.ndarray):
        value = value.tolist()
    if isinstance(value, list | tuple):
        return [_item(name, item) for item in value]
    if isinstance(value, Mapping):
        return {str(key): _item(name, item) for key, item in value.items()}
    if isinstance(value, date | np.datetime64):
        moment = pd.Timestamp(value)
        return None if pd.isna(moment) else moment
    return _scalar(name, value)


def _item(name: str, value: Any) -> Any:
    plain = _scalar(name, value)
    if plain is None:
        raise RuntimeError(f"predict returned null within {name!r}: leave it out")
    return plain


def _scalar(name: str, value: Any) -> Any:
    if value is None or value is pd.NA or value is pd.NaT:
        return None
    if isinstance(value, str):
        return str.__str__(value)  # numpy's strings are no plain ones
    if isinstance(value, bool | np.bool_):
        return bool(value)
    if isinstance(value, int | np.integer) and _SMALLEST <= value <= _LARGEST:
        return int(value)
    if isinstance(value, float | np.floating):
        number = float(value)
        return None if math.isnan(number) else number
    raise _unusable(name, type(value).__name__)


def _unusable(name: str, kind: object) -> TypeError:
    return TypeError(
        f"predict returned {kind} for {name!r}: use numbers (integers of 64 bits), booleans, "
        "strings, dates, or lists or dicts of those but dates"
    )
