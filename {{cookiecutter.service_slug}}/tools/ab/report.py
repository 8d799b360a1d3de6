"""What the report on a share of the users tells, section by section."""

from __future__ import annotations

import numpy as np

from tools.ab import charts
from tools.ab.gate import MEANS, signed
from tools.ab.summary import GROUPS, Summary
from tools.ab.thresholds import Thresholds
from tools.shadow.coverage import by_frequency
from tools.shadow.forms import Fact, Report, Section
from tools.shadow.rules import Decision
from tools.shadow.statistics import mean_bounds
from tools.shadow.tables import REASONS, Table
from tools.shadow.words import percent

NAMES = {"candidate": "the candidate's users", "control": "as many of live's"}
# What fallbacks mean besides what errors of copies do.
FALLBACKS = REASONS | {
    "4xx": "the candidate refuses what live accepts",
    "5xx": "it failed, or was overloaded",
    "busy": "as many requests as there may be were waiting for it",
    "redirect": "it leads elsewhere",
    "shape": "not as many predictions as rows, or other fields or types than live's",
    "timeout": "no whole answer within AB_BUDGET_MS",
    "too_large": "its answer is over 4 MiB",
    "fault": "asking it failed; the log says how",
}


def make_report(
    service: str, summary: Summary, read: dict[str, int], thresholds: Thresholds, decision: Decision
) -> Report:
    """Return the report; the same for the same arguments. `read`: numbers of lines, by kind."""
    sections = [*_customers(summary, thresholds), _answers(summary, thresholds)]
    words = "; ".join(f"{kind}: {n:,}" for kind, n in by_frequency(read).items())
    sections.append(Section("Lines of log that were read", f"{words or 'none'}."))
    return Report(
        f"Report on a share of the users · {service}",
        service,
        summary.live,
        summary.candidate,
        decision,
        _facts(summary),
        sections,
    )


def _facts(summary: Summary) -> list[Fact]:
    sides = summary.sides
    fallbacks = sides["candidate"].fallbacks.total()
    share = fallbacks / max(1, sides["candidate"].requests)
    counts = f"{sides['candidate'].customers:,} : {sides['control'].customers:,}"
    older = f"; not judged: {', '.join(summary.others)}" if summary.others else ""
    return [
        Fact("experiment", summary.experiment or "none", f"AB_EXPERIMENT of the newest{older}"),
        Fact("customers", counts, "the candidate's, and the control group"),
        Fact("fallbacks", percent(share), f"{fallbacks:,} requests that live answered instead"),
        Fact("truths", f"{summary.truths:,}", f"and {summary.unknown:,} of requests not read"),
        Fact("no key", f"{summary.no_key:,}", "requests of users that cannot be told apart"),
    ]


def _customers(summary: Summary, thresholds: Thresholds) -> list[Section]:
    alpha, rows, plots = thresholds.evidence.alpha, [], []
    for name, measure in summary.measures.items():
        differences = measure.differences
        if not len(differences):
            continue
        low, high = mean_bounds(differences, alpha)
        means = [percent(float(side.mean())) for side in (measure.candidate, measure.control)]
        between = f"{signed(low)} to {signed(high)}"
        rows.append([f"{name}: {MEANS[name]}", f"{len(differences):,}", *means, between])
        plots.append(charts.difference(name, differences, thresholds.margin(name), alpha))
    hours = thresholds.customers.hours
    figure = f"the mean of its first {hours:g} hours" if hours else "what was first seen of it"
    words = (
        f"Each customer counts once, by {figure}, against one of the other group. A user whom live "
        "answered in the candidate's place stays one of the candidate's."
    )
    bounds = f"Each bound is wrong at most {percent(alpha)} of the time, however often one looks."
    head = ["", "Customers", "Candidate", "Control", "Difference, points"]
    return [
        Section("Customers", words, tables=[Table(head, rows)]),
        Section("How certain that is", bounds, plots),
    ]


def _answers(summary: Summary, thresholds: Thresholds) -> Section:
    rows = []
    for group in GROUPS:
        side = summary.sides[group]
        times = ["", ""]
        if len(side.durations):
            times = [f"{t:.3g}" for t in np.quantile(side.durations, [0.5, 0.99])]
        statuses = ", ".join(f"{status}: {n:,}" for status, n in sorted(side.statuses.items()))
        rows.append([NAMES[group], f"{side.requests:,}", statuses, *times])
    fallbacks = by_frequency(dict(summary.sides["candidate"].fallbacks))
    requests = max(1, summary.sides["candidate"].requests)
    reasons = [
        [reason.replace("_", " "), f"{n:,}", percent(n / requests), FALLBACKS.get(reason, "")]
        for reason, n in fallbacks.items()
    ]
    answered = any(len(side.durations) for side in summary.sides.values())
    slow_ms = thresholds.latency.slow_ms
    return Section(
        "Answers",
        f"All requests of both groups. An answer is slow after {slow_ms:g} ms.",
        [charts.latency(summary, slow_ms)] if answered else [],
        [
            Table(["", "Requests", "Statuses", "p50, ms", "p99, ms"], rows),
            Table(["Fallback", "Requests", "Share", "Meaning"], reasons),
        ],
    )
