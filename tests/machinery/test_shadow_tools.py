"""The report and the gate of ghost mode: read anything, decide soundly, and say why."""

from __future__ import annotations

import io
import json
import random
from collections import Counter
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from functools import cache
from html.parser import HTMLParser
from math import log
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.metrics import cohen_kappa_score

from tools.shadow import __main__ as cli
from tools.shadow import events, gate, labels, simulate, statistics, summary, tables, thresholds
from tools.shadow.demo import __main__ as demo
from tools.shadow.gate import Decision
from tools.shadow.markdown import as_markdown
from tools.shadow.page import as_page
from tools.shadow.report import make_report
from tools.shadow.summary import Summary
from tools.shadow.thresholds import Thresholds

START = datetime(2026, 3, 2, 6, tzinfo=UTC)
WORKERS = [f"live-{pod}:{pid}:1772431200000" for pod in "ab" for pid in (7, 8)]


@dataclass
class Traffic:
    """Made-up pairs between a live service and a candidate, as the live service logs them.

    `mismatches`, `errors` and `not_compared` are shares; `counts`: what workers say besides.
    """

    pairs: int = 1500
    hours: float = 30.0
    live: str = "v1"
    candidate: str = "v2"
    mismatches: float = 0.002
    errors: float = 0.0
    not_compared: float = 0.0
    slower: float = 1.0
    kind: str = "classification"
    seed: int = 0
    counts: dict[str, Any] = field(default_factory=dict)

    def lines(self) -> list[bytes]:
        rng = random.Random(self.seed)
        seen: dict[str, Counter[str]] = {worker: Counter() for worker in WORKERS}
        lines = []
        for number in range(self.pairs):
            worker = rng.choice(WORKERS)
            time = START + timedelta(hours=self.hours * number / max(self.pairs - 1, 1))
            pair = self._pair(rng)
            seen[worker][pair["verdict"]] += 1
            lines.append(event("shadow.pair", time, worker, pair))
        for worker, verdicts in seen.items():
            for share, seconds in ((0, 0.0), (1, self.hours * 3600 + 1)):
                told = {verdict: n * share for verdict, n in verdicts.items()}
                time = START + timedelta(seconds=seconds)
                lines.append(event("shadow.counts", time, worker, self._counts(told, seconds)))
        return lines

    def _pair(self, rng: random.Random) -> dict[str, Any]:
        chance = rng.random()
        inference = rng.lognormvariate(0, 0.35)
        live = {"version": self.live, "status": 200, "inference_ms": inference, "total_ms": 2.0}
        pair: dict[str, Any] = {"pair_id": f"{rng.getrandbits(128):032x}"}
        pair["route"] = "/predict"
        pair["live"] = live
        if chance < self.errors:
            reason = rng.choice(["timeout", "timeout", "connect", "5xx"])
            return pair | {"verdict": "candidate_error", "reason": reason, "candidate": {}}
        slower = inference * self.slower * rng.lognormvariate(0, 0.2)
        times = {"inference_ms": slower, "total_ms": slower + rng.lognormvariate(0.5, 0.4)}
        pair["candidate"] = {"version": self.candidate, "status": 200, **times}
        if chance < self.errors + self.not_compared:
            return pair | {"verdict": "not_compared", "reason": "live_not_json"}
        differs = chance < self.errors + self.not_compared + self.mismatches
        name = rng.choices(["benign", "malignant", "unclear"], [70, 25, 5])[0]
        other = rng.choice(["malignant", "unclear"] if name == "benign" else ["benign"])
        delta = rng.gauss(0, 0.2 if differs else 0.004)
        pair["rows"] = 1
        pair["deltas"] = {"score" if self.kind == "classification" else "value": [delta]}
        pair["verdict"] = "mismatch" if differs else rng.choice(["match", "within_tolerance"])
        if self.kind == "classification":
            pair["flips"] = [[name, other if differs else name, 1]]
            sides: Any = {"path": "predictions[0].label", "live": name, "candidate": other}
        else:
            sides = {"path": "predictions[0].value", "live": 10.0, "candidate": 10.0 + delta}
        return pair | ({"fields": [sides]} if differs else {})

    def _counts(self, verdicts: dict[str, int], seconds: float) -> dict[str, Any]:
        more = self.counts if seconds else {}
        enqueued = sum(verdicts.values()) + more.get("expired", 0)
        unsent = more.get("sampled_out", 0) + sum(
            sum(more.get(kind, {}).values()) for kind in ("skipped", "dropped")
        )
        return {
            "seconds": seconds,
            "eligible": enqueued + unsent,
            "enqueued": enqueued,
            "verdicts": verdicts,
            "live_cpu_seconds": enqueued * 0.0021,
            "live_requests": enqueued + unsent,
        } | more


