"""Delayed labels: what the truth turned out to be, and which side had it right."""

from __future__ import annotations

import csv
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

import msgspec

from tools import feedback
from tools.shadow.events import Pair

Text = Annotated[str, msgspec.Meta(min_length=1)]


class Label(msgspec.Struct, frozen=True):
    pair_id: Text
    truth: Text | int | float | bool


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

    Or by request id, from logs that have the truths sent to /feedback. A file is CSV if its name
    ends so. Raises ValueError for contradictory labels and anything else.
    """
    truths: dict[str, Any] = {}
    try:
        with path.open("rb") as log:
            # The first row's: what requests of several rows were answered, pairs do not tell.
            sent = [truth for truth in feedback.read(log).found if truth.index == 0]
        if sent:
            return {truth.request_id: truth.truth for truth in sent}
        with path.open(newline="", encoding="utf-8-sig") as stream:
            lines = map(msgspec.json.decode, filter(str.strip, stream))
            rows: Iterable[Any] = csv.DictReader(stream) if path.suffix == ".csv" else lines
            for row in rows:
                label = msgspec.convert(row, Label)
                if truths.setdefault(label.pair_id, label.truth) != label.truth:
                    raise ValueError(f"another truth for pair {label.pair_id}")
        if not truths:
            raise ValueError("there must be some")
    except (OSError, ValueError) as error:
        raise ValueError(f"{path}: after {len(truths)} labels: {error}") from None
    return truths


def judge(pairs: Iterable[Pair], truths: dict[str, Any]) -> Labelled:
    """Return how the labelled pairs came out; an error of the candidate is wrong."""
    named = [
        (name, pair)
        for pair in pairs
        for name in (pair.pair_id, pair.request_id)
        if name is not None and name in truths
    ]
    found = Counter(_compare(pair, truths[name]) for name, pair in named)
    unknown = len(truths) - len({name for name, _ in named})
    return Labelled(found[1], found[0], found[-1], unknown, found[None])


def _compare(pair: Pair, truth: Any) -> int | None:
    """Return 1 if only the candidate was right, -1 if only live was, 0 if both or neither."""
    if pair.verdict == "candidate_error":
        return -1
    if not pair.compared or pair.rows != 1:
        return None
    if pair.flips:
        live, candidate, _ = pair.flips[0]
        return int(equal(candidate, truth)) - int(equal(live, truth))
    if pair.agrees:
        return 0
    # A regression: nearer is better, by the first number of the answer.
    if not pair.deltas:
        return None
    path = f"predictions[0].{next(iter(pair.deltas))}"
    for item in pair.fields or ():
        if item.path == path:
            try:
                right = float(truth)
                live, candidate = abs(float(item.live) - right), abs(float(item.candidate) - right)
            except (TypeError, ValueError):
                return None
            return int(candidate < live) - int(live < candidate)
    return 0


def equal(answer: Any, truth: Any) -> bool:
    """Whether an answer is the truth, which a CSV file gives as text."""
    if str(answer) == str(truth):
        return True
    try:
        return float(answer) == float(truth)
    except (TypeError, ValueError):
        return str(answer).lower() == str(truth).lower() and isinstance(answer, bool)
