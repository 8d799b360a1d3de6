"""The verdict: promote, reject or inconclusive, and the rule that decided, in plain words.

All rules must pass for a promotion, so none needs a stricter alpha for the company it keeps. Any
one proof of harm rejects, so each of those gets its part of alpha.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import timedelta
from math import log
from typing import Any, Literal

from tools.shadow import statistics
from tools.shadow.labels import Labelled
from tools.shadow.statistics import Array
from tools.shadow.summary import Summary
from tools.shadow.thresholds import Thresholds
from tools.shadow.words import percent, period

State = Literal["passed", "failed", "open"]

HOUR = timedelta(hours=1)
EXIT_CODES = {"promote": 0, "reject": 1, "inconclusive": 2}


@dataclass(frozen=True)
class Rule:
    name: str
    state: State
    words: str


@dataclass(frozen=True)
class Decision:
    verdict: Literal["promote", "reject", "inconclusive"]
    because: str
    rules: list[Rule]

    @property
    def exit_code(self) -> int:
        return EXIT_CODES[self.verdict]


def decide(summary: Summary, thresholds: Thresholds) -> Decision:
    """Return the decision; sound however often, and whenever, it is asked for."""
    rules = [
        _agreement(summary, thresholds),
        *([_labels(summary.labelled, thresholds)] if thresholds.mode == "improve" else []),
        _latency(summary, thresholds),
        *_enough(summary, thresholds),
    ]
    if summary.same_version:
        because = "live is its own candidate: this measures the noise, there is nothing to promote"
        return Decision("inconclusive", because, rules)
    if failed := [rule for rule in rules if rule.state == "failed"]:
        return Decision("reject", "; ".join(f"{r.name}: {r.words}" for r in failed), rules)
    if still := [rule for rule in rules if rule.state == "open"]:
        return Decision("inconclusive", "; ".join(f"{r.name}: {r.words}" for r in still), rules)
    return Decision("promote", f"every rule has passed; {rules[0].words}", rules)


def as_json(decision: Decision, summary: Summary, thresholds: Thresholds) -> dict[str, Any]:
    """Return what `gate` prints."""
    low, high = statistics.bounds(summary.good, summary.bad, thresholds.evidence.alpha)
    return {
        "verdict": decision.verdict,
        "because": decision.because,
        "mode": thresholds.mode,
        "live": summary.live,
        "candidate": summary.candidate,
        "pairs": summary.good + summary.bad,
        "agreeing": summary.good,
        "agreement_bounds": [round(low, 6), round(high, 6)],
        "candidate_errors": summary.verdicts["candidate_error"],
        "coverage": round(summary.coverage.share, 6),
        "hours": round(summary.duration / HOUR, 4),
        "rules": {rule.name: {"state": rule.state, "words": rule.words} for rule in decision.rules},
    }


def _agreement(summary: Summary, thresholds: Thresholds) -> Rule:
    good, bad, share = summary.good, summary.bad, thresholds.agreement
    low, high = statistics.bounds(good, bad, thresholds.evidence.alpha)
    return _proven(
        "agreement",
        statistics.log_e_above(good, bad, share),
        statistics.log_e_below(good, bad, share),
        thresholds,
        f"{good:,} of {good + bad:,} pairs agree, so between {percent(low)} and {percent(high)} of "
        "all",
        f"above the {percent(share)} asked for",
        f"below the {percent(share)} asked for",
    )


def _labels(labelled: Labelled | None, thresholds: Thresholds) -> Rule:
    if labelled is None:
        return Rule("labels", "open", "none were given, and mode improve decides by them")
    counts = (labelled.better, labelled.same, labelled.worse)
    margin = thresholds.improve.margin
    return _proven(
        "labels",
        statistics.log_e_not_worse(*counts, margin),
        statistics.log_e_worse(*counts, margin),
        thresholds,
        f"of {labelled.used:,} labelled pairs the candidate alone is right in {labelled.better:,}, "
        f"live alone in {labelled.worse:,}",
        f"right at most {percent(margin)} less often than live",
        f"right over {percent(margin)} less often than live",
    )


def _latency(summary: Summary, thresholds: Thresholds) -> Rule:
    slow, judged = summary.times.slow, summary.times.judged
    allowed = thresholds.latency.slow_share
    return _proven(
        "latency",
        statistics.log_e_above(judged - slow, slow, 1 - allowed),
        statistics.log_e_below(judged - slow, slow, 1 - allowed),
        thresholds,
        f"{slow:,} of {judged:,} copies were slow",
        f"less than the {percent(allowed)} allowed",
        f"more than the {percent(allowed)} allowed",
    )


def _proven(
    name: str,
    for_it: Array,
    against_it: Array,
    thresholds: Thresholds,
    found: str,
    good: str,
    bad: str,
) -> Rule:
    """Return the rule that the evidence decides; `good` and `bad` say what it may prove."""
    alpha = thresholds.evidence.alpha
    ways_to_fail = 3 if thresholds.mode == "improve" else 2
    confidence = f"with {percent(1 - alpha)} confidence"
    if for_it >= -log(alpha):
        return Rule(name, "passed", f"{found}: {good}, {confidence}")
    if against_it >= -log(alpha / ways_to_fail):
        return Rule(name, "failed", f"{found}: {bad}, {confidence}")
    return Rule(name, "open", f"{found}: whether that is {good} is not certain yet")


def _enough(summary: Summary, thresholds: Thresholds) -> list[Rule]:
    asked, coverage = thresholds.evidence, summary.coverage
    pairs = summary.good + summary.bad
    why = next(iter(coverage.missing), None)
    accounts = (
        f"the counts of {len(coverage.not_adding_up)} of {coverage.workers} workers do not add up"
        if coverage.not_adding_up
        else "every copy is accounted for"
    )
    return [
        _least("pairs", pairs, asked.min_pairs, f"{pairs:,}; asked for: {asked.min_pairs:,}"),
        _least(
            "coverage",
            coverage.share,
            asked.min_coverage,
            f"{percent(coverage.share)} of the copies were compared, {percent(asked.min_coverage)} "
            f"asked for{f'; the rest is mostly {why}' if why else ''}",
        ),
        _least(
            "duration",
            summary.duration / HOUR,
            asked.min_hours,
            f"{period(summary.duration)}; asked for: {period(asked.min_hours * HOUR)}",
        ),
        Rule("accounts", "open" if coverage.not_adding_up else "passed", accounts),
    ]


def _least(name: str, found: float, asked: float, words: str) -> Rule:
    return Rule(name, "passed" if found >= asked else "open", words)