def event(name: str, time: datetime, worker: str, more: dict[str, Any]) -> bytes:
    head = {"timestamp": time.isoformat().replace("+00:00", "Z"), "level": "INFO"}
    head |= {"logger": "service.shadow", "message": name.replace(".", " "), "event": name}
    return json.dumps(head | {"worker": worker} | more).encode() + b"\n"


LIMITS = thresholds.read()


def summarised(
    lines: list[bytes], truths: dict[str, Any] | None = None, limits: Thresholds = LIMITS
) -> Summary:
    return summary.summarise(events.read(lines), limits, truths)


def decided(
    traffic: Traffic, truths: dict[str, Any] | None = None, limits: Thresholds = LIMITS
) -> Decision:
    return gate.decide(summarised(traffic.lines(), truths, limits), limits)


def state(decision: Decision, name: str) -> str:
    return next(rule.state for rule in decision.rules if rule.name == name)


def told(lines: list[bytes]) -> list[Any]:
    """Return all that is said of the candidate; not how often it was read."""
    found = summarised(lines)
    decision = gate.decide(found, LIMITS)
    shown = [tables.verdicts, tables.missing, tables.not_wanted, tables.classes, tables.fields]
    shown += [tables.differences, tables.resources, tables.errors]
    return [gate.as_json(decision, found, LIMITS), *(table(found) for table in shown)]


# Reading

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
    reading = events.read(SMALL_LINES + noise + broken + SMALL_LINES[:2]).reading

    assert (reading.foreign, reading.broken, reading.duplicates) == (3, 3, 2)
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

    assert found.not_adding_up == []
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


def test_counts_that_do_not_add_up_allow_no_promotion() -> None:
    decision = decided(Traffic(counts={"eligible": 10**6}))

    assert decision.verdict == "inconclusive" and state(decision, "accounts") == "open"


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
    assert found.floor is not None and found.floor.good + found.floor.bad == 300


def test_an_error_without_a_version_counts_against_the_candidate_at_the_time() -> None:
    found = summarised(Traffic(errors=0.1).lines())

    assert found.others == {} and len(found.pairs) == 1500
    assert found.verdicts["candidate_error"] == sum(found.errors.values()) > 100


def test_live_beside_itself_is_never_promoted_nor_rejected() -> None:
    for mismatches in (0.0, 0.5):
        decision = decided(Traffic(candidate="v1", mismatches=mismatches))
        assert decision.verdict == "inconclusive" and "noise" in decision.because


# The gate


def test_promotes_a_candidate_that_agrees() -> None:
    decision = decided(Traffic())

    assert decision.verdict == "promote" and decision.exit_code == 0
    assert {rule.state for rule in decision.rules} == {"passed"}


@pytest.mark.parametrize(
    ("traffic", "rule"),
    [
        (Traffic(mismatches=0.03), "agreement"),
        (Traffic(errors=0.03), "agreement"),
        (Traffic(mismatches=0.5, pairs=100, hours=0.1), "agreement"),
        (Traffic(slower=10), "latency"),
    ],
    ids=["disagrees", "fails", "so bad that it needs no day", "slow"],
)
def test_rejects_what_is_proven_bad(traffic: Traffic, rule: str) -> None:
    decision = decided(traffic)

    assert decision.verdict == "reject" and decision.exit_code == 1
    assert state(decision, rule) == "failed" and decision.because.startswith(rule)


@pytest.mark.parametrize(
    ("traffic", "rule"),
    [
        (Traffic(pairs=600, mismatches=0), "pairs"),
        (Traffic(hours=20), "duration"),
        (Traffic(counts={"dropped": {"queue_full": 100}}), "coverage"),
        (Traffic(mismatches=0.009), "agreement"),
        (Traffic(slower=4), "latency"),
    ],
)
def test_waits_for_what_is_not_certain(traffic: Traffic, rule: str) -> None:
    decision = decided(traffic)

    assert decision.verdict == "inconclusive" and decision.exit_code == 2
    assert state(decision, rule) == "open" and f"{rule}: " in decision.because


