"""The verdict on a candidate that has users: promote, reject or inconclusive, in plain words."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

from tools.ab.summary import GROUPS, Summary
from tools.ab.thresholds import Thresholds
from tools.shadow import statistics
from tools.shadow.rules import Decision, Rule, conclude, met, proven
from tools.shadow.words import percent

# What a customer's figure is a share of, or a mean.
MEANS = {
    "errors": "answers of their own side",
    "latency": "answers in time",
    "labels": "right answers",
    "value": "of the value's range",
}


def decide(summary: Summary, thresholds: Thresholds) -> Decision:
    """Return the decision; sound however often, and whenever, it is asked for."""
    judged = [*thresholds.decide_by, "errors", "latency"]
    rules = [_measure(name, summary, thresholds, len(judged)) for name in judged]
    rules += _enough(summary, thresholds)
    if summary.live is not None and summary.live == summary.candidate:
        because = "live is its own candidate: this measures the noise, there is nothing to promote"
        return Decision("inconclusive", because, rules)
    return conclude(rules)


def as_json(decision: Decision, summary: Summary, thresholds: Thresholds) -> dict[str, Any]:
    """Return what `gate` prints."""
    return {
        "verdict": decision.verdict,
        "because": decision.because,
        "experiment": summary.experiment,
        "live": summary.live,
        "candidate": summary.candidate,
        "customers": {group: side.customers for group, side in summary.sides.items()},
        "requests": {group: side.requests for group, side in summary.sides.items()},
        "fallbacks": dict(summary.sides["candidate"].fallbacks),
        "coverage": round(summary.coverage, 6),
        "hours": round(summary.hours, 4),
        "differences": {
            name: {
                "customers": len(measure.differences),
                "bounds": [
                    round(bound, 6)
                    for bound in statistics.mean_bounds(
                        measure.differences, thresholds.evidence.alpha
                    )
                ],
            }
            for name, measure in summary.measures.items()
        },
        "rules": {rule.name: {"state": rule.state, "words": rule.words} for rule in decision.rules},
    }


def _measure(name: str, summary: Summary, thresholds: Thresholds, ways_to_fail: int) -> Rule:
    measure, margin = summary.measures[name], thresholds.margin(name)
    differences = measure.differences
    if not len(differences):
        what = "no truth has come of them" if name in thresholds.decide_by else "none is settled"
        return Rule(name, "open", f"no customers to compare: {what}")
    alpha = thresholds.evidence.alpha
    low, high = statistics.mean_bounds(differences, alpha)
    both = (float(side[: len(differences)].mean()) for side in (measure.candidate, measure.control))
    ours, theirs = (percent(share) for share in both)
    return proven(
        name,
        f"{ours} {MEANS[name]} with {len(differences):,} customers of the candidate, {theirs} with "
        f"as many of live's, a difference of {signed(low)} to {signed(high)} points",
        alpha,
        ways_to_fail,
        (
            statistics.log_e_mean_above(differences, -margin)[-1],
            f"at most {percent(margin)} worse",
        ),
        (statistics.log_e_mean_below(differences, -margin)[-1], f"over {percent(margin)} worse"),
    )


def signed(share: float) -> str:
    """Return a difference of shares in percentage points, like -0.3 or +12."""
    return f"{share * 100:+.3g}"


def _enough(summary: Summary, thresholds: Thresholds) -> list[Rule]:
    asked = thresholds.evidence
    customers = min(summary.sides[group].customers for group in GROUPS)
    watched, least = (timedelta(seconds=round(3600 * h)) for h in (summary.hours, asked.min_hours))
    versions = len(summary.lives), len(summary.candidates)
    several = max(versions) > 1
    of_each = (
        "{} of live, {} of the candidate: an AB_EXPERIMENT is for one of each".format(*versions)
        if several
        else "one of each has answered"
    )
    covered = (
        f"{percent(summary.coverage)} of the answers that were counted are in the files; "
        f"asked for: {percent(asked.min_coverage)}"
    )
    return [
        met(
            "customers",
            customers >= asked.min_customers,
            f"{customers:,} in the smaller group; asked for: {asked.min_customers:,}",
        ),
        met("coverage", summary.coverage >= asked.min_coverage, covered),
        met("duration", summary.hours >= asked.min_hours, f"{watched}; asked for: {least}"),
        met("versions", not several, of_each),
    ]
