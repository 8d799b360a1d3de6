"""The verdict: promote, reject or inconclusive, and the rule that decided, in plain words."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

from tools.shadow import statistics
from tools.shadow.labels import Labelled
from tools.shadow.rules import Claim, Decision, Rule, conclude, met, proven
from tools.shadow.summary import Summary
from tools.shadow.thresholds import Thresholds
from tools.shadow.words import percent


def decide(summary: Summary, thresholds: Thresholds) -> Decision:
    """Return the decision; sound however often, and whenever, it is asked for."""
    rules = [_agreement(summary, thresholds)]
    if thresholds.mode == "improve":
        rules.append(_labels(summary.labelled, thresholds))
    rules += [_latency(summary, thresholds), *_enough(summary, thresholds)]
    if summary.same_version:
        because = "live is its own candidate: this measures the noise, there is nothing to promote"
        return Decision("inconclusive", because, rules)
    return conclude(rules)


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
        "hours": round(summary.hours, 4),
        "rules": {rule.name: {"state": rule.state, "words": rule.words} for rule in decision.rules},
    }


def _agreement(summary: Summary, thresholds: Thresholds) -> Rule:
    good, bad, asked = summary.good, summary.bad, thresholds.agreement
    low, high = statistics.bounds(good, bad, thresholds.evidence.alpha)
    return _proven(
        "agreement",
        f"{good:,} of {good + bad:,} pairs agree, so between {percent(low)} and {percent(high)} of "
        "all",
        thresholds,
        (statistics.log_e_above(good, bad, asked), f"above the {percent(asked)} asked for"),
        (statistics.log_e_below(good, bad, asked), f"below the {percent(asked)} asked for"),
    )


def _labels(labelled: Labelled | None, thresholds: Thresholds) -> Rule:
    if labelled is None:
        return Rule("labels", "open", "none were given, and mode improve decides by them")
    better, worse, margin = labelled.better, labelled.worse, thresholds.improve.margin
    counts, less_often = (better, labelled.same, worse), f"{percent(margin)} less often than live"
    return _proven(
        "labels",
        f"of {labelled.used:,} labelled pairs the candidate alone is right in {better:,}, live "
        f"alone in {worse:,}",
        thresholds,
        (statistics.log_e_not_worse(*counts, margin), f"right at most {less_often}"),
        (statistics.log_e_worse(*counts, margin), f"right over {less_often}"),
    )


def _latency(summary: Summary, thresholds: Thresholds) -> Rule:
    slow, judged = summary.times.slow, summary.times.judged
    allowed = thresholds.latency.slow_share
    counts = (judged - slow, slow, 1 - allowed)
    return _proven(
        "latency",
        f"{slow:,} of {judged:,} copies were slow",
        thresholds,
        (statistics.log_e_above(*counts), f"less than the {percent(allowed)} allowed"),
        (statistics.log_e_below(*counts), f"more than the {percent(allowed)} allowed"),
    )


def _proven(name: str, found: str, thresholds: Thresholds, good: Claim, bad: Claim) -> Rule:
    ways_to_fail = 3 if thresholds.mode == "improve" else 2
    return proven(name, found, thresholds.evidence.alpha, ways_to_fail, good, bad)


def _enough(summary: Summary, thresholds: Thresholds) -> list[Rule]:
    """Return the rules that a candidate meets by waiting, or by having its traffic looked after."""
    asked, coverage = thresholds.evidence, summary.coverage
    pairs, hours = summary.good + summary.bad, summary.hours
    why = next(iter(coverage.missing), None)
    compared = (
        f"{percent(coverage.share)} of the copies were compared, {percent(asked.min_coverage)} "
        f"asked for{f'; the rest is mostly {why}' if why else ''}"
    )
    watched, least = (timedelta(seconds=round(3600 * h)) for h in (hours, asked.min_hours))
    astray = coverage.not_adding_up
    accounts = f"the counts of {astray} of {coverage.workers} workers do not add up"
    return [
        met("pairs", pairs >= asked.min_pairs, f"{pairs:,}; asked for: {asked.min_pairs:,}"),
        met("coverage", coverage.share >= asked.min_coverage, compared),
        met("duration", hours >= asked.min_hours, f"{watched}; asked for: {least}"),
        met("accounts", not astray, accounts if astray else "every copy is accounted for"),
    ]