def test_timeouts_are_slow() -> None:
    found = summarised(Traffic(errors=0.4).lines())

    assert found.errors["timeout"] > 200
    assert found.times.slow > 0.9 * found.errors["timeout"]


# Labels


def improve(margin: float = 0.02, agreement: float = 0.5) -> Thresholds:
    return Thresholds(
        mode="improve",
        evidence=LIMITS.evidence,
        parity=LIMITS.parity,
        improve=thresholds.Improve(margin=margin, agreement=agreement),
        latency=LIMITS.latency,
    )


def truths(traffic: Traffic, candidate_is_right: float, seed: int = 0) -> dict[str, Any]:
    """Return labels by which the candidate is right in that share of the pairs that differ."""
    rng = random.Random(seed)
    found = {}
    for pair in events.read(traffic.lines()).pairs:
        for live, candidate, _ in pair.flips or ():
            found[pair.pair_id] = candidate if rng.random() < candidate_is_right else live
    return found


@pytest.mark.parametrize(
    ("right", "verdict"), [(0.9, "promote"), (0.1, "reject"), (None, "inconclusive")]
)
def test_improve_decides_by_labels(right: float | None, verdict: str) -> None:
    traffic = Traffic(mismatches=0.1)
    given = None if right is None else truths(traffic, right)

    decision = decided(traffic, given, improve())
    assert decision.verdict == verdict
    assert verdict == "promote" or "labels: " in decision.because
    # By agreement alone it would have been rejected.
    assert decided(traffic).verdict == "reject"


def test_improve_bounds_how_much_may_change_at_once() -> None:
    traffic = Traffic(mismatches=0.1)

    decision = decided(traffic, truths(traffic, 1.0), improve(agreement=0.95))
    assert decision.verdict == "reject" and decision.because.startswith("agreement")


def test_an_error_is_a_wrong_answer() -> None:
    lines = Traffic(pairs=300, errors=0.1, mismatches=0).lines()
    given = {pair.pair_id: "benign" for pair in events.read(lines).pairs}

    found = summarised(lines, given).labelled
    assert found is not None and found.better == 0 and found.worse > 15
    assert found.used == 300


def pair(**changes: Any) -> events.Pair:
    side = events.Side(version="v1")
    values: dict[str, Any] = {
        "time": START,
        "pair_id": "a",
        "worker": "w",
        "verdict": "mismatch",
        "live": side,
        "candidate": side,
    }
    return events.Pair(**values | changes)


@pytest.mark.parametrize(("truth", "found"), [("1", 1), (0, -1), ("1.0", 1), ("other", 0)])
def test_labels_match_numbers_however_written(truth: Any, found: int) -> None:
    judged = labels.judge([pair(flips=((0, 1, 1),))], {"a": truth})

    assert (judged.better, judged.same, judged.worse) == (found == 1, found == 0, found == -1)


@pytest.mark.parametrize(("truth", "found"), [("9", -1), ("12", 1), ("10.5", 0)])
def test_for_a_number_nearer_is_better(truth: str, found: int) -> None:
    sides = events.Difference("predictions[0].value", 10.0, 11.0)
    judged = labels.judge([pair(deltas={"value": (1.0,)}, fields=(sides,))], {"a": truth})

    assert (judged.better, judged.same, judged.worse) == (found == 1, found == 0, found == -1)


def test_says_which_labels_are_of_no_use() -> None:
    several = pair(rows=3, flips=(("x", "y", 3),))
    judged = labels.judge([several, pair(pair_id="b", verdict="match")], {"a": 1, "b": 1, "c": 1})

    assert (judged.unusable, judged.same, judged.unknown) == (1, 1, 1)


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("labels.csv", "\ufeffpair_id,when,truth\na,now,benign\nb,now,1\n"),
        ("labels.jsonl", '{"pair_id": "a", "truth": "benign"}\n\n{"pair_id": "b", "truth": "1"}'),
    ],
)
def test_reads_labels(name: str, text: str, tmp_path: Path) -> None:
    file = tmp_path / name
    file.write_text(text, encoding="utf-8")

    assert labels.read(file) == {"a": "benign", "b": "1"}


