"""The events of an experiment, and the truths that came back, read from logs of any number of pods.

As with shadow traffic, lines may come in any order, more than once, cut short, behind a prefix and
among lines of anything else.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass
from fileinput import FileInput
from typing import Any, Literal

import msgspec

from tools.feedback import Truth
from tools.shadow.events import Time, Totals, note

Group = Literal["candidate", "control"]


class Answer(msgspec.Struct, frozen=True, tag_field="event", tag="ab.answer"):
    """An answer to a user of the experiment. `group` is the user's, `arm` is who answered.

    `key`: the user's pseudonym. `fallback`: why live answered in the candidate's place.
    """

    time: Time = msgspec.field(name="timestamp")
    worker: str
    experiment: str
    group: Group
    key: str
    request_id: str
    arm: Literal["live", "candidate"]
    version: str
    status: int
    duration_ms: float
    fallback: str | None = None
    candidate_ms: float = 0.0
    rows: int = 0


class Counts(Totals, frozen=True, tag_field="event", tag="ab.counts"):
    """The totals of a worker. `groups`: requests by candidate, control, others, no_key."""

    experiment: str
    groups: dict[str, int] = {}
    fallbacks: dict[str, int] = {}
    events_lost: int = 0

    @property
    def in_experiment(self) -> int:
        return self.groups.get("candidate", 0) + self.groups.get("control", 0)


@dataclass(frozen=True)
class Events:
    """Every event once, answers in order of time. `lines`: how many were read, by kind."""

    answers: list[Answer]
    counts: dict[str, tuple[Counts, Counts]]
    truths: list[Truth]
    lines: Counter[str]


_decode = msgspec.json.Decoder(Answer | Counts | Truth).decode


def read_files(names: list[str]) -> Events:
    """Return the events of all files together, "-" being standard input; raises OSError."""
    with FileInput(names, mode="rb") as lines:
        return read(lines)


def read(lines: Iterable[bytes]) -> Events:
    """Return the events among lines of log.

    Of several truths of one row the first received counts: what was settled by it stays so.
    """
    answers: dict[tuple[str, str, Any], Answer] = {}
    counts: dict[str, tuple[Counts, Counts]] = {}
    truths: dict[tuple[str, int], Truth] = {}
    kinds: Counter[str] = Counter()
    for line in lines:
        if b'"ab.' not in line and b'"feedback"' not in line:
            kinds["of something else"] += bool(line.strip())
            continue
        try:
            event = _decode(line[line.index(b"{") :])
        except ValueError:  # no brace, no JSON, or not of the schema
            kinds["of the experiment, but cut short or broken"] += 1
            continue
        match event:
            case Counts():
                kinds["counts of workers"] += 1
                note(counts, event)
            case Truth():
                kinds["truths"] += 1
                row = (event.request_id, event.index)
                truths[row] = min(truths.get(row, event), event, key=lambda one: one.received)
            case Answer():
                kinds["answers"] += 1
                answers[event.worker, event.request_id, event.time] = event
    ordered = sorted(answers.values(), key=lambda one: (one.time, one.request_id))
    return Events(ordered, counts, list(truths.values()), kinds)
