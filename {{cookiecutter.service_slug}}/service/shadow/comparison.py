"""Whether two answers say the same: by bytes, then value by value, by rules for each field.

A field without a rule must be equal, but for fractions, which machines round differently. A rule
is a table in the rules file, named as the field:

    [fields.score]
    absolute = 0.01         # numbers may differ by so much,
    relative = 0.001        # or by this share of the larger one

    [fields.explanation]
    ignore = true           # whatever it says
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import gevent
import msgspec

from service.artifact import Outputs
from service.errors import Refusal

MOST_FIELDS = 20  # that differ
MOST_DELTAS = 20
MOST_FLIPS = 50
MAX_DEPTH = 16
ROWS_PER_TURN = 100
_ABSENT: Any = object()


class Rule(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    absolute: float = 1e-6
    relative: float = 1e-6
    ignore: bool = False


class _File(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    fields: dict[str, Rule] = {}


def read_rules(file: Path) -> dict[str, Rule]:
    """Return the rules of a file, none if there is no file; raises Refusal for a bad one."""
    try:
        return msgspec.toml.decode(file.read_bytes(), type=_File).fields
    except FileNotFoundError:
        return {}
    except (OSError, msgspec.DecodeError) as error:
        raise Refusal(f"SHADOW_RULES: {file}: {error}") from None


class NotJson(ValueError):
    """The candidate's answer is no JSON."""


@dataclass(slots=True)
class Comparison:
    """`flips`: rows by live and candidate class. `deltas`: candidate - live, of each row."""

    verdict: str
    rows: int = 1
    flips: list[tuple[Any, Any, int]] | None = None
    deltas: dict[str, list[float]] = field(default_factory=dict)
    fields: list[dict[str, Any]] = field(default_factory=list)


class Comparator:
    def __init__(
        self,
        outputs: Outputs,
        rules: Mapping[str, Rule],
        pause: Callable[[], None] = gevent.idle,
    ) -> None:
        """`pause`: called now and then while comparing answers of many rows."""
        self._label = outputs.fields[0].name if outputs.kind == "classification" else None
        self._numbers = [item.name for item in outputs.fields if item.type == "float"]
        self._rules = rules
        self._pause = pause

    def compare(self, live: bytes, candidate: bytes) -> Comparison:
        """Raises NotJson, and ValueError if the live answer is none that could be compared."""
        ours = _decode(live)
        walk = _Walk(self._rules, self._pause)
        theirs = ours
        if live != candidate:
            try:
                theirs = _decode(candidate)
            except ValueError as error:
                raise NotJson(str(error)) from None
            walk.compare(ours, theirs, "", "", 0)
        verdict = "mismatch" if walk.different else "match" if walk.equal else "within_tolerance"
        rows = _rows(ours)
        pairs = list(zip(rows, _rows(theirs), strict=False))
        return Comparison(
            verdict, max(1, len(rows)), self._flips(pairs), self._deltas(pairs), walk.fields
        )

    def _flips(self, pairs: list[tuple[Any, Any]]) -> list[tuple[Any, Any, int]] | None:
        if self._label is None:
            return None
        counted: Counter[tuple[Any, Any]] = Counter()
        for row, other in pairs:
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
                found[name] = [delta and float(f"{delta:.6g}") for delta in deltas]
        return found


class _Walk:
    """One pass over two values. `equal`: no tolerance was needed; `different`: none was enough."""

    def __init__(self, rules: Mapping[str, Rule], pause: Callable[[], None]) -> None:
        self.equal = True
        self.different = False
        self.fields: list[dict[str, Any]] = []
        self._rules = rules
        self._pause = pause

    def compare(self, one: Any, other: Any, path: str, name: str, depth: int) -> None:
        """`name`: the field's, which is that of the nearest object."""
        rule = self._rules.get(name)
        if type(one) is type(other) and not isinstance(one, (dict, list)) and one == other:
            return
        if rule and rule.ignore:
            self.equal = False
        elif isinstance(one, dict) and isinstance(other, dict) and depth < MAX_DEPTH:
            for key in one.keys() | other.keys() if one.keys() != other.keys() else one:
                inner = f"{path}.{key}" if path else key
                self.compare(one.get(key, _ABSENT), other.get(key, _ABSENT), inner, key, depth + 1)
        elif isinstance(one, list) and isinstance(other, list) and depth < MAX_DEPTH:
            if len(one) != len(other):
                return self._differ(path, one, other)
            for i, (a, b) in enumerate(zip(one, other, strict=True)):
                self.compare(a, b, f"{path}[{i}]", name, depth + 1)
                if i % ROWS_PER_TURN == ROWS_PER_TURN - 1:
                    self._pause()
        elif _number(one) and _number(other) and _near(one, other, rule):
            self.equal = False
        else:
            self._differ(path, one, other)

    def _differ(self, path: str, one: Any, other: Any) -> None:
        self.different = True
        if len(self.fields) < MOST_FIELDS:
            sides = {"live": one, "candidate": other}
            there = {side: _short(v) for side, v in sides.items() if v is not _ABSENT}
            self.fields.append({"path": path[:100] or "$"} | there)


def _decode(content: bytes) -> Any:
    try:
        return msgspec.json.decode(content)
    except (msgspec.DecodeError, RecursionError) as error:
        raise ValueError(str(error)) from None


def _rows(answer: Any) -> list[Any]:
    rows = answer.get("predictions") if isinstance(answer, dict) else None
    return rows if isinstance(rows, list) else []


def _get(row: Any, name: str) -> Any:
    return row.get(name) if isinstance(row, dict) else None


def _number(value: Any) -> bool:
    # Integers may be larger than any float, which arithmetic does not take.
    return type(value) in (int, float) and -1e300 < value < 1e300


def _near(one: float, other: float, rule: Rule | None) -> bool:
    if isinstance(one, int) and isinstance(other, int) and not rule:
        return False
    rule = rule or Rule()
    return math.isclose(one, other, rel_tol=rule.relative, abs_tol=rule.absolute)


def _short(value: Any) -> Any:
    """Return what of a value goes into a log line."""
    if isinstance(value, (dict, list)):
        return "{...}" if isinstance(value, dict) else "[...]"
    if isinstance(value, int) and not -(2**63) <= value < 2**63:
        return "a large integer"
    return value[:100] if isinstance(value, str) else value