@pytest.mark.parametrize(
    "text", ["id,truth\na,1\n", "pair_id,truth\na\n", "pair_id,truth\na,1\na,2\n", ""]
)
def test_refuses_labels_that_say_nothing_clear(text: str, tmp_path: Path) -> None:
    file = tmp_path / "labels.csv"
    file.write_text(text)

    with pytest.raises(ValueError, match="labels.csv: "):
        labels.read(file)


# Statistics


@given(st.floats(0.01, 0.99), st.floats(0.01, 0.99), st.integers(0, 30), st.integers(0, 30))
def test_evidence_is_a_bet_that_only_the_truth_makes_pay(
    threshold: float, share: float, good: int, bad: int
) -> None:
    """At the threshold the next pair leaves it, on average, as it is; on the wrong side it shrinks:
    so nothing is gained by looking often."""
    for log_e, wrong in (
        (statistics.log_e_above, share <= threshold),
        (statistics.log_e_below, share >= threshold),
    ):
        now = np.exp(log_e(good, bad, threshold))
        better, worse = (np.exp(log_e(good + step, bad + 1 - step, threshold)) for step in (1, 0))
        assert threshold * better + (1 - threshold) * worse == pytest.approx(now, rel=1e-9)
        if wrong:
            assert share * better + (1 - share) * worse <= now * (1 + 1e-9)


@given(st.floats(0, 0.5), st.floats(0, 0.25), st.tuples(*[st.integers(0, 20)] * 3))
def test_evidence_of_labels_is_a_fair_bet(
    margin: float, better: float, seen: tuple[int, int, int]
) -> None:
    worse = better + margin  # exactly the margin
    a, b, c = seen
    for log_e in (statistics.log_e_not_worse, statistics.log_e_worse):
        now = np.exp(log_e(a, b, c, margin))
        then = better * np.exp(log_e(a + 1, b, c, margin))
        then += (1 - better - worse) * np.exp(log_e(a, b + 1, c, margin))
        then += worse * np.exp(log_e(a, b, c + 1, margin))
        assert then == pytest.approx(now, rel=1e-9)
    # If only live is ever right, evidence that the candidate is not worse falls, the other grows.
    assert statistics.log_e_not_worse(a, b, c + 1, margin) < statistics.log_e_not_worse(
        *seen, margin
    )
    assert statistics.log_e_worse(a, b, c + 1, margin) > statistics.log_e_worse(*seen, margin)


@pytest.mark.parametrize(("share", "pairs"), [(0.95, 88), (0.99, 449), (0.995, 901)])
def test_pairs_that_a_faultless_candidate_needs(share: float, pairs: int) -> None:
    enough = -log(0.05)

    assert statistics.log_e_above(pairs, 0, share) >= enough
    assert statistics.log_e_above(pairs - 1, 0, share) < enough


@pytest.mark.parametrize(("good", "bad"), [(995, 5), (10, 0), (0, 10), (1, 1), (99_990, 10)])
def test_bounds_end_where_the_evidence_does(good: int, bad: int) -> None:
    low, high = statistics.bounds(good, bad, 0.05)

    assert 0 <= low <= good / (good + bad) <= high <= 1
    if low:
        assert statistics.log_e_above(good, bad, low - 1e-9) >= -log(0.05)
        assert statistics.log_e_above(good, bad, low + 1e-6) < -log(0.05)
    if high < 1:
        assert statistics.log_e_below(good, bad, high + 1e-9) >= -log(0.05)


def test_simulated_peeking_promotes_at_most_one_in_twenty() -> None:
    exactly = simulate.agreement("at the threshold", simulate.AGREEMENT, runs=600)
    promoted, rejected, naive = (
        np.isfinite(side).mean() for side in (exactly.promoted, exactly.rejected, exactly.naive)
    )
    assert promoted <= 0.05 and rejected <= 0.05
    assert naive > 0.15, "else the evidence would not be needed"
    labelled = simulate.labels("at the margin", 0.01, 0.01 + simulate.MARGIN, runs=600)
    assert np.isfinite(labelled.promoted).mean() <= 0.05
    assert np.isfinite(labelled.rejected).mean() <= 0.05


def test_simulated_clear_cases_are_decided_soon() -> None:
    assert np.median(simulate.agreement("good", 0.998, runs=200).promoted) <= 1000
    assert np.median(simulate.agreement("bad", 0.97, runs=200).rejected) <= 600
    assert np.median(simulate.labels("good", 0.03, 0.01, runs=200).promoted) <= 1000
    assert np.median(simulate.labels("bad", 0.01, 0.05, runs=200).rejected) <= 1000


