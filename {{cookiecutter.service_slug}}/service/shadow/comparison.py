"""Whether two answers say the same: by bytes, then value by value, by shadow-rules.toml's rules."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import gevent
import msgspec

from service.artifact import Outputs
from service.errors import Refusal

# Limits of what is told of one comparison.
MOST_FIELDS, MOST_DELTAS, MOST_FLIPS = 20, 20, 50
MAX_DEPTH = 16
ROWS_PER_TURN = 100  # then other greenlets have a turn
_ABSENT: Any = object()  # where a key is missing


class Rule(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    absolute: float = 1e-6  # numbers may differ by so much,
    relative: float = 1e-6  # or by this share of the larger one
    ignore: bool = False  # it may say anything


_Tables = dict[Literal["fields"], dict[str, Rule]]


def read_rules(file: Path) -> dict[str, Rule]:
    """Return the rules of a file, none if there is no file; raises Refusal for a bad one."""
    try:
        return msgspec.toml.decode(file.read_bytes(), type=_Tables).get("fields", {})
    except FileNotFoundError:
        return {}
    except (OSError, msgspec.DecodeError) as error:
        raise Refusal(f"{file}: {error}") from None


class NotJson(Exception):
    """An answer is no JSON; the message is the reason why there is no comparison."""


@dataclass(slots=True)
class Comparison:
    """What two answers say, row by row and field by field."""

    verdict: str
    rows: int
    flips: list[tuple[Any, Any, int]]  # rows by live and candidate class
    deltas: dict[str, list[float]]  # candidate - live of each row, by field
    fields: list[dict[str, Any]]  # that differ, and must not


class Comparator:
    def __init__(self, outputs: Outputs, rules: Mapping[str, Rule]) -> None:
        self._label = outputs.fields[0].name if outputs.kind == "classification" else ""
        self._numbers = [item.name for item in outputs.fields if item.type == "float"]
        self._rules = rules

    def compare(self, live: bytes, candidate: bytes) -> Comparison:
        """Compare two answers; raises NotJson."""
        ours = theirs = _decode(live, "live_not_json")
        verdict = "match"
        fields: list[dict[str, Any]] = []
        if live != candidate:
            theirs = _decode(candidate, "not_json")
            for path, one, other, allowed in self._differences(ours, theirs):
                if not allowed:
                    verdict = "mismatch"
                    if len(fields) < MOST_FIELDS:
                        fields.append(_field(path, one, other))
                elif verdict == "match":
                    verdict = "within_tolerance"
        rows = _rows(ours)
        pairs = list(zip(rows, _rows(theirs), strict=False))
        flips, deltas = self._flips(pairs), self._deltas(pairs)
        return Comparison(verdict, max(1, len(rows)), flips, deltas, fields)

    def _differences(
        self, one: Any, other: Any, path: str = "", rule: Rule | None = None, depth: int = 0
    ) -> Iterator[tuple[str, Any, Any, bool]]:
        """Yield what differs: its path, live's value, the candidate's, and whether it may differ.

        `rule`: of the field, for all that is in its lists and objects too; keys of objects may have
        rules of their own.
        """
        kind = type(one) if type(one) is type(other) else None
        if kind not in (None, dict, list) and one == other:
            return
        if rule and rule.ignore:
            yield path, one, other, True
        elif kind is dict and depth < MAX_DEPTH:
            for key in one | other:
                inner = f"{path}.{key}" if path else key
                a, b = one.get(key, _ABSENT), other.get(key, _ABSENT)
                yield from self._differences(a, b, inner, self._rules.get(key, rule), depth + 1)
        elif kind is list and len(one) == len(other) and depth < MAX_DEPTH:
            for i, (a, b) in enumerate(zip(one, other, strict=True)):
                yield from self._differences(a, b, f"{path}[{i}]", rule, depth + 1)
                if i % ROWS_PER_TURN == ROWS_PER_TURN - 1:
                    gevent.idle()
        else:
            yield path, one, other, _near(one, other, rule)

    def _flips(self, pairs: list[tuple[Any, Any]]) -> list[tuple[Any, Any, int]]:
        counted: Counter[tuple[Any, Any]] = Counter()
        for row, other in pairs if self._label else ():
            classes = _get(row, self._label), _get(other, self._label)
            if all(isinstance(name, (str, int, float)) for name in classes):
                counted[classes] += 1
        most = counted.most_common(MOST_FLIPS)
        return [(_short(one), _short(other), rows) for (one, other), rows in most]

    def _deltas(self, pairs: list[tuple[Any, Any]]) -> dict[str, list[float]]:
        found: dict[str, list[float]] = {}
        for name in self._numbers:
            values = [(_get(row, name), _get(other, name)) for row, other in pairs[:MOST_DELTAS]]
            if deltas := [b - a for a, b in values if _number(a) and _number(b)]:
                found[name] = [float(f"{delta:.6g}") for delta in deltas]
        return found


def _decode(content: bytes, reason: str) -> Any:
    try:
        return msgspec.json.decode(content)
    except (msgspec.DecodeError, RecursionError):
        raise NotJson(reason) from None


def _rows(answer: Any) -> list[Any]:
    rows = _get(answer, "predictions")
    return rows if isinstance(rows, list) else []


def _get(row: Any, name: str) -> Any:
    return row.get(name) if isinstance(row, dict) else None


def _number(value: Any) -> bool:
    # Integers may be larger than any float, which arithmetic does not take.
    return type(value) in (int, float) and -1e300 < value < 1e300


def _near(one: Any, other: Any, rule: Rule | None) -> bool:
    """Tell whether two values are numbers as close as their rule wants them.

    Without one, integers must be equal; fractions need not, which machines round differently.
    """
    if not (_number(one) and _number(other)):
        return False
    if isinstance(one, int) and isinstance(other, int) and not rule:
        return False
    rule = rule or Rule()
    return math.isclose(one, other, rel_tol=rule.relative, abs_tol=rule.absolute)


def _field(path: str, live: Any, candidate: Any) -> dict[str, Any]:
    """Return what is told of a field that differs; a side that lacks it is left out."""
    told = {"path": path[:100] or "$", "live": live, "candidate": candidate}
    return {name: _short(value) for name, value in told.items() if value is not _ABSENT}


def _short(value: Any) -> Any:
    """Return what of a value goes into a log line."""
    if isinstance(value, (dict, list)):
        return "{...}" if isinstance(value, dict) else "[...]"
    if isinstance(value, int) and not -(2**63) <= value < 2**63:
        return "a large integer"
    return value[:100] if isinstance(value, str) else value
