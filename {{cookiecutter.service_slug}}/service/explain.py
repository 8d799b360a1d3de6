"""What is wrong with a request body, and where: in JSON's words, not in the decoder's."""

from __future__ import annotations

import json
import re
import string
from typing import Any, TypeVar

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
# A client's own text that an error echoes is cut to so many characters.
_ECHO = 100
_T = TypeVar("_T")
_NOTHING = msgspec.Raw()
_BLANKS = b" \t\r\n"
_CONSTANT = re.compile(rb"-?(?:NaN|Infinity)")


class _Wrapped(msgspec.Struct):
    instances: msgspec.Raw = _NOTHING
    feedback: msgspec.Raw = _NOTHING
    inputs: msgspec.Raw = _NOTHING


class _Instances(msgspec.Struct):
    instances: list[msgspec.Raw]


def bad_request(detail: Detail) -> RequestError:
    message = f"{detail.path}: {detail.message}" if detail.path else detail.message
    return RequestError(
        400, f"invalid request body: {message}", details=[detail] if detail.path else []
    )


def explain(message: str, body: bytes, key: str = "instances") -> Detail:
    """Return where and what msgspec's `message` about a request body complains of.

    `key`: of the array that the body has to be, as an object around it.
    """
    complaint, path = _split(message)
    if not path and (detail := _not_wrapped(complaint, body, key)):
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
        one = "one instance" if key == "instances" else "one item"
        wanted = f"at least {one}" if match[1] else f"{match[2]} values"
        return Detail(path, f"expected {wanted}" + (f", got {match[4]}" if match[4] else ""))
    if "RFC3339" in complaint:
        return Detail(path, "expected a date and time, such as 2026-01-31T12:00:00")
    return Detail(path, re.sub(r"`(\w+)`", lambda m: _NOUNS.get(m[1], m[1]), complaint).lower())


def _split(message: str) -> tuple[str, str]:
    complaint, _, path = message.partition(" - at `$")
    return complaint, path.removesuffix("`").removeprefix(".")


def _not_wrapped(complaint: str, body: bytes, key: str) -> Detail | None:
    """Notice an instance, or an array of them, that was sent by itself."""
    form = f'{{"{key}": [...]}}'
    if match := re.match(r"Expected `object`, got `(.*?)`", complaint):
        return Detail("", f"expected {form}, got {_NOUNS.get(match[1], match[1])}")
    try:
        wrapped = getattr(msgspec.json.decode(body, type=_Wrapped), key) is not _NOTHING
    except (ValueError, RecursionError):  # further on it is no JSON
        return None
    return None if wrapped else Detail(key, f"missing: send {form}")


def malformed(body: bytes, error: Exception) -> Detail:
    """Return why `body` is no JSON, and in which value: where the decoder's `error` says.

    All before is of the right types, so no field of it is looked up again: of a thousand fields,
    each may take a microsecond to find.
    """
    if "truncated" in str(error):  # or something is wrong in the last bytes
        error = _beyond_the_end(body) or error
    if isinstance(error, UnicodeDecodeError):
        at, message = _utf8_until(body), "not UTF-8"
    else:
        reason, _, byte = str(error).removesuffix(")").partition(" (byte ")
        at, message = int(byte or len(body)), reason.replace("JSON is malformed", "malformed JSON")
    if at >= len(body) and "trailing" not in message:
        return Detail("", "the JSON is truncated")
    start = _value_start(body, at)
    if name := _CONSTANT.match(body, start):
        message = f"{name[0].decode()} is not a JSON number"
    elif "surrogate" in message or "end of hex escape" in message:
        message = "half a surrogate pair is no character"
    # A number out of its range is JSON, and may be where Order put it.
    where = "" if "out of range" in message else f" (byte {at})"
    return Detail(_path_after(body[:start]), message + where)


def _beyond_the_end(body: bytes) -> msgspec.DecodeError | None:
    try:
        msgspec.json.decode(body + b" " * 16, type=msgspec.Raw)
    except msgspec.DecodeError as error:
        return error
    return None


def _utf8_until(body: bytes) -> int:
    try:
        return len(body.decode())
    except UnicodeDecodeError as error:
        return error.start


def _value_start(body: bytes, within: int) -> int:
    """Return where the value begins that a byte is in, or ends; up to there `body` is JSON."""
    # With escapes blanked out, a quote begins or ends a string.
    before = body[:within].replace(rb"\\", b"__").replace(rb"\"", b"__")
    if before.count(b'"') % 2:
        return before.rfind(b'"')
    return len(before.rstrip(string.ascii_letters.encode() + b"+-.0123456789"))


def _path_after(beginning: bytes) -> str:
    """Return the path of the value that follows the right beginning of a body, "" if none does."""
    # What closes all the brackets that are open says where it is.
    if _decoded(beginning + b"0}", msgspec.Raw):
        return _last_key(beginning)
    for end in (b"0]}", b"0}]}", b"0]]}"):
        if found := _decoded(beginning + end, _Instances):
            path = f"instances[{len(found.instances) - 1}]"
            if end == b"0]}":
                return path
            if end == b"0}]}":
                return f"{path}.{_last_key(beginning)}"
            return f"{path}[{len(msgspec.json.decode(found.instances[-1])) - 1}]"
    return ""


def _decoded(body: bytes, kind: type[_T]) -> _T | None:
    try:
        return msgspec.json.decode(body, type=kind)
    except msgspec.DecodeError:
        return None


def _last_key(beginning: bytes) -> str:
    quoted = beginning.rstrip(_BLANKS + b":")
    return str(msgspec.json.decode(quoted[_value_start(quoted, len(quoted) - 1) :]))


def refuse_duplicate_keys(body: bytes, quoted: int) -> None:
    """Raise RequestError if a right body has a key twice, of which the decoder keeps the last.

    Each key, string and date that it returned, `quoted` in all, took two quotes; if the body has
    more that are not escaped, something was thrown away.
    """
    more = body.count(b'"') - 2 * quoted
    if more and more != body.replace(rb"\\", b"").count(rb"\""):
        raise bad_request(_duplicate_key(body))


def _duplicate_key(body: bytes) -> Detail:
    """Return which key comes twice in a body that is right but for that."""

    def first(pairs: list[tuple[str, Any]]) -> Detail | None:
        # Of a right body only the outermost object has an array: of what this returned for rows.
        seen = set()
        for key, value in pairs:
            for i, row in enumerate(value if type(value) is list else ()):
                if type(row) is Detail:
                    return Detail(f"{key}[{i}].{row.path}", row.message)
            if key in seen:
                return Detail(key, "duplicate key")
            seen.add(key)
        return None

    found: Detail | None = json.loads(body, object_pairs_hook=first)
    return found or Detail("", "duplicate key")
