"""What is wrong with a request body, and where: in JSON's words, not in the decoder's."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from typing import Any

import msgspec

from service.errors import Detail, RequestError

_NOUNS = {
    "float": "a number",
    "int": "a whole number",
    "bool": "true or false",
    "str": "a string",
    "datetime": "a date and time",
    "object": "an object",
    "array": "an array",
    "null": "null",
}
# A client's own text that an error echoes is cut to so many characters: of a name, of a path.
_ECHO, _ECHO_PATH = 100, 500
_WRAPPED = '{"instances": [...]}'


def bad_request(detail: Detail) -> RequestError:
    message = f"{detail.path}: {detail.message}" if detail.path else detail.message
    return RequestError(
        400, f"invalid request body: {message}", details=[detail] if detail.path else []
    )


def explain(message: str, body: bytes) -> Detail:
    """Return where and what msgspec's `message` about a request body complains of."""
    complaint, _, path = message.partition(" - at `$")
    path = path.removesuffix("`").removeprefix(".")
    if not path and (detail := _not_wrapped(complaint, body)):
        return detail
    if match := re.match(
        r"Object (contains unknown|missing required) field `(.*)`", complaint, re.S
    ):
        verdict = "unknown field" if match[1] == "contains unknown" else "missing"
        return Detail(f"{path}.{match[2][:_ECHO]}".removeprefix("."), verdict)
    if match := re.match(r"Expected `(.*?)`, got `(.*?)`$", complaint):
        # Whole numbers may come with a point, so their type is the union of both.
        kinds = match[1].replace("int | float", "int").split(" | ")
        wanted = " or ".join(_NOUNS.get(kind, kind) for kind in kinds)
        return Detail(path, f"expected {wanted}, got {_NOUNS.get(match[2], match[2])}")
    if match := re.match(r"Expected `array` of length (>= )?(\d+)(, got (\d+))?", complaint):
        wanted = "at least one instance" if match[1] else f"{match[2]} values"
        return Detail(path, f"expected {wanted}" + (f", got {match[4]}" if match[4] else ""))
    if "RFC3339" in complaint:
        return Detail(path, "expected a date and time, such as 2026-01-31T12:00:00")
    return Detail(path, re.sub(r"`(\w+)`", lambda m: _NOUNS.get(m[1], m[1]), complaint).lower())


def _not_wrapped(complaint: str, body: bytes) -> Detail | None:
    """Notice an instance, or an array of them, that was sent by itself."""
    if match := re.match(r"Expected `object`, got `(.*?)`", complaint):
        return Detail("", f"expected {_WRAPPED}, got {_NOUNS.get(match[1], match[1])}")
    try:
        wrapped = "instances" in msgspec.json.decode(body, type=dict[str, msgspec.Raw])
    except (ValueError, RecursionError):  # further on it is no JSON
        return None
    return None if wrapped else Detail("instances", f"missing: send {_WRAPPED}")


def malformed(error: Exception) -> str:
    """Return in words why a body is no JSON at all."""
    if isinstance(error, UnicodeDecodeError):
        return "not UTF-8"
    return str(error).replace("JSON is malformed", "malformed JSON").lower()


class _Flaw(str):
    """A message in place of what Python's lenient JSON reader accepts and the service does not."""


def find_flaw(body: bytes) -> Detail | None:
    """Find a duplicate key, NaN or Infinity, and say where. Slow: for suspicious bodies only."""

    def unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
        found: dict[str, Any] = {}
        for key, value in pairs:
            found[key] = _Flaw("duplicate key") if key in found else value
        return found

    try:
        value = json.loads(
            body,
            object_pairs_hook=unique,
            parse_constant=lambda name: _Flaw(f"{name} is not a JSON number"),
        )
    except (ValueError, RecursionError):
        return None
    # The keys from the root, which has none, to where the search is: only a flaw gets a path.
    keys: list[str | int] = []
    levels: list[Iterator[tuple[str | int, Any]]] = [iter([("", value)])]
    while levels:
        for key, value in levels[-1]:
            if isinstance(value, _Flaw):
                return Detail(_path([*keys, key]), str(value))
            if isinstance(value, (dict, list)):
                keys.append(key)
                levels.append(iter(value.items() if isinstance(value, dict) else enumerate(value)))
                break
        else:
            levels.pop()
            del keys[-1:]
    return None


def _path(keys: list[str | int]) -> str:
    steps = [f"[{key}]" if isinstance(key, int) else f".{key[:_ECHO]}" for key in keys[1:]]
    return "".join(steps).removeprefix(".")[:_ECHO_PATH]
