"""What the report tells, section by section; `page` and `markdown` give it a form."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np

from tools.shadow import charts, statistics, tables
from tools.shadow.events import Reading
from tools.shadow.gate import Decision
from tools.shadow.summary import Summary
from tools.shadow.tables import Table
from tools.shadow.thresholds import Thresholds
from tools.shadow.words import percent
from training.figures import Plot
from training.intervals import wilson

MAX_HISTOGRAMS = 4


@dataclass(frozen=True)
class Fact:
    """A number for the head of the report."""

    name: str
    value: str
    about: str


@dataclass(frozen=True)
class Section:
    title: str
    words: str
    plots: list[Plot] = field(default_factory=list)
    tables: list[Table] = field(default_factory=list)


@dataclass(frozen=True)
class Report:
    service: str
    summary: Summary
    decision: Decision
    facts: list[Fact]
    sections: list[Section]


def make_report(
    service: str, summary: Summary, reading: Reading, thresholds: Thresholds, decision: Decision
) -> Report:
    """Return the report; the same for the same arguments."""
    sections = [
        _coverage(summary),
        _agreement(summary, thresholds),
        _labels(summary, thresholds),
        _numbers(summary),
        _latency(summary, thresholds),
        _errors(summary),
        _fields(summary),
        _resources(summary),
        _floor(summary, thresholds),
        _origin(summary, reading),
    ]
    facts = _facts(summary, thresholds.evidence.alpha)
    return Report(service, summary, decision, facts, [s for s in sections if s is not None])


def _facts(summary: Summary, alpha: float) -> list[Fact]:
    pairs, errors = summary.good + summary.bad, summary.verdicts["candidate_error"]
    if not pairs:
        return []
    low, high = statistics.bounds(summary.good, summary.bad, alpha)
    facts = [
        Fact(
            "agreement",
            percent(summary.good / pairs),
            f"between {percent(low)} and {percent(high)}",
        ),
        Fact("errors of the candidate", percent(errors / pairs), f"{errors:,} of {pairs:,} pairs"),
    ]
    if (kappa := summary.classes.kappa) is not None:
        facts.append(Fact("kappa", f"{kappa:.3f}", "agreement on classes beyond chance; 1 is all"))
    times = summary.times
    for q in (0.5, 0.99) if len(times.live) else ():
        live, candidate = (float(np.quantile(side, q)) for side in (times.live, times.candidate))
        facts.append(
            Fact(
                f"inference, p{q * 100:g}",
                f"{candidate:.3g} ms",
                f"live {live:.3g} ms, {candidate / live - 1:+.0%}" if live else "live 0 ms",
            )
        )
    return facts


def _coverage(summary: Summary) -> Section:
    coverage = summary.coverage
    when = ""
    if summary.span:
        start, end = (f"{time:%Y-%m-%d %H:%M:%S}" for time in summary.span)
        when = f" They were made from {start} to {end} UTC."
    return Section(
        "Traffic and coverage",
        f"{coverage.eligible:,} requests came to {coverage.workers} "
        f"{'worker' if coverage.workers == 1 else 'workers'}. Of the "
        f"{coverage.wanted:,} that were to be compared, {percent(coverage.share)} were.{when} What "
        "was not may be just what goes wrong, so it is counted and limited.",
        tables=[tables.verdicts(summary), tables.missing(summary), tables.not_wanted(summary)],
    )


def _agreement(summary: Summary, thresholds: Thresholds) -> Section | None:
    pairs = summary.good + summary.bad
    if not pairs:
        return None
    alpha, share = thresholds.evidence.alpha, thresholds.agreement
    low, high = statistics.bounds(summary.good, summary.bad, alpha)
    once = wilson(summary.good, pairs)
    plots = [
        charts.agreement_so_far(summary, share, alpha),
        charts.agreement_over_time(summary, share),
    ]
    words = (
        f"{summary.good:,} of {pairs:,} pairs agree: {percent(summary.good / pairs)}. The true "
        f"share lies between {percent(low)} and {percent(high)}, each bound wrong at most "
        f"{percent(alpha)} of the time however often one looks. (For one look only, Wilson's 95% "
        f"interval is {percent(float(once[0]))} to {percent(float(once[1]))}.)"
    )
    found = summary.classes
    if not found.names:
        return Section("Agreement", words, plots)
    kappa = "" if found.kappa is None else f" Cohen's kappa is {found.kappa:.3f}."
    words += (
        " Where one class is common, agreeing is easy: look at the rare ones too, and at kappa, "
        f"which is 0 for agreement by chance.{kappa}"
    )
    return Section("Agreement", words, [*plots, charts.flips(found)], [tables.classes(summary)])


def _labels(summary: Summary, thresholds: Thresholds) -> Section | None:
    found = summary.labelled
    if found is None:
        return None
    unused = (
        f" {found.unknown:,} labels name no pair that was read, and {found.unusable:,} one of "
        "several rows, or one whose answers were not logged."
        if found.unknown or found.unusable
        else ""
    )
    return Section(
        "Who was right",
        f"Of {found.used:,} labelled pairs, only the candidate was right in {found.better:,} and "
        f"only live in {found.worse:,}; in the rest both were, or neither. An error of the "
        f"candidate is wrong. Allowed: right {percent(thresholds.improve.margin)} less often than "
        f"live.{unused}",
    )


def _numbers(summary: Summary) -> Section | None:
    if not summary.deltas:
        return None
    return Section(
        "Scores",
        "How far the numbers in the answers move: the candidate's less live's, row by row.",
        [
            charts.differences(name, values)
            for name, values in list(summary.deltas.items())[:MAX_HISTOGRAMS]
        ],
        [tables.differences(summary)],
    )


def _latency(summary: Summary, thresholds: Thresholds) -> Section | None:
    times, limits = summary.times, thresholds.latency
    if not len(times.live):
        return None
    trip = ""
    if len(times.round_trip):
        p50, p99 = (f"{q:.3g}" for q in np.quantile(times.round_trip, [0.5, 0.99]))
        trip = (
            f" Seen from live, a copy took {p50} ms (p99: {p99} ms), network and queues included: "
            "a figure of health, not of the candidate's speed."
        )
    return Section(
        "Latency",
        f"{times.slow:,} of {times.judged:,} copies were slow: over {limits.slo_ms:g} ms of "
        f"inference, or over {limits.times_live:g} times live's and {limits.plus_ms:g} ms; "
        f"{percent(limits.slow_share)} may be. The first {limits.warm_up_pairs:,} pairs are left "
        f"out, as caches are cold.{trip}",
        [charts.latency(times)],
        [tables.inference(summary)],
    )


def _errors(summary: Summary) -> Section:
    errors = summary.verdicts["candidate_error"]
    words = "Each counts as a disagreement." if errors else "None: every copy got an answer."
    return Section("Errors of the candidate", words, tables=[tables.errors(summary)])


def _fields(summary: Summary) -> Section | None:
    if not summary.fields:
        return None
    more = len(summary.fields) - tables.MAX_FIELDS
    return Section(
        "Fields that differ",
        "In how many pairs, the most frequent first, with a few examples."
        + (f" {more} more are not shown." if more > 0 else ""),
        tables=[tables.fields(summary)],
    )


def _resources(summary: Summary) -> Section | None:
    table = tables.resources(summary)
    if not table.rows:
        return None
    return Section(
        "Resources",
        "What a request costs on each side. Live's CPU includes its work for ghost mode; the "
        "candidate's is known if its logs were read too.",
        tables=[table],
    )


def _floor(summary: Summary, thresholds: Thresholds) -> Section:
    found, share = summary.floor, thresholds.agreement
    if found is None:
        return Section(
            "Noise floor",
            "Not measured. Let the live version be its own candidate for an hour: what it does not "
            "agree with itself about is noise (rounding, time, chance), and no candidate can do "
            "better.",
        )
    low, high = wilson(found.good, found.good + found.bad)
    words = (
        f"With itself as the candidate, the live version agreed in {found.good:,} of "
        f"{found.good + found.bad:,} pairs: {percent(found.good / (found.good + found.bad))} "
        f"({percent(float(low))} to {percent(float(high))}). No candidate can be asked for more."
    )
    if low <= share:
        words += (
            f" The {percent(share)} asked for may be out of reach: ask for less, or let the rules "
            "of comparison allow the noise."
        )
    return Section("Noise floor", words)


def _origin(summary: Summary, reading: Reading) -> Section:
    return Section(
        "What was read",
        "Lines of log, from as many pods as were given.",
        tables=[tables.reading(reading, summary)],
    )
