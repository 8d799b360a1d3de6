"""Which rows are kept aside to judge the model: a row's own content decides, not its place.

So data may grow, and no row that a model has learnt from judges the next one. The exception are
classes so rare that a row of theirs is put on the side that would have none.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import numpy as np
import pandas as pd
from pandas.api import types

from training.data import Array, Data
from training.errors import TrainingError

# So many equal rows stay on one side, since the model would know the answer; more of them are
# split, since else a frame of a few distinct rows could not be.
TWINS = 8
MOST_NAMED = 5
NUMBERS = {"boolean", "integer", "floating", "mixed-integer-float"}


def held_out(data: Data, share: float, classes: pd.Series[Any] | None) -> Array:
    """Return a mask of the rows kept aside: about `share` of them, and never none or all.

    `classes`: each row's class, of which both sides get at least one row if it has two; None if
    there are none. Raises TrainingError if the rows cannot be divided.
    """
    if data.time is not None:
        return _by_time(data.time, share)
    if data.group is not None:
        return _by_group(data.group, share)
    return _by_row(data, share, classes)


def one_sided(classes: pd.Series[Any], held: Array) -> list[str]:
    """Return a line for the classes that are never judged, and one for those never learnt."""
    learnt, judged = set(classes[~held]), set(classes[held])
    return [
        *_line(learnt - judged, "no row to judge by was kept aside"),
        *_line(judged - learnt, "no row to learn from, so the model cannot know it"),
    ]


def _line(found: set[Any], what: str) -> list[str]:
    names = sorted(map(str, found))
    more = f" and {len(names) - MOST_NAMED} more" if len(names) > MOST_NAMED else ""
    return [f"class {', '.join(names[:MOST_NAMED])}{more}: {what}"] if names else []


def places(data: Data) -> Array:
    """Return where in [0, 1) each row stands by its hash; few equal rows stand together."""
    content = [data.frame[name] for name in sorted(data.frame.columns)]
    if isinstance(data.truth, pd.DataFrame):
        content += [data.truth.iloc[:, i] for i in range(data.truth.shape[1])]
    elif data.truth is not None:
        content.append(data.truth)
    hashes = pd.Series(row_hashes(content))
    twins = (hashes.groupby(hashes).cumcount() // TWINS).to_numpy(dtype=np.uint64)
    return _place(hashes.to_numpy() + twins)


def _by_row(data: Data, share: float, classes: pd.Series[Any] | None) -> Array:
    place = pd.Series(places(data))
    held = np.array(place < share)
    # Each side gets a row of every class; without classes all rows count as one.
    group = np.zeros(len(place)) if classes is None else pd.factorize(classes)[0]
    grouped, kept = place.groupby(group), pd.Series(held).groupby(group).sum()
    size = grouped.size()
    held[grouped.idxmin()[kept == 0]] = True
    held[grouped.idxmax()[(kept == size) | (size == 1)]] = False
    if not held.any():
        raise TrainingError("load_data: no row can be kept aside, since every class has one row")
    return held


def _by_group(group: pd.Series[Any], share: float) -> Array:
    place = _place(_hashes(group))
    low, high = place.min(), place.max()
    if low == high:
        raise TrainingError("GROUP: all rows have the same value, so none can be kept aside")
    # One group at least on each side.
    held: Array = (place < max(share, np.nextafter(low, 1))) & (place < high)
    return held


def _by_time(time: pd.Series[Any], share: float) -> Array:
    try:
        ordered = time.sort_values(ignore_index=True)
        first = ordered.iloc[len(time) - max(1, round(len(time) * share))]
        # Rows of the same time stay on one side.
        held = time >= first if ordered.iloc[0] < first else time > first
    except TypeError as error:
        raise TrainingError(f"TIME: the values cannot be put in order: {error}") from error
    if not held.any():
        raise TrainingError("TIME: all rows have the same value, so none can be kept aside")
    return np.asarray(held)


def row_hashes(columns: Iterable[pd.Series[Any]]) -> Array:
    """Return a 64-bit hash of each row of the columns, the same wherever the row stands.

    Whole numbers and booleans count as the floats they equal: a first gap in a column makes pandas
    read it as floats.
    """
    found: Array = np.uint64(0)  # type: ignore[assignment]
    for column in columns:
        found = found * np.uint64(0x100000001B3) ^ _hashes(column)
    return found


def _place(hashes: Array) -> Array:
    """Return where in [0, 1) each hash stands."""
    place: Array = pd.util.hash_array(hashes) / 2.0**64
    return place


def _hashes(column: pd.Series[Any]) -> Array:
    if isinstance(column.dtype, pd.CategoricalDtype):
        column = pd.Series(column.to_list())
    if types.is_numeric_dtype(column.dtype) or types.infer_dtype(column) in NUMBERS:
        numbers = column.to_numpy(dtype=np.float64, na_value=np.nan) + 0.0  # -0.0 becomes 0.0
        numbers[np.isnan(numbers)] = np.nan  # one pattern of bits for all
        return pd.util.hash_array(numbers)
    if types.is_datetime64_any_dtype(column.dtype):
        moments = pd.to_datetime(column, utc=True).dt.as_unit("us")
        return pd.util.hash_array(moments.astype("int64").to_numpy())
    texts = column.astype(object).where(column.notna(), "").map(str)
    return pd.util.hash_array(texts.to_numpy(dtype=object))
