"""Delayed labels: what the truth turned out to be, and which side had it right."""

from __future__ import annotations

import csv
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import msgspec

from tools.shadow.events import Pair


class Label(msgspec.Struct, frozen=True):
    pair_id: str
    truth: str | int | float | bool


@dataclass(frozen=True)
class Labelled:
    """Labelled rows: `better` only the candidate had right, `worse` only live had right.

    `unknown` labels name no pair that was read, `unusable` ones a pair that does not say what both
    sides answered: one of several rows, whose classes are logged as totals.
    """

    better: int = 0
    same: int = 0
    worse: int = 0
    unknown: int = 0
    unusable: int = 0

    @property
    def used(self) -> int:
        return self.better + self.same + self.worse


def read(path: Path) -> dict[str, Any]:
    """Return the truth by pair id, from CSV (pair_id,truth) or JSON lines with the same keys.

    A file is CSV if its name ends so. Raises ValueError for contradictory labels and anything else.
    """
    truths: dict[str, Any] = {}
    try:
        with path.open(newline="", encoding="utf-8-sig") as stream:
            labels = _from_csv(stream) if path.suffix == ".csv" else _from_json(stream)
            for number, label in labels:
                if truths.setdefault(label.pair_id, label.truth) != label.truth:
                    raise ValueError(f"line {number}: another truth for pair {label.pair_id}")
    except (OSError, ValueError) as error:
        raise ValueError(f"{path}: {error}") from None
    return truths


def _from_json(stream: Iterable[str]) -> Iterator[tuple[int, Label]]:
    for number, line in enumerate(stream, 1):
        if line.strip():
            yield number, msgspec.json.decode(line, type=Label)


def _from_csv(stream: Iterable[str]) -> Iterator[tuple[int, Label]]:
    rows = csv.DictReader(stream)
    if not {"pair_id", "truth"} <= set(rows.fieldnames or ()):
        raise ValueError("line 1: expected the columns pair_id and truth")
    for row in rows:
        if not row["pair_id"] or not row["truth"]:
            raise ValueError(f"line {rows.line_num}: expected a pair_id and a truth")
        yield rows.line_num, Label(row["pair_id"], row["truth"])


def judge(pairs: Iterable[Pair], truths: dict[str, Any]) -> Labelled:
    """Return how the labelled pairs came out; an error of the candidate is wrong."""
    found = {-1: 0, 0: 0, 1: 0}
    unknown, unusable = len(truths), 0
    for pair in pairs:
        if pair.pair_id in truths:
            unknown -= 1
            difference = _difference(pair, truths[pair.pair_id])
            if difference is None:
                unusable += 1
            else:
                found[difference] += 1
    return Labelled(found[1], found[0], found[-1], unknown, unusable)


def _difference(pair: Pair, truth: Any) -> int | None:
    """Return 1 if only the candidate was right, -1 if only live was, 0 if both or neither."""
    if pair.verdict == "candidate_error":
        return -1
    if not pair.compared or pair.rows != 1:
        return None
    if pair.flips:
        live, candidate, _ = pair.flips[0]
        return int(_equal(candidate, truth)) - int(_equal(live, truth))
    if pair.agrees:
        return 0
    # A regression: nearer is better, by the first number of the answer.
    for field in pair.deltas or ():
        for item in pair.fields or ():
            if item.path == f"predictions[0].{field}":
                try:
                    errors = (abs(float(v) - float(truth)) for v in (item.live, item.candidate))
                    live, candidate = errors
                except (TypeError, ValueError):
                    return None
                return int(candidate < live) - int(live < candidate)
        return 0
    return None


def _equal(answer: Any, truth: Any) -> bool:
    """Whether an answer is the truth, which a CSV file gives as text."""
    if str(answer) == str(truth):
        return True
    try:
        return float(answer) == float(truth)
    except (TypeError, ValueError):
        return str(answer).lower() == str(truth).lower() and isinstance(answer, bool)
