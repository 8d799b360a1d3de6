"""The request format, made from the manifest's inputs: bytes to rows, rows to a data frame."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Sequence
from datetime import datetime
from typing import Annotated, Any

import msgspec
import numpy as np
import pandas as pd
from msgspec import UNSET, Meta, UnsetType

from service.artifact import Input
from service.errors import Detail, RequestError
from service.explain import bad_request, explain, malformed, refuse_duplicate_keys
from service.ordered import Order, Parameters
from service.record import Row

TYPES: dict[str, Any] = {
    "float": float,
    "int": int,
    "bool": bool,
    "string": str,
    "datetime": datetime,
}
# The largest whole number that msgspec takes as a bound.
_LARGEST_BOUND = 2**63 - 1
# All up to an opening bracket that is in no string. No two ways to match anything.
_OPENING = rb'(?:[^"\[{]*+"[^"\\]*+(?:\\.[^"\\]*+)*+")*+[^"\[{]*+[\[{]'


class Schema:
    """Decodes request bodies into rows and rows into the frame that the model was trained on."""

    def __init__(self, inputs: Sequence[Input], max_instances: int) -> None:
        self.inputs = inputs
        self.max_instances = max_instances
        self._whole = [
            (i, item.name, *(number_limits(item) or (0, 0)))
            for i, item in enumerate(inputs)
            if item.type == "int"
        ]
        self._quoted = [i for i, item in enumerate(inputs) if item.type in ("string", "datetime")]
        self._order = Order(inputs)
        self._position = {item.name: i for i, item in enumerate(inputs)}
        self._nullable = any(item.nullable for item in inputs)
        self._columns = pd.Index([item.name for item in inputs])
        self._uniform = {item.dtype for item in inputs} == {"float64"}
        self._makers = [_maker(item) for item in inputs]
        self._decoder: msgspec.json.Decoder[Any] = msgspec.json.Decoder(
            request_type(inputs, _json_type)
        )

    def decode(self, body: bytes) -> list[Row]:
        """Return the instances of a request body as rows.

        Raises RequestError: 413 for too many instances, 400 for all else, with the offending path.
        """
        read = bounded = self._bounded(body)
        try:
            if self._order.matters(bounded):
                read = self._order.restored(bounded)
            request = self._decoder.decode(read)
        except msgspec.ValidationError as error:
            raise bad_request(explain(str(error), bounded)) from None
        except (msgspec.DecodeError, UnicodeDecodeError) as error:
            if bounded is not body and "truncated" in str(error):
                raise self._too_many() from None
            raise bad_request(malformed(read, error)) from None
        instances = request.instances
        if len(instances) > self.max_instances:
            raise self._too_many()
        rows: list[Row] = instances  # each takes the place of its instance, which is freed
        quoted = 1 + (request.parameters is not UNSET)
        for i, instance in enumerate(instances):
            if type(instance) is tuple:
                quoted += self._strings(instance)
                continue
            row = msgspec.structs.astuple(instance)
            absent = row.count(UNSET) if self._nullable else 0
            quoted += len(row) - absent
            if 2 * absent > len(row):
                # `{}` may have 2,000 values, so what is not there is not looked at one by one.
                given = msgspec.to_builtins(instance, builtin_types=(datetime,))
                quoted += sum([type(value) in (str, datetime) for value in given.values()])
                values = [None] * len(row)
                for name, value in given.items():
                    values[self._position[name]] = value
                rows[i] = tuple(values)
                continue
            if absent:
                row = tuple([None if value is UNSET else value for value in row])
            quoted += self._strings(row)
            rows[i] = row
        refuse_duplicate_keys(body, quoted)
        return [self._whole_numbers(i, row) for i, row in enumerate(rows)] if self._whole else rows

    def _bounded(self, body: bytes) -> bytes:
        """Return a body, or the beginning of one that has too many instances to be decoded.

        `{}` may be an instance, and takes as much memory as one with all its fields.
        """
        if len(body) <= 3 * self.max_instances:
            return body
        most = self.max_instances + 3  # brackets open: the body, instances, each, parameters
        if body.count(b"{") + body.count(b"[") <= most:
            return body
        openings = b"(?:" + _OPENING + b"){" + str(most + 1).encode() + b"}+"
        beginning = re.compile(openings, re.S).match(body)
        return beginning[0] if beginning else body

    def _too_many(self) -> RequestError:
        return RequestError(413, f"at most {self.max_instances} instances in one request")

    def _strings(self, row: Row) -> int:
        return sum([row[i] is not None for i in self._quoted]) if self._quoted else 0

    def _whole_numbers(self, instance: int, row: Row) -> Row:
        # 2.0 is an integer in JSON Schema, and what pandas makes of a column of integers with gaps.
        values: list[Any] = []  # made if one changes
        for i, name, low, high in self._whole:
            value = row[i]
            if value is None:
                continue
            if type(value) is float and value.is_integer() and low <= value <= high:
                values = values or list(row)
                values[i] = int(value)
            elif type(value) is float:
                message = f"expected a whole number, got {value!r}"
                raise bad_request(Detail(f"instances[{instance}].{name}", message))
            elif value > high:  # beyond the bounds that msgspec checks
                message = f"expected a whole number <= {high}"
                raise bad_request(Detail(f"instances[{instance}].{name}", message))
        return tuple(values) if values else row

    def frame(self, rows: Sequence[Row]) -> pd.DataFrame:
        """Return rows as a frame with the training frame's columns and dtypes."""
        if self._uniform:  # by far the quicker way, and the common case
            return pd.DataFrame(np.array(rows, dtype=np.float64), columns=self._columns, copy=False)
        return self.frame_of(zip(*rows, strict=True))

    def frame_of(self, columns: Iterable[Sequence[Any]]) -> pd.DataFrame:
        """Return the frame of rows that come as columns, one for each input, None for gaps.

        Training uses it too: what a model is fitted to and judged on is what it will be asked.
        """
        parts = zip(self.inputs, self._makers, columns, strict=True)
        return pd.DataFrame({item.name: make(values) for item, make, values in parts})


