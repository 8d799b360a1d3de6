"""Reading the events of shadow traffic: any lines, coverage, and the versions that met."""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from shadow_traffic import LIMITS, START, WORKERS, Traffic, decided, event, summarised

from tools.shadow import events, gate, tables


def told(lines: list[bytes]) -> list[Any]:
    """Return all that is said of the candidate; not how often it was read."""
    found = summarised(lines)
    shown = [tables.classes, tables.fields, tables.differences, tables.times]
    answer = gate.as_json(gate.decide(found, LIMITS), found, LIMITS)
    return [answer, *tables.coverage(found), *(table(found) for table in shown)]


SMALL = Traffic(pairs=60, mismatches=0.2, errors=0.1, not_compared=0.1, counts={"expired": 3})
SMALL_LINES = SMALL.lines()
TOLD = told(SMALL_LINES)


@settings(max_examples=40, deadline=None)
@given(st.data())
def test_order_duplicates_and_cuts_change_nothing(data: st.DataObject) -> None:
    lines = data.draw(st.permutations(SMALL_LINES))
    again = data.draw(st.lists(st.sampled_from(lines)))
    cut = [line[: data.draw(st.integers(0, len(line) - 3))] + b"\n" for line in again]

    assert told(lines + again + cut) == TOLD


@pytest.mark.parametrize(
    "prefix", [b"[pod/live-a/service] ", b"2026-03-02T06:00:00.123456789Z ", b"live-a | "]
)
def test_reads_behind_a_prefix(prefix: bytes) -> None:
    assert told([prefix + line for line in SMALL_LINES]) == TOLD


def test_counts_what_it_cannot_use() -> None:
    noise = [b"[INFO] Booting worker\n", b"\n", b"\xff\xfe{\n", b'{"message": "hello"}\n']
    broken = [SMALL_LINES[0][:-9], b'"shadow.pair"', b'{"event": "shadow.pair", "timestamp": 3}']
    kinds = events.read(SMALL_LINES + noise + broken + SMALL_LINES[:2]).lines

    assert kinds == {
        "pairs": 60,
        "counts of workers": 2 * len(WORKERS),
        "pairs read more than once": 2,
        "of shadow traffic, but cut short or broken": 3,
        "of something else": 3,
    }
    assert told(SMALL_LINES + noise + broken) == TOLD


def test_a_stream_of_nothing_is_inconclusive() -> None:
    found = summarised([])

    assert gate.decide(found, LIMITS).verdict == "inconclusive"
    assert found.coverage.share == 0


# Coverage


def test_counts_what_was_to_be_compared_and_was_not() -> None:
    more = {
        "sampled_out": 1000,
        "skipped": {"status": 50, "switched_off": 70, "rate": 10},
        "dropped": {"lag": 5},
        "expired": 2,
    }
    found = summarised(Traffic(pairs=400, not_compared=0.02, counts=more).lines()).coverage
    workers = len(WORKERS)

    assert found.not_adding_up == 0
    assert found.not_wanted == {"sampled_out": 4000, "switched_off": 280, "status": 200}
    unread = 400 - found.compared
    lost = {"rate": 10 * workers, "lag": 5 * workers, "expired": 2 * workers}
    assert unread and found.missing == lost | {"live_not_json": unread}
    assert found.share == pytest.approx((400 - unread) / (400 + 17 * workers))


def test_lines_that_are_missing_are_not_covered() -> None:
    lines = Traffic(pairs=400).lines()

    assert summarised(lines[100:]).coverage.missing == {"not_in_files": 100}
    uncounted = [line for line in lines if b"shadow.pair" in line]
    assert summarised(uncounted).coverage.missing == {"no_counts": 400}
    assert summarised(uncounted).coverage.share == 0


def test_an_old_worker_is_not_blamed_for_what_it_did_before_the_files_begin() -> None:
    def minute(number: int) -> datetime:
        return START + timedelta(minutes=number)

    def counts(number: int, pairs: int) -> bytes:
        told = {"seconds": 60.0 * (5000 + number), "verdicts": {"match": pairs}, "expired": 7}
        sums = {"enqueued": pairs + 7, "eligible": pairs + 7}
        return event("shadow.counts", minute(number), "old", told | sums)

    side = {"version": "v1"}
    answers = {"verdict": "match", "live": side, "candidate": {"version": "v2"}}
    times = [*range(10), *range(11, 17)]  # those of minutes 17 to 20 are missing
    pairs = [event("shadow.pair", minute(t), "old", answers | {"pair_id": f"{t}"}) for t in times]
    found = summarised([*pairs, counts(10, 1000), counts(21, 1010)]).coverage

    assert (found.eligible, found.compared, found.missing) == (10, 6, {"not_in_files": 4})


def test_workers_that_met_other_versions_have_no_part_in_it() -> None:
    other = Traffic(pairs=300, candidate="v0", hours=1, seed=9, counts={"dropped": {"lag": 1}})
    lines = [line.replace(b"live-", b"old-") for line in other.lines()]
    alone = summarised(Traffic(pairs=300).lines()).coverage

    assert summarised(lines + Traffic(pairs=300).lines()).coverage == alone
    assert alone.share == 1 and alone.workers == len(WORKERS)


# Versions


def test_judges_the_versions_that_met_last() -> None:
    older = Traffic(pairs=300, hours=1, candidate="v0", mismatches=0.5, seed=1)
    itself = Traffic(pairs=300, hours=60, candidate="v1", mismatches=0.01, seed=2)
    found = summarised(older.lines() + itself.lines() + Traffic().lines())

    assert (found.live, found.candidate) == ("v1", "v2")
    assert len(found.pairs) == 1500
    assert found.others == {("v1", "v0"): 300, ("v1", "v1"): 300}
    assert found.itself[0] == 300 > found.itself[1] > 280


def test_an_error_without_a_version_counts_against_the_candidate_at_the_time() -> None:
    found = summarised(Traffic(errors=0.1).lines())

    assert found.others == {} and len(found.pairs) == 1500
    assert found.verdicts["candidate_error"] == sum(found.errors.values()) > 100


def test_live_beside_itself_is_never_promoted_nor_rejected() -> None:
    for mismatches in (0.0, 0.5):
        decision = decided(Traffic(candidate="v1", mismatches=mismatches))
        assert decision.verdict == "inconclusive" and "noise" in decision.because
