"""The events in numbers: all that the gate decides by and the report shows."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import timedelta

import numpy as np

from tools.ab.customers import Measure, Observation, settle
from tools.ab.events import Answer, Counts, Events
from tools.ab.thresholds import Thresholds
from tools.feedback import Scalar, Truth
from tools.shadow.labels import equal
from tools.shadow.statistics import Array

HOUR = timedelta(hours=1)
GROUPS = ("candidate", "control")


@dataclass(frozen=True)
class Side:
    """A group in figures. `statuses`: of its answers. `durations` in ms, of those with a 200."""

    customers: int
    requests: int
    fallbacks: Counter[str]
    statuses: Counter[int]
    durations: Array


@dataclass(frozen=True)
class Summary:
    """The newest experiment. `lives` and `candidates`: versions that answered, the newest last.

    `counted`: answers that workers counted in it, None if their counts are not in the files;
    `no_key`: requests without a key. `unknown`: truths of requests that are not in it.
    """

    experiment: str | None
    others: list[str]
    lives: list[str]
    candidates: list[str]
    sides: dict[str, Side]
    measures: dict[str, Measure]
    hours: float
    answers: int
    counted: int | None
    no_key: int
    truths: int
    unknown: int

    @property
    def live(self) -> str | None:
        return self.lives[-1] if self.lives else None

    @property
    def candidate(self) -> str | None:
        return self.candidates[-1] if self.candidates else None

    @property
    def coverage(self) -> float:
        return min(1.0, self.answers / self.counted) if self.counted else 0.0


def summarise(events: Events, thresholds: Thresholds) -> Summary:
    """Return the summary of the newest experiment in the events."""
    newest = events.answers[-1].experiment if events.answers else None
    answers = [one for one in events.answers if one.experiment == newest]
    counts = [ends for ends in events.counts.values() if ends[-1].experiment == newest]
    of_request = _by_request(answers)
    known = [truth for truth in events.truths if truth.request_id in of_request]
    now = max((one.time for one in answers), default=None)
    if now is not None:
        now = max([now, *(truth.received for truth in known)])
    found = {
        "errors": _errors(answers),
        "latency": _latency(answers, thresholds.latency.slow_ms),
        "labels": _labels(known, of_request, thresholds.labels.within),
        "value": _values(known, of_request, thresholds),
    }
    hours = thresholds.customers.hours
    return Summary(
        experiment=newest,
        others=sorted({one.experiment for one in events.answers} - {str(newest)}),
        lives=_versions(answers, "live"),
        candidates=_versions(answers, "candidate"),
        sides={group: _side([a for a in answers if a.group == group]) for group in GROUPS},
        measures={name: settle(seen, hours, now) for name, seen in found.items()},
        hours=(answers[-1].time - answers[0].time) / HOUR if answers else 0.0,
        answers=len(answers),
        counted=_counted(counts) if counts else None,
        no_key=sum(last.groups.get("no_key", 0) for _, last in counts),
        truths=len(known),
        unknown=len(events.truths) - len(known),
    )


def _by_request(answers: list[Answer]) -> dict[str, Answer]:
    """Return answers by their request's id, without ids that several customers have used."""
    found: dict[str, Answer] = {}
    ambiguous = set()
    for one in answers:
        if found.setdefault(one.request_id, one).key != one.key:
            ambiguous.add(one.request_id)
    return {request: one for request, one in found.items() if request not in ambiguous}


def _errors(answers: list[Answer]) -> Iterator[Observation]:
    """Yield whether each customer's own side answered; a caller's mistakes say nothing of it."""
    for one in answers:
        if one.status < 400 or one.status >= 500:
            good = one.status < 400 and not one.fallback
            yield Observation(one.time, one.group, one.key, float(good))


def _latency(answers: list[Answer], slow_ms: float) -> Iterator[Observation]:
    for one in answers:
        if one.status < 400:
            yield Observation(one.time, one.group, one.key, float(one.duration_ms <= slow_ms))


def _labels(
    truths: list[Truth], of_request: dict[str, Answer], within: float
) -> Iterator[Observation]:
    for truth in truths:
        right = is_right(truth.prediction, truth.truth, within)
        if right is not None:
            one = of_request[truth.request_id]
            yield Observation(truth.received, one.group, one.key, float(right))


def _values(
    truths: list[Truth], of_request: dict[str, Answer], thresholds: Thresholds
) -> Iterator[Observation]:
    for truth in truths:
        if truth.value is not None:
            one = of_request[truth.request_id]
            score = thresholds.value.score(truth.value)
            yield Observation(truth.received, one.group, one.key, score)


def is_right(prediction: Scalar, truth: Scalar, within: float) -> bool | None:
    """Return whether a prediction is the truth; None if there is none to compare."""
    if prediction is None or truth is None:
        return None
    if equal(prediction, truth):
        return True
    try:
        return abs(float(prediction) - float(truth)) <= within
    except (TypeError, ValueError):
        return False


def _versions(answers: list[Answer], arm: str) -> list[str]:
    """Return the versions by when they answered last."""
    return list(dict.fromkeys(a.version for a in reversed(answers) if a.arm == arm))[::-1]


def _side(answers: list[Answer]) -> Side:
    return Side(
        customers=len({one.key for one in answers}),
        requests=len(answers),
        fallbacks=Counter(one.fallback for one in answers if one.fallback),
        statuses=Counter(one.status for one in answers),
        durations=np.array([one.duration_ms for one in answers if one.status < 400]),
    )


def _counted(workers: list[tuple[Counts, Counts]]) -> int:
    """Return how many answers the workers counted while they logged to these files."""
    return sum(
        last.in_experiment - (first.in_experiment if first.has_past else 0)
        for first, last in workers
    )
