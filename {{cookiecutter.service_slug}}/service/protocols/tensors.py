"""Tensors of the Open Inference Protocol: a request's to rows, and answers to tensors.

A tensor is a column, by its input's name, of the shape [n] or [n, 1]; or, for a model of numbers,
all of them: [n, inputs] in the model's order. Rows are checked as /predict checks them.
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterator, Sequence
from typing import Annotated, Any

import msgspec
from msgspec import Meta

from service.artifact import Input, Output
from service.errors import Detail, RequestError
from service.explain import bad_request, explain, malformed
from service.record import Answer, Row
from service.schema import Schema

_NUMBERS = {f"{kind}{bits}" for kind in ("INT", "UINT", "FP") for bits in (8, 16, 32, 64)} - {"FP8"}
_TAKEN = {"float": _NUMBERS, "int": _NUMBERS, "bool": {"BOOL"}}
_TEXT = {"BYTES"}
_TOLD = {"float": "FP64", "int": "INT64", "bool": "BOOL"}
# MLServer's names for values that JSON has as they are.
_CONTENT_TYPES = {None, "np", "pd", "str", "datetime"}
_VALUE = re.compile(r"instances\[(\d+)\](?:\[(\d+)\]|\.(.+))", re.S)
_BINARY = {"binary_data", "binary_data_output", "binary_data_size"}

_Value = float | int | bool | str | None
_Parameters = dict[str, Any] | None
_encode = msgspec.json.Encoder().encode


class _Tensor(msgspec.Struct):
    name: str
    shape: Annotated[list[Annotated[int, Meta(ge=0)]], Meta(min_length=1, max_length=2)]
    datatype: str
    data: list[_Value | list[_Value]] | None = None
    parameters: _Parameters = None


class _Wanted(msgspec.Struct):
    name: str
    parameters: _Parameters = None


class _Request(msgspec.Struct):
    inputs: Annotated[list[_Tensor], Meta(min_length=1)]
    id: str | None = None
    outputs: list[_Wanted] | None = None
    parameters: _Parameters = None


class Rows(list[Row]):
    """The rows of a request; with its id, if it has one, and the fields that it wants."""

    id: str | None
    fields: Sequence[Output]


class Tensors:
    def __init__(self, schema: Schema, fields: Sequence[Output]) -> None:
        self._schema = schema
        self._inputs = {item.name: item for item in schema.inputs}
        self._fields = {field.name: field for field in fields}
        self._numeric = all(item.type in ("float", "int") for item in schema.inputs)
        self._decoder = msgspec.json.Decoder(_Request)

    def inputs(self) -> list[dict[str, Any]]:
        """Return the inputs as the model's metadata has them."""
        return [
            {"name": item.name, "datatype": _datatype(item), "shape": [-1]}
            for item in self._inputs.values()
        ]

    def outputs(self) -> list[dict[str, Any]]:
        """Return the fields of the answers as the model's metadata has them."""
        return [
            {
                "name": field.name,
                "datatype": _told(field),
                "shape": [-1, -1] if field.type == "list" else [-1],
            }
            for field in self._fields.values()
        ]

    def decode(self, body: bytes) -> Rows:
        """Return the rows of a request's body; raises RequestError, as Schema.decode."""
        request = self._read(body)
        unknown = [i for i, one in enumerate(request.outputs or ()) if one.name not in self._fields]
        if unknown:
            path = f"outputs[{unknown[0]}].name"
            raise bad_request(Detail(path, f"expected one of {', '.join(self._fields)}"))
        try:
            rows = Rows(self._schema.decode(_encode({"instances": self._instances(request)})))
        except RequestError as error:
            raise self._located(error) from None
        rows.id = request.id
        wanted = [one.name for one in request.outputs or ()] or self._fields
        rows.fields = [self._fields[name] for name in wanted]
        return rows

    def _located(self, error: RequestError) -> RequestError:
        """Return a complaint about an instance's value as one about a tensor's."""
        if error.details and (match := _VALUE.fullmatch(error.details[0].path)):
            row, column, name = match.groups()
            name = name or self._schema.inputs[int(column)].name
            return bad_request(Detail(f"{name}[{row}]", error.details[0].message))
        return error

    def _read(self, body: bytes) -> _Request:
        try:
            request = self._decoder.decode(body)
        except msgspec.ValidationError as error:
            raise bad_request(explain(str(error), body, "inputs")) from None
        except RecursionError:
            raise bad_request(Detail("", "the JSON is nested too deeply")) from None
        except (msgspec.DecodeError, UnicodeDecodeError) as error:
            if b'"binary_data' in body:
                raise _no_binary() from None
            raise bad_request(malformed(body, error)) from None
        for part in (request, *request.inputs, *(request.outputs or ())):
            if any((part.parameters or {}).get(name) for name in _BINARY):
                raise _no_binary()
        return request

    def _instances(self, request: _Request) -> list[Any]:
        first = request.inputs[0]
        width = len(self._inputs)
        if (
            self._numeric
            and len(request.inputs) == 1
            and first.name not in self._inputs
            and first.shape[1:] == [width]
        ):
            flat = self._values(0, first, _NUMBERS)
            return [flat[start : start + width] for start in range(0, len(flat), width)]
        return list(zip(*self._columns(request.inputs), strict=True))

    def _columns(self, tensors: Sequence[_Tensor]) -> Iterator[list[_Value]]:
        """Yield a column for each input of the model."""
        given: dict[str, list[_Value]] = {}
        for i, tensor in enumerate(tensors):
            item = self._inputs.get(tensor.name)
            if item is None or tensor.name in given:
                verdict = "given twice" if item else "the model has no such input"
                raise bad_request(Detail(f"inputs[{i}].name", f"{tensor.name[:100]!r}: {verdict}"))
            if tensor.shape[1:] not in ([], [1]):
                raise bad_request(Detail(f"inputs[{i}].shape", "expected [n] or [n, 1]"))
            given[tensor.name] = self._values(i, tensor, _TAKEN.get(item.type, _TEXT))
        rows = len(given[tensors[0].name])
        for name, item in self._inputs.items():
            if name not in given and not item.nullable:
                raise bad_request(Detail("inputs", f"{name!r} is missing"))
            column = given.get(name) or [None] * rows
            if len(column) != rows:
                raise bad_request(Detail("inputs", "expected the same number of rows in all"))
            yield column

    def _values(self, i: int, tensor: _Tensor, taken: set[str]) -> list[_Value]:
        """Return a tensor's values, row by row, whether they come nested or flat."""
        path = f"inputs[{i}]"
        if tensor.datatype not in taken:
            some = "a datatype of numbers" if taken is _NUMBERS else " or ".join(taken)
            raise bad_request(Detail(f"{path}.datatype", f"expected {some}"))
        if (tensor.parameters or {}).get("content_type") not in _CONTENT_TYPES:
            path = f"{path}.parameters.content_type"
            raise bad_request(Detail(path, "expected values as JSON has them"))
        if tensor.data is None:
            raise bad_request(Detail(f"{path}.data", "missing"))
        if tensor.shape[0] > (most := self._schema.max_instances):
            raise RequestError(413, f"at most {most} rows in one request")
        flat: list[_Value] = []
        for value in tensor.data:
            flat += value if isinstance(value, list) else (value,)
        if len(flat) != (size := math.prod(tensor.shape)):
            message = f"expected {size} values, by the shape, got {len(flat)}"
            raise bad_request(Detail(f"{path}.data", message))
        return flat

    def answer(self, fields: Sequence[Output], answers: Sequence[Answer]) -> list[dict[str, Any]]:
        """Return a tensor for each field; raises RequestError for lists of different lengths."""
        return [_tensor(field, [answer[field.name] for answer in answers]) for field in fields]


def _tensor(field: Output, data: list[Any]) -> dict[str, Any]:
    shape = [len(data)]
    if field.type == "list":
        lengths = {-1 if value is None else len(value) for value in data}
        if len(lengths) > 1 or -1 in lengths:
            message = f"the lists of {field.name!r} differ in length: no tensor; ask /predict"
            raise RequestError(400, message)
        shape += lengths
        data = [item for value in data for item in value]
    elif field.type == "object":
        data = [None if value is None else _encode(value).decode() for value in data]
    return {"name": field.name, "shape": shape, "datatype": _told(field), "data": data}


def _datatype(item: Input) -> str:
    if item.type == "int":
        return item.dtype.upper()
    if item.type == "float":
        return item.dtype.lower().replace("float", "FP")
    return "BOOL" if item.type == "bool" else "BYTES"


def _told(field: Output) -> str:
    kind = field.items if field.type == "list" else field.type
    return _TOLD.get(kind or "", "BYTES")


def _no_binary() -> RequestError:
    return RequestError(400, "tensors in binary form are not taken: send `data` as JSON")
