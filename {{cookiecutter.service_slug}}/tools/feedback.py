"""The truth that callers sent to /feedback, read from the service's logs, of any number of pods.

Lines may come in any order, more than once, cut short, behind a prefix (`kubectl logs --prefix`,
`--timestamps`) and among lines of anything else.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime
from fileinput import FileInput
from typing import Annotated

import msgspec

Time = Annotated[datetime, msgspec.Meta(tz=True)]
Scalar = str | int | float | bool | None

MARK = b'"feedback"'  # the event's name


class Truth(msgspec.Struct, frozen=True, tag_field="event", tag="feedback"):
    """One event. `prediction` is the first field of what the version answered to the instance."""

    received: Time = msgspec.field(name="timestamp")
    request_id: str
    index: int
    version: str
    prediction: Scalar
    truth: Scalar
    answered_at: Time | None = None
    value: float | None = None

    @property
    def time(self) -> datetime:
        """When it was answered, as far as that is known."""
        return self.answered_at or self.received


@dataclass(frozen=True)
class Truths:
    """The truth of each instance once, in order of time; `lines`: how many were read, by kind."""

    found: list[Truth]
    lines: Counter[str]


_decode = msgspec.json.Decoder(Truth).decode


def read_files(names: list[str]) -> Truths:
    """Return the truths of all files together, "-" being standard input; raises OSError."""
    with FileInput(names, mode="rb") as lines:
        return read(lines)


def read(lines: Iterable[bytes]) -> Truths:
    """Return the truths among lines of log; of several for one instance, the last received."""
    found: dict[tuple[str, int], Truth] = {}
    kinds: Counter[str] = Counter()
    for line in lines:
        # A line cut short before its event's name is not told from a foreign one.
        if MARK not in line:
            kinds["of something else"] += bool(line.strip())
            continue
        try:
            new = _decode(line[line.index(b"{") :])
        except ValueError:  # no brace, no JSON, or not of the schema
            kinds["of feedback, but cut short or broken"] += 1
            continue
        known = found.setdefault((new.request_id, new.index), new)
        if known is new:
            kinds["truths"] += 1
            continue
        same = (known.version, known.prediction, known.truth, known.value) == (
            (new.version, new.prediction, new.truth, new.value)
        )
        kinds["truths sent again" if same else "truths corrected: the last one counts"] += 1
        # Which of two is kept must not depend on the order of the files.
        if _order(new) > _order(known):
            found[new.request_id, new.index] = new
    ordered = sorted(found.values(), key=lambda truth: (truth.time, truth.request_id, truth.index))
    return Truths(ordered, kinds)


def _order(truth: Truth) -> tuple[datetime, bytes]:
    return truth.received, msgspec.json.encode(truth)