def request_type(
    inputs: Sequence[Input], type_of: Callable[[Input], Any], max_instances: int | None = None
) -> Any:
    """Return the type of a request body. `type_of`: returns that of an input's values."""
    fields = [
        (i.name, type_of(i) | UnsetType, UNSET) if i.nullable else (i.name, type_of(i))
        for i in inputs
    ]
    instance: Any = object_type("Instance", fields)
    in_order: Any = tuple[tuple(type_of(item) for item in inputs)]  # type: ignore[misc]
    limits = Meta(min_length=1, max_length=max_instances)
    return msgspec.defstruct(
        "PredictRequest",
        [
            ("instances", Annotated[list[instance | in_order], limits]),
            ("parameters", Parameters | None | UnsetType, UNSET),
        ],
        forbid_unknown_fields=True,
    )


def object_type(name: str, fields: Sequence[tuple[Any, ...]]) -> Any:
    """Return the type of an object. `fields`: name, which may be no identifier, type, default."""
    attributes = [f"f{i}" for i in range(len(fields))]
    return msgspec.defstruct(
        name,
        [(attribute, *rest) for attribute, (_, *rest) in zip(attributes, fields, strict=True)],
        rename=dict(zip(attributes, (field[0] for field in fields), strict=True)),
        forbid_unknown_fields=True,
        kw_only=True,
        gc=False,
    )


def _json_type(item: Input) -> Any:
    kind: Any = TYPES[item.type]
    if limits := number_limits(item):
        low, high = limits
        unbounded = item.type == "int" and high > _LARGEST_BOUND
        kind = Annotated[kind, Meta(ge=low, le=None if unbounded else high)]
    if item.type == "int":
        kind = kind | float
    elif item.type == "datetime":
        kind = Annotated[kind, Meta(tz=has_time_zone(item))]
    return kind | None if item.nullable else kind


def has_time_zone(item: Input) -> bool:
    return "," in item.dtype  # datetime64[us, UTC]


def number_limits(item: Input) -> tuple[float, float] | None:
    """Return the range that the column's dtype can hold, unless JSON numbers fit it anyway."""
    if item.type == "int":
        info = np.iinfo(item.dtype.lower())
        return int(info.min), int(info.max)
    if item.type == "float" and item.dtype.lower() != "float64":
        largest = float(np.finfo(item.dtype.lower()).max)
        return -largest, largest
    return None


def _maker(item: Input) -> Callable[[Sequence[Any]], Any]:
    """Return what makes an input's values into a column."""
    if item.dtype == "category":
        dtype = pd.CategoricalDtype(item.categories, ordered=item.ordered)
        codes = {value: code for code, value in enumerate(item.categories or [])}
        return lambda values: pd.Categorical.from_codes(
            [codes.get(value, -1) for value in values],  # what training did not see is missing
            dtype=dtype,
        )
    if item.dtype == "object":  # gaps are NaN, as pandas' readers leave them
        return lambda values: pd.Series([np.nan if v is None else v for v in values], dtype=object)
    kind = pd.api.types.pandas_dtype(item.dtype)
    if isinstance(kind, np.dtype):  # as exact as pd.array is not for large numbers, and quicker
        return lambda values: np.array(values, dtype=kind)

    def make(values: Sequence[Any]) -> Any:
        try:
            return pd.array(list(values), dtype=kind)  # type: ignore[call-overload]
        except OverflowError:  # at the ends of the calendar, by the time zone
            raise ValueError(f"{item.name}: outside of the years 1 to 9999") from None

    return make


def rows_of(inputs: Sequence[Input], instances: Sequence[dict[str, Any]]) -> list[Row]:
    """Return instances that are in no request, as the golden ones: they go through JSON, too."""
    body = msgspec.json.encode({"instances": instances})
    return Schema(inputs, max_instances=len(instances)).decode(body)