def test_kappa_is_cohens() -> None:
    rng = np.random.default_rng(0)
    one = rng.integers(0, 3, 500)
    other = np.where(rng.random(500) < 0.8, one, rng.integers(0, 3, 500))
    flips = np.zeros((3, 3), int)
    np.add.at(flips, (one, other), 1)

    assert statistics.kappa(flips) == pytest.approx(cohen_kappa_score(one, other))
    # Always the common class: 99% agreement, and none beyond chance.
    assert statistics.kappa(np.array([[990, 0], [10, 0]])) == pytest.approx(0)
    assert statistics.kappa(np.array([[100]])) is None


def test_quantile_differences_hold_the_truth() -> None:
    rng = np.random.default_rng(0)
    live = rng.lognormal(0, 0.5, 4000)
    found = statistics.quantile_differences(live, live * 1.2 + rng.normal(0, 0.01, 4000), [0.5])

    ((middle, low, high),) = found
    assert low < 0.2 < high and high - low < 0.03 and low <= middle <= high


# The report


class Page(HTMLParser):
    def __init__(self, html: str) -> None:
        super().__init__()
        self.tags: set[str] = set()
        self.links: list[str] = []
        self.pictures: list[str] = []
        self.text = ""
        self.feed(html)
        self.text = " ".join(self.text.split())

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.add(tag)
        found = {name: value or "" for name, value in attrs}
        self.links += [found[name] for name in ("src", "href") if name in found]
        if tag == "img":
            self.pictures.append(found["alt"])

    def handle_data(self, data: str) -> None:
        self.text += f" {data}"


def reported(lines: list[bytes], given: dict[str, Any] | None = None) -> tuple[str, str]:
    read = events.read(lines)
    found = summary.summarise(read, LIMITS, given)
    report = make_report("churn", found, read.reading, LIMITS, gate.decide(found, LIMITS))
    return as_page(report), as_markdown(report)


@cache
def whole() -> tuple[str, str]:
    itself = Traffic(pairs=200, hours=1, candidate="v1", seed=3).lines()
    traffic = Traffic(pairs=1200, mismatches=0.02, errors=0.01, counts={"skipped": {"rate": 9}})
    usage = {"seconds": 9.0, "version": "v2", "requests": 100, "cpu_seconds": 0.5}
    used = event("shadow.usage", START, "candidate-a:7:1", usage)
    return reported([*itself, *traffic.lines(), used], truths(traffic, 0.5))


def test_page_asks_nothing_of_other_hosts() -> None:
    page = Page(whole()[0])

    assert page.links and all(link.startswith("data:") for link in page.links)
    assert "script" not in page.tags and "url(" not in whole()[0]
    assert len(whole()[0]) < 1_000_000


def test_page_shows_all_that_was_found() -> None:
    page = Page(whole()[0])

    starts = ["Agreement after", "Agreement in", "Flip matrix", "Histogram of", "Histograms of"]
    assert len(page.pictures) == len(starts)
    assert all(alt.startswith(start) for alt, start in zip(page.pictures, starts, strict=True))
    for words in (
        "v2 beside v1",
        "Reject",
        "kappa",
        "timeout",
        "over SHADOW_MAX_RPS",
        "predictions[].label",
        "With itself as the candidate",
        "labelled pairs, only the candidate was right",
        "p99",
        "CPU, ms",
    ):
        assert words in page.text, words


def test_markdown_says_the_same() -> None:
    text = whole()[1]

    assert "**REJECT**: agreement: " in text
    for words in ("v2 beside v1", "| timeout |", "| rate |", "| p99 |", "predictions[].label"):
        assert words in text, words


def test_page_is_the_same_for_the_same_events() -> None:
    lines = Traffic(pairs=30, mismatches=0.1, kind="regression").lines()

    assert reported(lines) == reported(lines[::-1])


@pytest.mark.parametrize(
    "traffic",
    [
        Traffic(pairs=0),
        Traffic(pairs=1, hours=0),
        Traffic(pairs=40, errors=1.0),
    ],
    ids=["nothing", "one pair", "only errors"],
)
def test_reports_whatever_there_is(traffic: Traffic) -> None:
    html, text = reported(traffic.lines())

    assert "Inconclusive" in html or "Reject" in html
    assert "nan" not in Page(html).text.lower().split() and "nan" not in text.lower().split()


