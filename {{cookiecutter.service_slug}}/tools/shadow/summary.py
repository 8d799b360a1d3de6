"""The events in numbers: all that the gate decides by and the report shows."""

from __future__ import annotations

import re
from collections import Counter, defaultdict
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import timedelta
from typing import Any, NamedTuple

import numpy as np

from tools.shadow.coverage import Coverage, account, by_frequency
from tools.shadow.events import Counts, Difference, Events, Pair, Usage
from tools.shadow.labels import Labelled, judge
from tools.shadow.statistics import Array, kappa
from tools.shadow.thresholds import Latency, Thresholds

Versions = tuple[str | None, str | None]
HOUR = timedelta(hours=1)


class Classes(NamedTuple):
    """Rows by class: live's answer down, the candidate's across."""

    names: list[Any]
    flips: Array
    kappa: float | None


class Times(NamedTuple):
    """Inference in ms, of the pairs in which both sides told it, and how many copies were slow.

    `round_trip`: ms from live to the candidate and back.
    """

    live: Array
    candidate: Array
    slow: int
    judged: int
    round_trip: Array


@dataclass(frozen=True)
class Summary:
    """The pairs of the two versions that are judged, and what they say.

    `others`: numbers of pairs of other versions. `fields`: of each field of the answer that differs
    (its index left out), in which pairs and how. `itself`: pairs in which the live version met
    itself, and how many of them agree. `cpu_ms`: CPU time of a request in ms, live's and the
    candidate's, None if it is not in the files; live's includes making copies.
    """

    live: str | None
    candidate: str | None
    pairs: list[Pair]
    others: dict[Versions, int]
    verdicts: Counter[str]
    coverage: Coverage
    errors: dict[str, int]
    classes: Classes
    deltas: dict[str, Array]
    times: Times
    fields: dict[str, list[tuple[str, Difference]]]
    itself: tuple[int, int]
    labelled: Labelled | None
    cpu_ms: tuple[float | None, float | None]

    @property
    def same_version(self) -> bool:
        """Whether live is its own candidate: an A/A run, which measures the noise."""
        return self.live is not None and self.live == self.candidate

    @property
    def good(self) -> int:
        return self.verdicts["match"] + self.verdicts["within_tolerance"]

    @property
    def bad(self) -> int:
        return self.verdicts["mismatch"] + self.verdicts["candidate_error"]

    @property
    def hours(self) -> float:
        """How long the candidate was watched."""
        return (self.pairs[-1].time - self.pairs[0].time) / HOUR if self.pairs else 0.0


def summarise(
    events: Events, thresholds: Thresholds, truths: dict[str, Any] | None = None
) -> Summary:
    """Return the summary of the newest two versions that met in the events."""
    by_versions = _by_versions(events.pairs)
    # Live with itself is judged only if it met nobody else.
    judged = max(
        by_versions,
        key=lambda versions: (versions[0] != versions[1], by_versions[versions][-1].time),
        default=(None, None),
    )
    live, candidate = judged
    pairs = by_versions.get(judged, [])
    itself = [pair for pair in by_versions.get((live, live), []) if pair.compared]
    usages = [ends for ends in events.usages.values() if ends[-1].version == candidate]
    return Summary(
        live=live,
        candidate=candidate,
        pairs=pairs,
        others={versions: len(of) for versions, of in by_versions.items() if versions != judged},
        verdicts=Counter(pair.verdict for pair in pairs),
        coverage=account(events, {pair.worker for pair in pairs}),
        errors=by_frequency(
            Counter(pair.reason or "?" for pair in pairs if pair.verdict == "candidate_error")
        ),
        classes=_classes(pairs),
        deltas=_deltas(pairs),
        times=_times(pairs, thresholds.latency),
        fields=_fields(pairs),
        itself=(len(itself), sum(pair.agrees for pair in itself)),
        labelled=None if truths is None else judge(pairs, truths),
        cpu_ms=(_cpu_ms(events.counts.values()), _cpu_ms(usages)),
    )


def _by_versions(pairs: list[Pair]) -> dict[Versions, list[Pair]]:
    """Return the pairs by who met whom.

    A candidate that failed may not have said its version: it is taken for the one that answered
    last, or for the first to answer if none has.
    """
    known = (pair.candidate.version for pair in pairs if pair.candidate.version)
    current = next(known, None)
    found: dict[Versions, list[Pair]] = defaultdict(list)
    for pair in pairs:
        current = pair.candidate.version or current
        found[pair.live.version, current].append(pair)
    return found


def _classes(pairs: list[Pair]) -> Classes:
    """Return the rows by class, the most frequent class first."""
    rows: Counter[tuple[Any, Any]] = Counter()
    seen: Counter[Any] = Counter()
    for pair in pairs:
        for live, candidate, count in pair.flips or ():
            rows[live, candidate] += count
            seen.update({live: count})
            seen.update({candidate: count})
    names = sorted(seen, key=lambda name: (-seen[name], str(name)))
    flips = np.array([[rows[live, candidate] for candidate in names] for live in names], dtype=int)
    flips = flips.reshape(len(names), len(names))
    return Classes(names, flips, kappa(flips))


def _deltas(pairs: list[Pair]) -> dict[str, Array]:
    found: dict[str, list[float]] = defaultdict(list)
    for pair in pairs:
        for name, values in (pair.deltas or {}).items():
            found[name] += [value for value in values if value is not None]
    return {name: np.array(values) for name, values in sorted(found.items()) if values}


def _times(pairs: list[Pair], limits: Latency) -> Times:
    """Return the times after the warm-up; a timeout is slow, whatever the limit."""
    warm = [pair for pair in pairs if pair.compared][limits.warm_up_pairs :]
    told = [
        (pair.live.inference_ms, pair.candidate.inference_ms)
        for pair in warm
        if pair.live.inference_ms is not None and pair.candidate.inference_ms is not None
    ]
    live, candidate = np.array(told, dtype=float).reshape(-1, 2).T
    late = candidate > np.minimum(limits.slo_ms, live * limits.times_live + limits.plus_ms)
    timeouts = sum(p.reason == "timeout" and p.candidate.inference_ms is None for p in warm)
    trips = [pair.candidate.total_ms for pair in warm if pair.candidate.total_ms is not None]
    return Times(live, candidate, int(late.sum()) + timeouts, len(told) + timeouts, np.array(trips))


def _fields(pairs: list[Pair]) -> dict[str, list[tuple[str, Difference]]]:
    """Return the fields that differ, the most frequent first."""
    found: dict[str, list[tuple[str, Difference]]] = defaultdict(list)
    for pair in pairs:
        paths: dict[str, Difference] = {}
        for difference in pair.fields or ():
            paths.setdefault(re.sub(r"\[\d+\]", "[]", difference.path), difference)
        for path, difference in paths.items():
            found[path].append((pair.pair_id, difference))
    return dict(sorted(found.items(), key=lambda item: (-len(item[1]), item[0])))


def _cpu_ms(workers: Iterable[tuple[Counts | Usage, Counts | Usage]]) -> float | None:
    """Return the CPU ms of a request, from the first and last totals of each worker."""
    used = requests = 0.0
    for first, last in workers:
        used += last.cpu_seconds - (first.cpu_seconds if first.has_past else 0)
        requests += last.requests - (first.requests if first.has_past else 0)
    return used * 1e3 / requests if requests else None
