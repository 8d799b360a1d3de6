"""What the training frame says about the service's inputs, and the frame that serving would build.

A model is fitted to what it will be asked: each value goes the way of a request's, as JSON has it,
into a column that serving makes.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from datetime import UTC
from typing import Any

import numpy as np
import pandas as pd
from pandas.api import types

from service.artifact import Histogram, Input, Type
from service.record import Row
from service.schema import Schema
from training import bins
from training.errors import TrainingError
from training.privacy import is_free_text

BINS = 20

# What makes plain values of any like them: of numpy's, of enumerations.
PLAIN: dict[str, Any] = {"float": float, "int": int, "bool": bool, "string": str.__str__}

# What to write for columns that no request could carry, by what pandas calls their values.
INSTEAD = {
    "integer": '{column}.astype("Int64")',
    "floating": '{column}.astype("float64")',
    "mixed-integer-float": '{column}.astype("float64")',
    "decimal": '{column}.astype("float64")',
    "date": "pd.to_datetime({column})",
    "datetime": "pd.to_datetime({column})",
    "time": '{column}.astype("str")',
    "timedelta": "pd.to_timedelta({column}).dt.total_seconds()",
    "timedelta64": "{column}.dt.total_seconds()",
    "period": "{column}.dt.to_timestamp()",
    "interval": '{column}.astype("str")',
    "bytes": '{column}.str.decode("utf-8")',
    "categorical": "{column}.cat.rename_categories(str)",
}


def describe(frame: pd.DataFrame) -> list[Input]:
    """Return the input that each column stands for; raises TrainingError for unusable columns.

    Columns named by numbers become inputs named by their digits.
    """
    if not len(frame.columns):
        raise TrainingError("load_data: the frame has no columns")
    if odd := [name for name in frame.columns if not _is_name(name)]:
        raise TrainingError(
            f"load_data: {odd[0]!r} is no name of a column; name all by strings or numbers: "
            f"frame.columns = [...]"
        )
    names = [str(name) for name in frame.columns]
    if odd := [name for name in names if json.dumps(name, ensure_ascii=False) != f'"{name}"']:
        raise TrainingError(
            f"load_data: no quotes, backslashes or control characters in {odd[0]!r}"
        )
    if doubles := sorted({name for name in names if names.count(name) > 1}):
        raise TrainingError(f"load_data: columns with the same name: {', '.join(doubles)}")
    return [_input(name, _column(frame, i)) for i, name in enumerate(names)]


def served(inputs: Sequence[Input], frame: pd.DataFrame) -> pd.DataFrame:
    """Return the frame that serving would build from the rows of `frame`.

    Its columns are named by strings; sparse and pyarrow's are in pandas' own dtypes, dates in
    microseconds. All that comes after `load_data` works on it.
    """
    columns = (_values(item, _column(frame, i)) for i, item in enumerate(inputs))
    return Schema(inputs, max_instances=1).frame_of(columns)


def plain_rows(inputs: Sequence[Input], frame: pd.DataFrame) -> list[Row]:
    """Return the frame's rows as the decoder of requests would: plain values, None for gaps."""
    columns = [_plain(item, _column(frame, i)) for i, item in enumerate(inputs)]
    return list(zip(*columns, strict=True))


def histogram(column: pd.Series[Any]) -> Histogram:
    """Return how values are spread: numbers over BINS equal bins, others over the commonest."""
    values = column.dropna()
    nulls = int(column.isna().sum())
    if types.is_numeric_dtype(values.dtype) and not types.is_bool_dtype(values.dtype):
        numbers, edges = bins.count(values.to_numpy(dtype="float64"), BINS)
        return Histogram(counts=numbers.tolist(), edges=edges.tolist(), nulls=nulls)
    counts = values.astype(str).value_counts().head(BINS)
    return Histogram(counts=counts.tolist(), values=counts.index.tolist(), nulls=nulls)


def _is_name(name: Any) -> bool:
    if isinstance(name, int | float | np.number) and not isinstance(name, bool):
        return bool(np.isfinite(name))
    return isinstance(name, str) and bool(name)


def _column(frame: pd.DataFrame, position: int) -> Any:
    """Return a column in one of pandas' own dtypes, such as serving makes."""
    column: Any = frame.iloc[:, position]
    dtype = column.dtype
    if isinstance(dtype, pd.SparseDtype):
        return column.sparse.to_dense()
    if isinstance(dtype, pd.ArrowDtype):
        return _without_pyarrow(column, dtype)
    if types.is_datetime64_any_dtype(dtype):
        if not column.dt.year.dropna().between(1, 9999).all():
            raise TrainingError(
                f"load_data: column {column.name!r} has dates outside of the years 1 to 9999; "
                f"write pd.NaT for them"
            )
        return column.dt.as_unit("us")
    if isinstance(dtype, np.dtype) and dtype.kind == "f" and dtype.itemsize > 8:
        return column.astype("float64")
    if isinstance(dtype, np.dtype) and not dtype.isnative:
        return column.astype(dtype.newbyteorder("="))
    return column


