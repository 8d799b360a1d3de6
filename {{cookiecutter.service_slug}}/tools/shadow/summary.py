"""What the events say, in numbers: all that the gate decides by and the report shows."""

from __future__ import annotations

import re
from collections import Counter, defaultdict
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

import numpy as np

from tools.shadow import labels as labels_
from tools.shadow.events import Counts, Difference, Events, Pair
from tools.shadow.labels import Labelled
from tools.shadow.statistics import Array, kappa
from tools.shadow.thresholds import Latency, Thresholds

Versions = tuple[str | None, str | None]

# Workers log their counts when they start and every 10 seconds. One whose first counts are older
# than this had a life before the files begin; pairs that are later than its last by so much are in
# no counts.
COUNTS_EVERY = timedelta(seconds=30)
MAX_EXAMPLES = 3
# Skipped because there was nothing to compare with, or on purpose: no gap in what was watched.
NOT_WANTED = {"copy", "sampled_out", "status", "switched_off"}


@dataclass(frozen=True)
class Coverage:
    """What became of requests. `missing` says why copies that were wanted were not compared."""

    eligible: int
    not_wanted: dict[str, int]
    compared: int
    missing: dict[str, int]
    workers: int
    not_adding_up: list[str]

    @property
    def wanted(self) -> int:
        return self.compared + sum(self.missing.values())

    @property
    def share(self) -> float:
        return self.compared / self.wanted if self.wanted else 0.0


@dataclass(frozen=True)
class Classes:
    """Rows by class: live's answer down, the candidate's across."""

    names: list[Any]
    flips: Array

    @property
    def kappa(self) -> float | None:
        return kappa(self.flips)


@dataclass(frozen=True)
class Times:
    """Inference in ms, of the pairs in which both sides told it, and how many copies were slow."""

    live: Array
    candidate: Array
    slow: int
    judged: int
    round_trip: Array


@dataclass(frozen=True)
class DifferingField:
    """A field of the answer (its index left out), in how many pairs it differs, a few of them."""

    path: str
    pairs: int
    examples: list[tuple[str, Difference]]


@dataclass(frozen=True)
class Floor:
    """How far the live version agrees with itself: no candidate can be asked for more."""

    good: int
    bad: int


@dataclass(frozen=True)
class CpuMs:
    """CPU time of a request in ms, None if not in the files; live's includes ghost mode."""

    live: float | None
    candidate: float | None


@dataclass(frozen=True)
class Summary:
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
    fields: list[DifferingField]
    floor: Floor | None
    labelled: Labelled | None
    cpu_ms: CpuMs

    @property
    def same_version(self) -> bool:
        """Whether live is its own candidate: an A/A run, which measures the noise."""
        return self.live is not None and self.live == self.candidate

    @property
    def compared(self) -> list[Pair]:
        return [pair for pair in self.pairs if pair.compared]

    @property
    def good(self) -> int:
        return self.verdicts["match"] + self.verdicts["within_tolerance"]

    @property
    def bad(self) -> int:
        return self.verdicts["mismatch"] + self.verdicts["candidate_error"]

    @property
    def span(self) -> tuple[datetime, datetime] | None:
        return (self.pairs[0].time, self.pairs[-1].time) if self.pairs else None

    @property
    def duration(self) -> timedelta:
        return self.span[1] - self.span[0] if self.span else timedelta()


