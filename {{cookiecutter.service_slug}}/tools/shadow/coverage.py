"""Coverage: which share of the copies that were to be compared was compared, and why not the rest.

What was dropped may be just what goes wrong, so a candidate is not promoted on what is left.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from dataclasses import dataclass

from tools.shadow.events import COUNTS_EVERY, Counts, Events, Pair

# Requests that leave no gap: there was nothing to compare with, or they were left out on purpose.
NOT_WANTED = {"copy", "sampled_out", "status", "switched_off"}


@dataclass(frozen=True)
class Coverage:
    """What became of requests. `missing`: copies that were wanted and not compared, by reason."""

    eligible: int
    not_wanted: dict[str, int]
    compared: int
    missing: dict[str, int]
    workers: int
    not_adding_up: int

    @property
    def wanted(self) -> int:
        return self.compared + sum(self.missing.values())

    @property
    def share(self) -> float:
        return self.compared / self.wanted if self.wanted else 0.0


def account(events: Events, judged: set[str]) -> Coverage:
    """Return what the workers counted, held against the pairs that are in the files.

    `judged`: the workers of the pairs that are judged. Workers that made pairs of other versions
    only have no part in it.
    """
    pairs_of: dict[str, list[Pair]] = defaultdict(list)
    for pair in events.pairs:
        pairs_of[pair.worker].append(pair)
    counts_of = {w: c for w, c in events.counts.items() if w in judged or w not in pairs_of}
    uncounted = judged - counts_of.keys()
    tally = Counter(no_counts=sum(len(pairs_of[worker]) for worker in uncounted))
    compared = 0
    for worker, (first, last) in counts_of.items():
        pairs = [p for p in pairs_of[worker] if p.time <= last.time + COUNTS_EVERY]
        tally["no_counts"] += len(pairs_of[worker]) - len(pairs)
        tally.update(_tally(last))
        if first.has_past:
            # What a worker counted before the files begin is not held against it.
            tally.subtract(_tally(first))
            pairs = [pair for pair in pairs if pair.time > first.time]
        compared += sum(pair.compared for pair in pairs)
        tally.update(pair.reason or "?" for pair in pairs if not pair.compared)
        tally["not_in_files"] -= sum(pair.time <= last.time for pair in pairs)
    eligible = tally.pop("eligible", 0)
    return Coverage(
        eligible=eligible,
        not_wanted=by_frequency({why: n for why, n in tally.items() if why in NOT_WANTED}),
        compared=compared,
        missing=by_frequency({why: n for why, n in tally.items() if why not in NOT_WANTED}),
        workers=len(counts_of) + len(uncounted),
        not_adding_up=sum(not last.add_up for _, last in counts_of.values()),
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


def by_frequency(found: dict[str, int]) -> dict[str, int]:
    """Return what was found at least once, the most frequent first."""
    ranked = sorted(found.items(), key=lambda item: (-item[1], item[0]))
    return {name: count for name, count in ranked if count > 0}