def _without_pyarrow(column: Any, dtype: Any) -> Any:
    """Return a column in the dtype that pandas has for pyarrow's, where it has one."""
    same = dtype.numpy_dtype
    if hasattr(dtype.pyarrow_dtype, "index_type"):  # a dictionary: categories in order
        return pd.Series(column.array.__arrow_array__().to_pandas())
    if same.kind == "M":
        zone = getattr(dtype.pyarrow_dtype, "tz", None)
        return column.astype(f"datetime64[us, {zone}]" if zone else "datetime64[us]")
    if same.kind in "iub" and column.isna().any():
        nullable = {"i": "Int", "u": "UInt"}
        name = f"{nullable[same.kind]}{8 * same.itemsize}" if same.kind in nullable else "boolean"
        return column.astype(name)
    if same.kind in "iufb":
        return column.astype(same)
    return column.astype("str") if types.is_string_dtype(dtype) else column


def _input(name: str, column: pd.Series[Any]) -> Input:
    kind = _type(name, column)
    values = column.dropna()
    if values.empty:
        raise TrainingError(f"load_data: column {name!r} has no values")
    minimum = maximum = categories = None
    public = True
    if kind in ("float", "int"):
        if not np.isfinite(values.to_numpy(dtype="float64")).all():
            raise TrainingError(f"load_data: column {name!r} has infinite values; JSON has none")
        minimum, maximum = float(values.min()), float(values.max())
    elif kind == "string":
        categorical = column.dtype == "category"
        found = (
            list(column.cat.categories)
            if categorical
            else sorted(map(str.__str__, values.unique()))
        )
        try:
            "".join(found).encode()
        except UnicodeEncodeError:
            this = f"frame[{name!r}]"
            raise TrainingError(
                f"load_data: column {name!r} has text that is no Unicode; write {this} = "
                f'{this}.str.encode("utf-8", "replace").str.decode("utf-8")'
            ) from None
        said = values.astype(object).tolist()
        public = not is_free_text([*said, *set(found).difference(said)])
        # Serving needs the categories of a dtype, even if no page may show them.
        categories = found if public or categorical else None
    return Input(
        name=name,
        type=kind,
        dtype=str(column.dtype),
        nullable=bool(column.isna().any()),
        minimum=minimum,
        maximum=maximum,
        categories=categories,
        ordered=bool(getattr(column.dtype, "ordered", False)),
        public=public,
    )


def _type(name: str, column: pd.Series[Any]) -> Type:
    dtype = column.dtype
    kind = types.infer_dtype(column, skipna=True)
    if dtype == "category":
        if all(isinstance(value, str) for value in column.cat.categories):
            return "string"
    elif types.is_bool_dtype(dtype) or kind == "boolean":
        return "bool"
    elif types.is_integer_dtype(dtype):
        return "int"
    elif types.is_float_dtype(dtype):
        return "float"
    elif types.is_datetime64_any_dtype(dtype):
        if "(" in str(dtype):  # tzlocal(), or a file
            raise TrainingError(
                f"load_data: column {name!r} has a time zone that only this machine knows; "
                f'write frame[{name!r}] = frame[{name!r}].dt.tz_convert("UTC")'
            )
        return "datetime"
    elif kind in ("string", "empty"):
        return "string"
    this = f"frame[{name!r}]"
    write = f"{this} = " + INSTEAD.get(kind, '{column}.astype("str")').format(column=this)
    if any(types.is_list_like(value) for value in column.dropna().head()):
        write = f"frame.join(pd.DataFrame({this}.tolist()).add_prefix({name + '_'!r}))"
    raise TrainingError(
        f"load_data: column {name!r} has dtype {dtype}, values {kind}; inputs are numbers, "
        f"booleans, strings, string categories or dates: write {write}"
    )


def _values(item: Input, column: Any) -> Any:
    """Return a column's values; JSON has those of numpy as they are, so there is no need of it."""
    exact = isinstance(column.dtype, np.dtype) and column.dtype.kind in "biufM"
    return column.to_numpy() if exact else _plain(item, column)


def _plain(item: Input, column: Any) -> list[Any]:
    """Return a column's values as the decoder of requests would: None for gaps."""
    if item.type == "datetime":
        if column.dt.tz is None:
            return list(column.to_numpy().tolist())
        moments = column.dt.tz_convert(None).to_numpy().tolist()  # in UTC
        return [moment and moment.replace(tzinfo=UTC) for moment in moments]
    plain = PLAIN[item.type]
    values = column.astype(object).tolist()
    if not item.nullable:
        return list(map(plain, values))
    gaps = column.isna().tolist()
    return [None if gap else plain(v) for v, gap in zip(values, gaps, strict=True)]
