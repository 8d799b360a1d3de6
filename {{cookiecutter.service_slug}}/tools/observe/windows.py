"""What has arrived lately, second by second, and what it adds up to.

All that is told is of whole seconds: a number would sink at the start of each one otherwise. And
since nothing is added to a second that is over, it can be read without a lock.
"""

from __future__ import annotations

import threading
from collections import defaultdict, deque

from tools.observe.dogstatsd import Event, Sample
from tools.observe.sketch import Sketch

HISTORY = 240  # seconds that are kept
STALE = 15.0  # seconds after which a gauge is forgotten: the worker that set it has ended

Tags = tuple[tuple[str, str], ...]


class _Second:
    """Metric -> tags -> what arrived within this second."""

    def __init__(self) -> None:
        self.sums: dict[str, defaultdict[Tags, float]] = {}
        self.sketches: dict[str, defaultdict[Tags, Sketch]] = {}

    def add(self, sample: Sample, tags: Tags) -> None:
        if sample.kind == "count":
            sums = self.sums.setdefault(sample.name, defaultdict(float))
            sums[tags] += sum(sample.values) * sample.weight
        else:
            sketch = self.sketches.setdefault(sample.name, defaultdict(Sketch))[tags]
            for value in sample.values:
                sketch.add(value, sample.weight)


_NOTHING = _Second()


class Windows:
    """Filled by one thread, read by another. `now`: seconds of a clock that only goes forward."""

    def __init__(self) -> None:
        self.events: deque[Event] = deque(maxlen=20)
        self._seconds: dict[int, _Second] = {}
        self._gauges: dict[tuple[str, Tags], tuple[float, float]] = {}
        self._first: int | None = None
        self._now = 0.0
        self._lock = threading.Lock()

    def add(self, item: Sample | Event, now: float) -> None:
        self.advance(now)
        if isinstance(item, Event):
            self.events.append(item)
            return
        tags = tuple(item.tags.items())
        with self._lock:
            if item.kind == "gauge":
                self._gauges[item.name, tags] = item.values[-1], now
            else:
                self._seconds.setdefault(int(now), _Second()).add(item, tags)

    def advance(self, now: float) -> None:
        """Say what time it is; what is too old by then is forgotten."""
        with self._lock:
            if self._first is None:
                self._first = int(now)
            if int(now) > int(self._now):
                for at in [at for at in self._seconds if at < int(now) - HISTORY]:
                    del self._seconds[at]
                for key in [key for key, (_, at) in self._gauges.items() if at < now - STALE]:
                    del self._gauges[key]
            self._now = max(self._now, now)

    def age(self, most: int) -> int:
        """Return for how many seconds, of the last `most`, there has been something; at least 1."""
        return max(1, min(most, int(self._now) - (self._first or 0)))

    def each_sum(self, name: str, by: str, seconds: int) -> list[dict[str, float]]:
        """Return a count by the values of the tag `by`, for each second; the latest comes last."""
        found = []
        for second in self._last(seconds):
            sums: defaultdict[str, float] = defaultdict(float)
            for tags, value in second.sums.get(name, {}).items():
                sums[dict(tags).get(by, "")] += value
            found.append(dict(sums))
        return found

    def each_sketch(self, name: str, by: str, seconds: int) -> list[dict[str, Sketch]]:
        """Return a distribution by the values of the tag `by`, for each second."""
        found = []
        for second in self._last(seconds):
            sketches: defaultdict[str, Sketch] = defaultdict(Sketch)
            for tags, sketch in second.sketches.get(name, {}).items():
                sketches[dict(tags).get(by, "")].merge(sketch)
            found.append(dict(sketches))
        return found

    def sums(self, name: str, by: str, seconds: int) -> dict[str, float]:
        """Return a count's sums over the last `seconds`, by the values of the tag `by`."""
        total: defaultdict[str, float] = defaultdict(float)
        for sums in self.each_sum(name, by, seconds):
            for value, number in sums.items():
                total[value] += number
        return dict(total)

    def total(self, name: str, seconds: int) -> float:
        """Return a count's sum over the last `seconds`."""
        return sum(self.sums(name, "", seconds).values())

    def sketches(self, name: str, by: str, seconds: int) -> dict[str, Sketch]:
        """Return a distribution over the last `seconds`, by the values of the tag `by`."""
        total: defaultdict[str, Sketch] = defaultdict(Sketch)
        for sketches in self.each_sketch(name, by, seconds):
            for value, sketch in sketches.items():
                total[value].merge(sketch)
        return dict(total)

    def gauges(self, name: str, by: str) -> dict[str, float]:
        """Return a gauge's latest value for each value of the tag `by`."""
        with self._lock:
            items = list(self._gauges.items())
        return {dict(tags).get(by, ""): value for (n, tags), (value, _) in items if n == name}

    def _last(self, seconds: int) -> list[_Second]:
        now = int(self._now)
        with self._lock:
            return [self._seconds.get(at, _NOTHING) for at in range(now - seconds, now)]
