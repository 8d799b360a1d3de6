"""What load_data returns, whatever its shape: inputs, truth, weights, group and time of rows."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from typing import Any

import msgspec
import numpy as np
import pandas as pd

from training.errors import TrainingError, owners
from training.owner import Options

Array = np.ndarray[Any, Any]


@dataclass(frozen=True)
class Data:
    """Rows, numbered from 0 in every part; `truth` is a DataFrame if there are several outputs.

    `group` and `time` are the columns named by GROUP and TIME: they are not in `frame`.
    """

    frame: pd.DataFrame
    truth: pd.Series[Any] | pd.DataFrame | None = None
    weights: pd.Series[float] | None = None
    group: pd.Series[Any] | None = None
    time: pd.Series[Any] | None = None

    def digest(self) -> str:
        return digest(self.frame, self.truth, self.weights, self.group, self.time)

    def take(self, rows: Array) -> Data:
        """Return the rows at these positions, or where a mask is true, numbered anew."""
        parts = (self.frame, self.truth, self.weights, self.group, self.time)
        return Data(*(None if p is None else p.loc[rows].reset_index(drop=True) for p in parts))  # type: ignore[arg-type]


def digest(*parts: pd.DataFrame | pd.Series[Any] | None) -> str:
    """Return a hash of tables: names and dtypes of their columns, and their values in order."""
    found = hashlib.sha256()
    for part in parts:
        columns = [] if part is None else [*part.items()] if part.ndim == 2 else [("", part)]
        about = [(str(name), _dtype(column.dtype)) for name, column in columns]
        found.update(msgspec.json.encode(None if part is None else about))
        if part is not None:
            found.update(_hashes(part).to_numpy().tobytes())
    return found.hexdigest()


def _dtype(dtype: Any) -> list[str]:
    if isinstance(dtype, pd.CategoricalDtype):
        return [f"ordered {dtype.ordered}", *map(repr, dtype.categories)]
    return [str(dtype)]


def _hashes(values: pd.DataFrame | pd.Series[Any]) -> pd.Series[Any]:
    try:
        return pd.util.hash_pandas_object(values, index=False)
    except TypeError:  # lists and the like, which have no hash
        return pd.util.hash_pandas_object(values.astype(str), index=False)


def checked(returned: Any, options: Options) -> Data:
    """Return what load_data, or prepare, returned; raises TrainingError for what it may not be."""
    parts: Any = returned if isinstance(returned, tuple | list) else (returned,)
    if not 1 <= len(parts) <= 3 or not isinstance(parts[0], pd.DataFrame):
        got = ", ".join(type(part).__name__ for part in parts[:5])
        raise TrainingError(
            "load_data: expected a DataFrame of inputs, (frame, truth) or (frame, truth, weights); "
            f"got {f'({got})' if len(parts) != 1 else got}"
        )
    frame, truth, weights = (*parts, None, None)[:3]
    if frame.empty:
        raise TrainingError(f"load_data: returned a frame of shape {frame.shape}")
    split_by = {"GROUP": options.group, "TIME": options.time}
    group, time = (_column(frame, option, name) for option, name in split_by.items())
    return Data(
        frame=frame.drop(columns=[n for n in split_by.values() if n]).reset_index(drop=True),
        truth=_truth(truth, frame),
        weights=_weights(weights, len(frame)),
        group=group,
        time=time,
    )


def _column(frame: pd.DataFrame, option: str, name: str | None) -> pd.Series[Any] | None:
    if name is None:
        return None
    if name not in frame.columns:
        has = ", ".join(map(str, frame.columns[:20]))
        raise TrainingError(f"{option}: load_data's frame has no column {name!r}; it has {has}")
    column: pd.Series[Any] = _plain(frame[name].reset_index(drop=True))
    if gaps := int(column.isna().sum()):
        raise TrainingError(f"{option}: column {name!r} is missing in {gaps} rows")
    return column


def _truth(given: Any, frame: pd.DataFrame) -> pd.Series[Any] | pd.DataFrame | None:
    if given is None:
        return None
    if isinstance(given, np.ndarray) and given.ndim == 2:
        given = pd.DataFrame(given)
    elif isinstance(given, np.ndarray | list | tuple | pd.Index):
        given = pd.Series(list(given))
    if not isinstance(given, pd.Series | pd.DataFrame):
        raise TrainingError(
            "load_data: the truth must be a Series, an array, a list, a DataFrame (several "
            f"outputs) or None; got {type(given).__name__}"
        )
    if len(given) != len(frame):
        raise TrainingError(
            f"load_data: {len(frame)} rows of inputs and {len(given)} of truth; "
            "they must be as many"
        )
    _refuse_other_order(given.index, frame.index)
    given = given.reset_index(drop=True)
    if missing := int(np.sum(given.isna().to_numpy().reshape(len(frame), -1).any(axis=1))):
        raise TrainingError(f"load_data: the truth is missing in {missing} rows; leave them out")
    if isinstance(given, pd.DataFrame):
        if given.shape[1] > 1:
            return given
        given = given.iloc[:, 0]
    plain = _plain(given)
    kinds = {type(value).__name__ for value in plain} if plain.dtype == object else set()
    if len(kinds) > 1 and "str" in kinds:
        raise TrainingError(f"load_data: the truth mixes {', '.join(sorted(kinds))}: make them one")
    if plain.dtype.kind == "f" and not np.isfinite(plain.to_numpy()).all():
        raise TrainingError("load_data: the truth has infinite values")
    return plain


def _refuse_other_order(truth: pd.Index[Any], frame: pd.Index[Any]) -> None:
    # Rows belong together by position. The same labels in another order are two answers to which
    # truth is whose, and a wrong guess would train on noise.
    if not truth.equals(frame) and truth.is_unique and truth.isin(frame).all():
        raise TrainingError(
            "load_data: the truth's index has the labels of the frame's in another order; take "
            "both from one frame, or reset both: .reset_index(drop=True)"
        )


def _weights(given: Any, rows: int) -> pd.Series[float] | None:
    if given is None:
        return None
    with owners("load_data: weights"):
        weights = np.asarray(given, dtype=np.float64)
    if weights.shape != (rows,):
        raise TrainingError(f"load_data: weights of shape {weights.shape}, expected ({rows},)")
    if not (np.isfinite(weights).all() and (weights > 0).all()):
        raise TrainingError(
            "load_data: weights must be greater than 0; leave out the rows that count for nothing"
        )
    return pd.Series(weights)


def _plain(column: pd.Series[Any]) -> pd.Series[Any]:
    """Return categories, nullable and pyarrow's types as the plain values that they stand for."""
    if isinstance(column.dtype, np.dtype | pd.StringDtype):
        return column
    return pd.Series(column.to_list(), name=column.name)