def test_what_models_say_stays_text() -> None:
    evil = "<script>alert(1)</script>|`$x$"
    lines = [
        line.replace(b'"benign"', json.dumps(evil).encode())
        for line in Traffic(pairs=50, mismatches=0.4).lines()
    ]
    html, text = reported(lines)

    assert "script" not in Page(html).tags and evil in Page(html).text
    assert "<script>" not in text


# The command


@pytest.fixture
def logs(tmp_path: Path) -> list[str]:
    """Two pods' logs of a good candidate, the second cut short."""
    lines = Traffic().lines()
    files = [tmp_path / "pod-a.log", tmp_path / "pod-b.log"]
    files[0].write_bytes(b"".join(lines[::2]))
    files[1].write_bytes(b"".join(lines[1::2]) + lines[0][:200])
    return [str(file) for file in files]


def test_gate_prints_json_and_exits_by_the_verdict(
    logs: list[str], capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    assert cli.main(["gate", *logs]) == 0
    answer = json.loads(capsys.readouterr().out)
    assert answer["verdict"] == "promote" and answer["pairs"] == 1500
    assert answer["agreement_bounds"][0] > 0.99

    monkeypatch.setattr("sys.stdin", io.TextIOWrapper(io.BytesIO(Path(logs[0]).read_bytes())))
    assert cli.main(["gate", "-"]) == 2
    assert "coverage" in json.loads(capsys.readouterr().out)["because"]


def test_report_writes_a_page_and_markdown(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    pod = tmp_path / "a.log"
    pod.write_bytes(b"".join(Traffic(pairs=0).lines()))

    assert cli.main(["report", str(pod), "--out", str(tmp_path / "r.html")]) == 0
    assert "inconclusive: " in capsys.readouterr().out
    assert (tmp_path / "r.html").read_text().startswith("<!doctype html>")
    assert (tmp_path / "r.md").read_text().startswith("# ")


@pytest.mark.parametrize(
    "arguments",
    [["gate"], ["gate", "no such file"], ["gate", "LOG", "--labels", "none.csv"], ["judge"]],
)
def test_a_mistake_in_use_is_no_verdict(
    arguments: list[str], logs: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    try:
        code = cli.main([logs[0] if word == "LOG" else word for word in arguments])
    except SystemExit as exit:
        code = exit.code if isinstance(exit.code, int) else -1

    assert code == 3
    assert len(capsys.readouterr().err.splitlines()) == 1


def test_a_fault_of_ours_is_no_verdict(
    logs: list[str], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("sys.argv", ["shadow", "gate", *logs])
    monkeypatch.setattr(gate, "decide", lambda *_: 1 / 0)

    with pytest.raises(SystemExit) as exit:
        cli.run()
    assert exit.value.code == 3 and "ZeroDivisionError" in capsys.readouterr().err


@pytest.mark.parametrize(
    "change", [("alpha = 0.05", "alpha = 0"), ("min_pairs", "min_pair"), ('"parity"', '"hope"')]
)
def test_refuses_thresholds_that_are_not_right(
    change: tuple[str, str], logs: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file = tmp_path / "gate.toml"
    file.write_text(thresholds.PATH.read_text().replace(*change, 1))

    assert cli.main(["gate", logs[0], "--thresholds", str(file)]) == 3
    assert str(file) in capsys.readouterr().err


# The demo


def test_candidates_of_the_demo_are_what_it_says() -> None:
    source = (demo.HERE / "model.py").read_text()
    made: dict[str, dict[str, Any]] = {}
    for name, change in {"live": "", "good": demo.GOOD, "worse": demo.WORSE}.items():
        made[name] = {"__name__": name}
        exec(source + change, made[name])

    steps = {name: [type(s).__name__ for _, s in m["build"]().steps] for name, m in made.items()}
    assert steps["live"] == steps["worse"] == ["StandardScaler", "LogisticRegression"]
    assert steps["good"] == ["StandardScaler", "MLPClassifier"]
    assert made["worse"]["THRESHOLD"] > made["live"]["THRESHOLD"] == made["good"]["THRESHOLD"]
    assert thresholds.read(demo.HERE / "thresholds.toml").evidence.min_hours < 60 / 3600
