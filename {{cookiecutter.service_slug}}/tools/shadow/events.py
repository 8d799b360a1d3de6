"""The events of shadow traffic, read from the live service's logs, of any number of pods.

Lines may come in any order, more than once, cut short, behind a prefix (`kubectl logs --prefix`,
`--timestamps`) and among lines of anything else.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime, timedelta
from fileinput import FileInput
from operator import attrgetter
from typing import Annotated, Any, Literal, TypeVar

import msgspec

Verdict = Literal["match", "within_tolerance", "mismatch", "candidate_error", "not_compared"]
Time = Annotated[datetime, msgspec.Meta(tz=True)]

# Workers log their counts when they start and every 10 seconds; three times that is surely late.
COUNTS_EVERY = timedelta(seconds=30)


class Side(msgspec.Struct, frozen=True, gc=False):
    """One of the two answers of a pair; what is not known of it is None."""

    version: str | None = None
    inference_ms: float | None = None
    total_ms: float | None = None


class Difference(msgspec.Struct, frozen=True):
    """A field of the answer that differs; UNSET for the side that lacks it."""

    path: str
    live: Any = msgspec.UNSET
    candidate: Any = msgspec.UNSET


class Pair(msgspec.Struct, frozen=True, tag_field="event", tag="shadow.pair"):
    """One copy and what came of it. `flips`: live's class, the candidate's, and rows of that."""

    time: Time = msgspec.field(name="timestamp")
    pair_id: str
    worker: str
    verdict: Verdict
    live: Side
    candidate: Side
    request_id: str | None = None
    reason: str | None = None
    rows: int = 1
    flips: tuple[tuple[Any, Any, int], ...] | None = None
    deltas: dict[str, tuple[float | None, ...]] | None = None
    fields: tuple[Difference, ...] | None = None

    @property
    def agrees(self) -> bool:
        return self.verdict in ("match", "within_tolerance")

    @property
    def compared(self) -> bool:
        """Whether it says something of the candidate: an error does, by not agreeing."""
        return self.verdict != "not_compared"


class Totals(msgspec.Struct, frozen=True):
    """What a worker has counted since it started, `seconds` ago."""

    time: Time = msgspec.field(name="timestamp")
    worker: str
    seconds: float

    @property
    def has_past(self) -> bool:
        """Whether the worker is older than these totals: a new one logs its first ones at once."""
        return self.seconds > COUNTS_EVERY.total_seconds()


class Counts(Totals, frozen=True, tag_field="event", tag="shadow.counts"):
    """The totals of a worker of the live service."""

    eligible: int
    sampled_out: int = 0
    skipped: dict[str, int] = {}
    dropped: dict[str, int] = {}
    enqueued: int = 0
    verdicts: dict[str, int] = {}
    expired: int = 0
    lost_at_exit: int = 0
    queued: int = 0
    cpu_seconds: float = msgspec.field(name="live_cpu_seconds", default=0.0)
    requests: int = msgspec.field(name="live_requests", default=0)

    @property
    def add_up(self) -> bool:
        """Whether every copy is accounted for."""
        unsent = self.sampled_out + sum(self.skipped.values()) + sum(self.dropped.values())
        ended = sum(self.verdicts.values()) + self.expired + self.lost_at_exit + self.queued
        return self.eligible == unsent + self.enqueued and self.enqueued == ended


class Usage(Totals, frozen=True, tag_field="event", tag="shadow.usage"):
    """The totals of a worker of the candidate: CPU time that copies took."""

    version: str
    requests: int
    cpu_seconds: float


Some = TypeVar("Some", bound=Totals)


@dataclass(frozen=True)
class Events:
    """Every event once: pairs in order of time, and each worker's first and last totals.

    `lines`: how many lines were read, by kind.
    """

    pairs: list[Pair]
    counts: dict[str, tuple[Counts, Counts]]
    usages: dict[str, tuple[Usage, Usage]]
    lines: Counter[str]


_age = attrgetter("seconds")
_decode = msgspec.json.Decoder(Pair | Counts | Usage).decode


def read_files(names: list[str]) -> Events:
    """Return the events of all files together, "-" being standard input; raises OSError."""
    with FileInput(names, mode="rb") as lines:
        return read(lines)


def read(lines: Iterable[bytes]) -> Events:
    """Return the events among lines of log."""
    pairs: dict[str, Pair] = {}
    counts: dict[str, tuple[Counts, Counts]] = {}
    usages: dict[str, tuple[Usage, Usage]] = {}
    kinds: Counter[str] = Counter()
    for line in lines:
        # A line cut short before its event's name is not told from a foreign one; neither is
        # evidence, and a pair that is missing shows in the counts.
        if b'"shadow.' not in line:
            kinds["of something else"] += bool(line.strip())
            continue
        try:
            event = _decode(line[line.index(b"{") :])
        except ValueError:  # no brace, no JSON, or not of the schema
            kinds["of shadow traffic, but cut short or broken"] += 1
            continue
        match event:
            case Counts():
                kinds["counts of workers"] += 1
                note(counts, event)
            case Usage():
                kinds["counts of workers"] += 1
                note(usages, event)
            case Pair():
                known = pairs.setdefault(event.pair_id, event)
                kinds["pairs" if known is event else "pairs read more than once"] += 1
                # Which of two that differ is kept must not depend on the order of the files.
                if (event.time, event.verdict) < (known.time, known.verdict):
                    pairs[event.pair_id] = event
    ordered = sorted(pairs.values(), key=lambda pair: (pair.time, pair.pair_id))
    return Events(ordered, counts, usages, kinds)


def note(ends: dict[str, tuple[Some, Some]], totals: Some) -> None:
    """Keep a worker's first and last totals."""
    first, last = ends.get(totals.worker, (totals, totals))
    ends[totals.worker] = min(first, totals, key=_age), max(last, totals, key=_age)
