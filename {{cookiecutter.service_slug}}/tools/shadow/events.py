"""What the live service logged about its copies, read from the logs of any number of pods.

Lines may come in any order, more than once, cut short, behind a prefix (`kubectl logs --prefix`,
`--timestamps`) and among lines that have nothing to do with ghost mode.
"""

from __future__ import annotations

import sys
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from datetime import datetime
from typing import Annotated, Any, Literal, TypeVar

import msgspec

Verdict = Literal["match", "within_tolerance", "mismatch", "candidate_error", "not_compared"]
Time = Annotated[datetime, msgspec.Meta(tz=True)]
Flip = tuple[str | int | float | bool | None, str | int | float | bool | None, int]


class Side(msgspec.Struct, frozen=True, gc=False):
    """One of the two answers of a pair; what is not known of it is None."""

    version: str | None = None
    status: int | None = None
    inference_ms: float | None = None
    total_ms: float | None = None


class Difference(msgspec.Struct, frozen=True):
    """A field of the answer that differs; UNSET for the side that lacks it."""

    path: str
    live: Any = msgspec.UNSET
    candidate: Any = msgspec.UNSET


class Pair(msgspec.Struct, frozen=True, tag_field="event", tag="shadow.pair"):
    """One copy and what came of it."""

    time: Time = msgspec.field(name="timestamp")
    pair_id: str
    worker: str
    verdict: Verdict
    live: Side
    candidate: Side
    reason: str | None = None
    rows: int = 1
    flips: tuple[Flip, ...] | None = None
    deltas: dict[str, tuple[float | None, ...]] | None = None
    fields: tuple[Difference, ...] | None = None

    @property
    def agrees(self) -> bool:
        return self.verdict in ("match", "within_tolerance")

    @property
    def compared(self) -> bool:
        """Whether it says something of the candidate: an error does, by not agreeing."""
        return self.verdict != "not_compared"


class Counts(msgspec.Struct, frozen=True, tag_field="event", tag="shadow.counts"):
    """What a worker has counted since it started, `seconds` ago."""

    time: Time = msgspec.field(name="timestamp")
    worker: str
    seconds: float
    eligible: int
    sampled_out: int = 0
    skipped: dict[str, int] = {}
    dropped: dict[str, int] = {}
    enqueued: int = 0
    verdicts: dict[str, int] = {}
    expired: int = 0
    lost_at_exit: int = 0
    queued: int = 0
    live_cpu_seconds: float = 0.0
    live_requests: int = 0

    @property
    def add_up(self) -> bool:
        """Whether every copy is accounted for."""
        unsent = self.sampled_out + sum(self.skipped.values()) + sum(self.dropped.values())
        ended = sum(self.verdicts.values()) + self.expired + self.lost_at_exit + self.queued
        return self.eligible == unsent + self.enqueued and self.enqueued == ended


class Usage(msgspec.Struct, frozen=True, tag_field="event", tag="shadow.usage"):
    """What a worker of the candidate has used for copies since it started, `seconds` ago."""

    time: Time = msgspec.field(name="timestamp")
    worker: str
    seconds: float
    version: str
    requests: int
    cpu_seconds: float


@dataclass
class Reading:
    """How many lines there were, and of what kind."""

    pairs: int = 0
    counts: int = 0
    usages: int = 0
    duplicates: int = 0
    broken: int = 0
    foreign: int = 0


@dataclass(frozen=True)
class Events:
    """Every event once: pairs in order of time, the rest by worker, in order of its age."""

    pairs: list[Pair]
    counts: dict[str, list[Counts]]
    usages: dict[str, list[Usage]]
    reading: Reading


Cumulative = TypeVar("Cumulative", Counts, Usage)

_decode = msgspec.json.Decoder(Pair | Counts | Usage).decode


def read_files(names: Iterable[str]) -> Events:
    """Return the events of all files together; "-" is standard input.

    Raises OSError for a file that cannot be read.
    """

    def lines() -> Iterator[bytes]:
        for name in names:
            if name == "-":
                yield from sys.stdin.buffer
            else:
                with open(name, "rb") as stream:
                    yield from stream

    return read(lines())


def read(lines: Iterable[bytes]) -> Events:
    """Return the events among lines of log."""
    pairs: dict[str, Pair] = {}
    counts: dict[tuple[str, float], Counts] = {}
    usages: dict[tuple[str, float], Usage] = {}
    reading = Reading()
    for line in lines:
        # A line cut short before its event's name is not told from a foreign one; neither is
        # evidence, and a pair that is missing shows in the counts.
        if b'"shadow.' not in line:
            reading.foreign += bool(line.strip())
            continue
        try:
            event = _decode(line[line.index(b"{") :])
        except ValueError:  # no brace, no JSON, or not of the schema
            reading.broken += 1
            continue
        match event:
            case Counts():
                reading.counts += 1
                reading.duplicates += (event.worker, event.seconds) in counts
                counts[event.worker, event.seconds] = event
            case Usage():
                reading.usages += 1
                reading.duplicates += (event.worker, event.seconds) in usages
                usages[event.worker, event.seconds] = event
            case Pair():
                reading.pairs += 1
                known = pairs.get(event.pair_id)
                reading.duplicates += known is not None
                # Which of two that differ must not depend on the order of the files.
                if known is None or (event.time, event.verdict) < (known.time, known.verdict):
                    pairs[event.pair_id] = event
    return Events(
        sorted(pairs.values(), key=lambda pair: (pair.time, pair.pair_id)),
        _by_worker(counts.values()),
        _by_worker(usages.values()),
        reading,
    )


def _by_worker(found: Iterable[Cumulative]) -> dict[str, list[Cumulative]]:
    by_worker: dict[str, list[Cumulative]] = {}
    for event in sorted(found, key=lambda event: (event.worker, event.seconds)):
        by_worker.setdefault(event.worker, []).append(event)
    return by_worker
