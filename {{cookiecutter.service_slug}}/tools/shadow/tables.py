"""The tables of the report, the same on the page and in the Markdown summary."""

from __future__ import annotations

import json
from typing import Any, NamedTuple

import numpy as np
from msgspec import UNSET

from tools.shadow.statistics import quantile_differences
from tools.shadow.summary import Summary
from tools.shadow.words import percent
from training.intervals import wilson

QUANTILES = [0.5, 0.9, 0.95, 0.99]
# Fewer pairs beyond a quantile than this say little of where it lies.
FEW_BEYOND = 50
MAX_CLASSES = MAX_FIELDS = 20
MAX_EXAMPLES = 3

VERDICTS = {
    "match": "the same answer, byte for byte or by value",
    "within_tolerance": "the rules of comparison allow the difference",
    "mismatch": "another answer",
    "candidate_error": "no answer to compare: a disagreement",
    "not_compared": "not judged",
}
# What reasons mean, and what helps.
REASONS = {
    "answer_too_large": "the answer is too large to be compared",
    "body_too_large": "the request is over SHADOW_MAX_BODY_BYTES",
    "breaker": "the candidate kept failing, so it was left alone",
    "connect": "nobody answers at SHADOW_URL",
    "copy": "was a copy itself, or said so",
    "encoded": "the answer is compressed",
    "expired": "waited too long: the candidate is slower than the traffic",
    "fault": "copying itself failed; the log says how",
    "incomplete": "the client left, or its request was not read to the end",
    "lag": "live was busy, so copies had to wait; fewer of them, or more workers, help",
    "live_not_json": "live's answer is not JSON",
    "lost_at_exit": "was waiting when its worker ended",
    "no_counts": "its worker's counts are not in these files, so nor is what it dropped",
    "not_in_files": "compared, but its line is not in these files; follow the logs as they come",
    "protocol": "no whole answer in HTTP/1.1",
    "queue_bytes": "the queue was full: the candidate is slower than the traffic",
    "queue_full": "the queue was full: the candidate is slower than the traffic",
    "rate": "more copies a second than a worker makes; a lower SHADOW_PERCENT chooses without bias",
    "sampled_out": "not among the SHADOW_PERCENT of requests",
    "status": "live did not answer 2xx, so there is nothing to compare with",
    "switched_off": "by the kill switch",
    "timeout": "no whole answer within SHADOW_TIMEOUT_MS",
}


class Table(NamedTuple):
    head: list[str]
    rows: list[list[str]]


def coverage(summary: Summary) -> list[Table]:
    """Return what came of pairs, why others were not compared, and how the candidate failed."""
    found = summary.coverage
    verdicts = {verdict: summary.verdicts[verdict] for verdict in VERDICTS}
    compared = summary.good + summary.bad
    return [
        _counted(["Verdict", "Pairs"], verdicts, len(summary.pairs), VERDICTS),
        _counted(["Not compared", "Copies"], found.missing, found.wanted, REASONS),
        _counted(["Not to be compared", "Requests"], found.not_wanted, found.eligible, REASONS),
        _counted(["Error of the candidate", "Pairs"], summary.errors, compared, REASONS),
    ]


def classes(summary: Summary) -> Table:
    flips, rows = summary.classes.flips, []
    for i, name in enumerate(summary.classes.names[:MAX_CLASSES]):
        live, candidate, both = int(flips[i].sum()), int(flips[:, i].sum()), int(flips[i, i])
        share = "–"
        if live:
            low, high = map(float, wilson(both, live))
            share = f"{percent(both / live)} ({percent(low)}–{percent(high)})"
        rows.append([str(name), f"{live:,}", f"{candidate:,}", share])
    return Table(["Class", "Live", "Candidate", "Candidate agrees (95%)"], rows)


def times(summary: Summary) -> Table:
    """Return quantiles and means of inference, and the CPU time of a request."""
    live, candidate = summary.times.live, summary.times.candidate
    rows = []
    if len(live):
        changes = quantile_differences(live, candidate, QUANTILES)
        for q, (low, high) in zip(QUANTILES, changes, strict=True):
            few = " (few pairs)" if len(live) * (1 - q) < FEW_BEYOND else ""
            both = np.quantile(live, q), np.quantile(candidate, q)
            rows.append([f"p{q * 100:g}", *_both(*both), f"{low:+.3g} to {high:+.3g}{few}"])
        rows.append(["mean", *_both(live.mean(), candidate.mean()), ""])
    if len(summary.times.round_trip):
        p50, p99 = np.quantile(summary.times.round_trip, [0.5, 0.99])
        rows.append(["seen from live", "", f"{p50:.3g} (p99: {p99:.3g})", "", ""])
    if summary.cpu_ms != (None, None):
        rows.append(["CPU of a request", *_both(*summary.cpu_ms), ""])
    return Table(["", "Live, ms", "Candidate, ms", "Difference", "95% interval"], rows)


def differences(summary: Summary) -> Table:
    rows = []
    for name, values in summary.deltas.items():
        numbers = [values.mean(), *np.quantile(np.abs(values), [0.5, 0.95, 1])]
        rows.append([name, f"{len(values):,}", *(f"{value:.3g}" for value in numbers)])
    return Table(["Field", "Rows", "Mean shift", "Median size", "p95 size", "Largest"], rows)


def fields(summary: Summary) -> Table:
    compared, rows = max(summary.good + summary.bad, 1), []
    for path, found in list(summary.fields.items())[:MAX_FIELDS]:
        examples = "; ".join(
            f"{_value(sides.live)} → {_value(sides.candidate)} ({pair_id[:8]})"
            for pair_id, sides in found[:MAX_EXAMPLES]
        )
        rows.append([path, f"{len(found):,}", percent(len(found) / compared), examples])
    if (more := len(summary.fields) - MAX_FIELDS) > 0:
        rows.append([f"{more} more", "", "", ""])
    return Table(["Field", "Pairs", "Share", "Live → candidate (pair)"], rows)


def _counted(
    head: list[str], counts: dict[str, int], whole: int, meanings: dict[str, str]
) -> Table:
    rows = [
        [name.replace("_", " "), f"{n:,}", percent(n / max(whole, 1)), meanings.get(name, "")]
        for name, n in counts.items()
        if n
    ]
    return Table([*head, "Share", "Meaning"], rows)


def _both(live: float | None, candidate: float | None) -> list[str]:
    """Return both sides' figures and their difference."""
    texts = ["not logged" if side is None else f"{side:.3g}" for side in (live, candidate)]
    if live is None or candidate is None:
        return [*texts, ""]
    return [*texts, f"{candidate - live:+.3g}"]


def _value(value: Any) -> str:
    """Return a value of an answer as JSON writes it, cut if it is long."""
    text = "absent" if value is UNSET else json.dumps(value, ensure_ascii=False)
    return text if len(text) <= 40 else text[:39] + "…"
