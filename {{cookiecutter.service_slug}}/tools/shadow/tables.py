"""The tables of the report, the same on the page and in the Markdown summary."""

from __future__ import annotations

import json
from typing import Any, NamedTuple

import numpy as np
from msgspec import UNSET

from tools.shadow.events import Reading
from tools.shadow.statistics import quantile_differences
from tools.shadow.summary import Summary
from tools.shadow.words import percent
from training.intervals import wilson

QUANTILES = [0.5, 0.9, 0.95, 0.99]
# Fewer pairs beyond a quantile than this say little of where it lies.
FEW_BEYOND = 50
MAX_CLASSES = 20
MAX_FIELDS = 20


class Table(NamedTuple):
    head: list[str]
    rows: list[list[str]]


# What reasons mean, and what helps.
REASONS = {
    "answer_too_large": "the answer is over SHADOW_MAX_ANSWER_BYTES",
    "body_too_large": "the request is over SHADOW_MAX_BODY_BYTES",
    "breaker": "the candidate kept failing, so it was left alone",
    "copy": "was a copy itself, or said so",
    "expired": "waited too long: the candidate is slower than the traffic",
    "fault": "ghost mode itself failed; the log says how",
    "incomplete": "the client left, or its request was not read to the end",
    "lag": "live was busy, so copies had to wait; fewer of them, or more workers, help",
    "live_not_json": "live's answer is not JSON",
    "lost_at_exit": "was waiting when its worker ended",
    "no_counts": "its worker's counts are not in these files, so nor is what it dropped",
    "not_in_files": "compared, but its line is not in these files; follow the logs as they come",
    "queue_bytes": "the queue was full: the candidate is slower than the traffic",
    "queue_full": "the queue was full: the candidate is slower than the traffic",
    "rate": "over SHADOW_MAX_RPS; a lower SHADOW_PERCENT instead chooses without bias",
    "sampled_out": "not among the SHADOW_PERCENT of requests",
    "status": "live did not answer 2xx, so there is nothing to compare with",
    "switched_off": "by the kill switch",
}


def verdicts(summary: Summary) -> Table:
    meanings = {
        "match": "the same answer, byte for byte or by value",
        "within_tolerance": "the rules of comparison allow the difference",
        "mismatch": "another answer",
        "candidate_error": "no answer to compare: a disagreement",
        "not_compared": "not judged",
    }
    total = max(len(summary.pairs), 1)
    rows = [
        [verdict.replace("_", " "), f"{count:,}", percent(count / total), meaning]
        for verdict, meaning in meanings.items()
        if (count := summary.verdicts[verdict])
    ]
    return Table(["Verdict", "Pairs", "Share", "Meaning"], rows)


def missing(summary: Summary) -> Table:
    wanted = max(summary.coverage.wanted, 1)
    return Table(
        ["Not compared", "Copies", "Share", "Why"],
        [
            [why, f"{n:,}", percent(n / wanted), REASONS.get(why, "")]
            for why, n in summary.coverage.missing.items()
        ],
    )


def not_wanted(summary: Summary) -> Table:
    return Table(
        ["Not to be compared", "Requests", "Why"],
        [[why, f"{n:,}", REASONS[why]] for why, n in summary.coverage.not_wanted.items()],
    )


def errors(summary: Summary) -> Table:
    compared = max(summary.good + summary.bad, 1)
    return Table(
        ["Error of the candidate", "Pairs", "Share"],
        [[kind, f"{n:,}", percent(n / compared)] for kind, n in summary.errors.items()],
    )


def classes(summary: Summary) -> Table:
    rows = []
    found = summary.classes
    for i, name in enumerate(found.names[:MAX_CLASSES]):
        live, both = int(found.flips[i].sum()), int(found.flips[i, i])
        rows.append(
            [str(name), f"{live:,}", f"{int(found.flips[:, i].sum()):,}", _share(both, live)]
        )
    return Table(["Class", "Live", "Candidate", "Candidate agrees (95%)"], rows)


def inference(summary: Summary) -> Table:
    times = summary.times
    if not len(times.live):
        return Table([], [])
    changes = quantile_differences(times.live, times.candidate, QUANTILES)
    rows = []
    for q, (change, low, high) in zip(QUANTILES, changes, strict=True):
        few = len(times.live) * (1 - q) < FEW_BEYOND
        rows.append(
            [
                f"p{q * 100:g}",
                f"{np.quantile(times.live, q):.3g}",
                f"{np.quantile(times.candidate, q):.3g}",
                f"{change:+.3g}",
                f"{low:+.3g} to {high:+.3g}{' (few pairs)' if few else ''}",
            ]
        )
    return Table(["", "Live, ms", "Candidate, ms", "Difference", "95% interval"], rows)


def differences(summary: Summary) -> Table:
    rows = []
    for name, values in summary.deltas.items():
        p50, p95, most = np.quantile(np.abs(values), [0.5, 0.95, 1])
        numbers = (float(values.mean()), p50, p95, most)
        rows.append([name, f"{len(values):,}", *(f"{value:.3g}" for value in numbers)])
    return Table(["Field", "Rows", "Mean shift", "Median size", "p95 size", "Largest"], rows)


def fields(summary: Summary) -> Table:
    compared = max(summary.good + summary.bad, 1)
    rows = []
    for field in summary.fields[:MAX_FIELDS]:
        examples = (
            f"{_value(d.live)} → {_value(d.candidate)} ({pair_id[:8]})"
            for pair_id, d in field.examples
        )
        rows.append(
            [field.path, f"{field.pairs:,}", percent(field.pairs / compared), "; ".join(examples)]
        )
    return Table(["Field", "Pairs", "Share", "Live → candidate (pair)"], rows)


def resources(summary: Summary) -> Table:
    times = summary.times
    rows = []
    if len(times.live):
        pair = (float(times.live.mean()), float(times.candidate.mean()))
        rows.append(["inference, mean ms", *_both(*pair)])
    if summary.cpu_ms.live is not None or summary.cpu_ms.candidate is not None:
        rows.append(["CPU, ms", *_both(summary.cpu_ms.live, summary.cpu_ms.candidate)])
    return Table(["For each request", "Live", "Candidate", "Ratio"], rows)


def reading(found: Reading, summary: Summary) -> Table:
    lines = {
        "pairs": found.pairs,
        "counts of workers": found.counts + found.usages,
        "read more than once": found.duplicates,
        "of ghost mode, but cut short or broken": found.broken,
        "of something else": found.foreign,
    }
    rows = [[name, f"{count:,}"] for name, count in lines.items() if count]
    rows += [
        [f"pairs of other versions ({live or '?'} and {candidate or '?'})", f"{count:,}"]
        for (live, candidate), count in summary.others.items()
    ]
    return Table(["Lines", "Count"], rows)


def _both(live: float | None, candidate: float | None) -> list[str]:
    numbers = ["not logged" if value is None else f"{value:.3g}" for value in (live, candidate)]
    return [*numbers, f"{candidate / live:.2f}" if live and candidate else ""]


def _share(part: int, whole: int) -> str:
    if not whole:
        return "–"
    low, high = wilson(part, whole)
    return f"{percent(part / whole)} ({percent(float(low))}–{percent(float(high))})"


def _value(value: Any) -> str:
    """Return a value of an answer as JSON writes it, cut if it is long."""
    text = "absent" if value is UNSET else json.dumps(value, ensure_ascii=False)
    return text if len(text) <= 40 else text[:39] + "…"
