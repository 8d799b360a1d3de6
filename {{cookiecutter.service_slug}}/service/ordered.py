"""The fields of large bodies, put in the inputs' order before they are decoded.

msgspec looks for each field from where it found the last one, so a body of 1 MiB with the fields of
2,000 inputs takes 3 ms in their order and 250 ms in another, or if one comes again and again.
"""

from __future__ import annotations

import ast
import re
from collections.abc import Sequence
from typing import Annotated, Any, Literal

import msgspec
from msgspec import UNSET, Meta, UnsetType

from service.artifact import Input
from service.errors import Detail
from service.explain import bad_request

# Fields that may be passed over in looking for all of a body's: 20 ms. Fewer are not worth it.
_MOST_PASSED = 10_000_000
_UNKNOWN = re.compile(r"Invalid enum value (.*) - at `key` in `\$`", re.S)


class Parameters(msgspec.Struct, forbid_unknown_fields=True):
    """There are none: requests are predicted together, so none may change how."""


class _Request(msgspec.Struct, forbid_unknown_fields=True):
    instances: Annotated[list[msgspec.Raw], Meta(min_length=1)]
    parameters: Parameters | None | UnsetType = UNSET


class Order:
    """Knows the order of the inputs, and for which bodies it matters."""

    def __init__(self, inputs: Sequence[Input]) -> None:
        self._position = {item.name: i for i, item in enumerate(inputs)}
        self._keys = {item.name: msgspec.json.encode(item.name) + b":" for item in inputs}
        self._request = msgspec.json.Decoder(_Request)
        fields: Any = dict[Literal[tuple(self._position)], msgspec.Raw]  # type: ignore[misc]
        self._fields: msgspec.json.Decoder[dict[str, Any]] = msgspec.json.Decoder(fields)

    def matters(self, body: bytes) -> bool:
        return body.count(b'"') // 2 * len(self._keys) > _MOST_PASSED

    def restored(self, body: bytes) -> bytes:
        """Return a body in order, without what comes twice in an instance.

        Raises what a decoder does for a body that is no JSON or no request or has an unknown field,
        and RequestError for one that is nested too deeply; types of values are not looked at.
        """
        try:
            request = self._request.decode(body)
        except RecursionError:
            raise bad_request(Detail("", "the JSON is nested too deeply")) from None
        body.decode()  # as keys and strings are
        instances = b",".join([self._instance(i, raw) for i, raw in enumerate(request.instances)])
        parameters = b"" if request.parameters is UNSET else b',"parameters":null'
        return b'{"instances":[' + instances + b"]" + parameters + b"}"

    def _instance(self, i: int, raw: msgspec.Raw) -> bytes:
        if bytes(raw)[:1] != b"{":
            return bytes(raw)
        try:
            given = self._fields.decode(raw)
        except msgspec.ValidationError as error:
            if not (match := _UNKNOWN.fullmatch(str(error))):
                raise
            message = f"Object contains unknown field `{ast.literal_eval(match[1])}`"
            raise msgspec.ValidationError(f"{message} - at `$.instances[{i}]`") from None
        names = sorted(given, key=self._position.__getitem__)
        return b"{" + b",".join([self._keys[name] + bytes(given[name]) for name in names]) + b"}"