def summarise(
    events: Events, thresholds: Thresholds, truths: dict[str, Any] | None = None
) -> Summary:
    """Return the summary of the newest two versions that met in the events."""
    by_versions = _by_versions(events.pairs)
    judged = _judged(by_versions)
    pairs = by_versions.get(judged, [])
    others = {versions: len(of) for versions, of in by_versions.items() if versions != judged}
    verdicts = Counter[str](pair.verdict for pair in pairs)
    errors = (pair.reason or "?" for pair in pairs if pair.verdict == "candidate_error")
    return Summary(
        live=judged[0],
        candidate=judged[1],
        pairs=pairs,
        others=others,
        verdicts=verdicts,
        coverage=_coverage(events, {pair.worker for pair in pairs}),
        errors=_commonest(Counter(errors)),
        classes=_classes(pairs),
        deltas=_deltas(pairs),
        times=_times(pairs, thresholds.latency),
        fields=_fields(pairs),
        floor=_floor(by_versions, judged[0]),
        labelled=None if truths is None else labels_.judge(pairs, truths),
        cpu_ms=_cpu_ms(events, judged[1]),
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


def _judged(by_versions: dict[Versions, list[Pair]]) -> Versions:
    """Return the versions that met last; live with itself only if there is nothing else."""
    return max(
        by_versions,
        key=lambda versions: (versions[0] != versions[1], by_versions[versions][-1].time),
        default=(None, None),
    )


def _coverage(events: Events, judged: set[str]) -> Coverage:
    """Return what the workers counted, held against the pairs that are in the files.

    Workers that made pairs, but none with the versions that are judged (not in `judged`), have no
    part in it.
    """
    of_worker: dict[str, list[Pair]] = defaultdict(list)
    for pair in events.pairs:
        of_worker[pair.worker].append(pair)
    counted_by = {w: c for w, c in events.counts.items() if w in judged or w not in of_worker}
    uncounted = judged - counted_by.keys()
    compared = 0
    tally: Counter[str] = Counter()
    for worker, counts in counted_by.items():
        first, last = counts[0], counts[-1]
        tally.update(_tally(last))
        counted = [p for p in of_worker[worker] if p.time <= last.time + COUNTS_EVERY]
        tally["no_counts"] += len(of_worker[worker]) - len(counted)
        if first.seconds > COUNTS_EVERY.total_seconds():
            # The logs of an old worker may have lost their beginning. What it counted before the
            # files begin is not held against it.
            tally.subtract(_tally(first))
            counted = [pair for pair in counted if pair.time > first.time]
        compared += sum(pair.compared for pair in counted)
        tally.update(pair.reason or "?" for pair in counted if not pair.compared)
        tally["not_in_files"] -= sum(pair.time <= last.time for pair in counted)
    tally["no_counts"] += sum(len(of_worker[worker]) for worker in uncounted)
    eligible = tally.pop("eligible", 0)
    not_wanted = Counter({why: tally.pop(why) for why in NOT_WANTED & tally.keys()})
    return Coverage(
        eligible=eligible,
        not_wanted=_commonest(not_wanted),
        compared=compared,
        missing=_commonest(tally),
        workers=len(counted_by) + len(uncounted),
        not_adding_up=[worker for worker, counts in counted_by.items() if not counts[-1].add_up],
    )


def _tally(counts: Counts) -> Counter[str]:
    """Return numbers of requests by reason; `not_in_files`: of which there ought to be a line."""
    others = {
        "eligible": counts.eligible,
        "sampled_out": counts.sampled_out,
        "expired": counts.expired,
        "lost_at_exit": counts.lost_at_exit,
        "not_in_files": sum(counts.verdicts.values()),
    }
    return Counter(counts.skipped) + Counter(counts.dropped) + Counter(others)


def _commonest(found: Counter[str]) -> dict[str, int]:
    ranked = sorted(found.items(), key=lambda item: (-item[1], item[0]))
    return {name: count for name, count in ranked if count > 0}


def _classes(pairs: list[Pair]) -> Classes:
    rows: Counter[tuple[Any, Any]] = Counter()
    for pair in pairs:
        for live, candidate, count in pair.flips or ():
            rows[live, candidate] += count
    seen: Counter[Any] = Counter()
    for (live, candidate), count in rows.items():
        seen.update({live: count, candidate: count})
    names = sorted(seen, key=lambda name: (-seen[name], str(name)))
    flips = np.array([[rows[live, candidate] for candidate in names] for live in names], dtype=int)
    return Classes(names, flips.reshape(len(names), len(names)))


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


def _fields(pairs: list[Pair]) -> list[DifferingField]:
    counts: Counter[str] = Counter()
    examples: dict[str, list[tuple[str, Difference]]] = defaultdict(list)
    for pair in pairs:
        paths: dict[str, Difference] = {}
        for difference in pair.fields or ():
            paths.setdefault(re.sub(r"\[\d+\]", "[]", difference.path), difference)
        for path, difference in paths.items():
            counts[path] += 1
            if len(examples[path]) < MAX_EXAMPLES:
                examples[path].append((pair.pair_id, difference))
    return [
        DifferingField(path, count, examples[path]) for path, count in _commonest(counts).items()
    ]


def _floor(by_versions: dict[Versions, list[Pair]], live: str | None) -> Floor | None:
    pairs = [pair for pair in by_versions.get((live, live), []) if pair.compared]
    good = sum(pair.agrees for pair in pairs)
    return Floor(good, len(pairs) - good) if pairs else None


def _cpu_ms(events: Events, candidate: str | None) -> CpuMs:
    live = [
        [(c.seconds, c.live_cpu_seconds, c.live_requests) for c in of_worker]
        for of_worker in events.counts.values()
    ]
    of_candidate = [
        [(u.seconds, u.cpu_seconds, u.requests) for u in of_worker if u.version == candidate]
        for of_worker in events.usages.values()
    ]
    return CpuMs(_per_request(live), _per_request(of_candidate))


def _per_request(workers: list[list[tuple[float, float, int]]]) -> float | None:
    """Return the ms that a request took, from (age, seconds used, requests) of each worker."""
    used = requests = 0.0
    for snapshots in workers:
        if snapshots:
            age, used_before, requests_before = snapshots[0]
            used += snapshots[-1][1] - (used_before if age > COUNTS_EVERY.total_seconds() else 0)
            requests += snapshots[-1][2] - (
                requests_before if age > COUNTS_EVERY.total_seconds() else 0
            )
    return used * 1e3 / requests if requests else None
