"""The report on a training run: what it decides and why, for the expert who approves it.

In two forms: a page that stands alone, and Markdown for the page that CI shows of a run.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

from service.artifact import Manifest
from training import card, pages, plots
from training.comparison import Compared
from training.disagreement import Disagreement, disagreement
from training.evaluate import Evaluation
from training.figures import Plot
from training.forest import OUTCOMES, forest
from training.markdown import plain, table
from training.plots import number, signed, words
from training.validation import Finding
from training.verdict import Live, Status, Verdict, decide

__all__ = ["Live", "Report", "Status", "Verdict", "decide", "page", "summary"]

HEADLINES = {"good": "✓ Good", "undecided": "? For you to decide", "refused": "✗ Refused"}
MAX_SHIFTS = 12
# Of the Markdown.
MAX_METRICS = 6
MAX_FINDINGS = 3


@dataclass(frozen=True)
class Report:
    """What a run found.

    `manifest` and `evaluation` are the candidate's; `manifest.version` is "" where it was refused.
    `live` is None for the first model. `facts`: where it all comes from, by what they tell, as
    {"code": "commit 1234abcd"}.
    """

    run: str
    manifest: Manifest
    evaluation: Evaluation
    verdict: Verdict
    live: Live | None
    compared: list[Compared]
    findings: list[Finding]
    facts: dict[str, str]


def page(report: Report) -> str:
    """Return the report as HTML, with all of the model card; the same for the same report."""
    evaluation, other = report.evaluation, _comparable(report)
    differ: Disagreement | None = None
    together: list[Plot] = []
    if other is not None:
        differ = disagreement(report.manifest.inputs, evaluation, other)
        together = card.performance(evaluation, other)
    alone = [] if together else card.performance(evaluation)
    return TEMPLATE.render(
        card.sections(report.manifest, evaluation, alone),
        report=report,
        headline=HEADLINES[report.verdict.status],
        outcomes=OUTCOMES,
        forests=[(item, forest(item)) for item in report.compared],
        metrics=_metrics(report),
        together=together,
        differ=differ,
        findings=_sorted(report.findings),
        shifts=_shifts(report),
    )


def _comparable(report: Report) -> Evaluation | None:
    """Return the live model's evaluation if its answers can be set beside the candidate's."""
    other = report.live.evaluation if report.live else None
    kind = report.evaluation.kind
    return other if other is not None and other.kind == kind != "other" else None


def _metrics(report: Report) -> list[list[str]]:
    """Return all metrics, those that decide first: name, live, candidate, difference."""
    candidate = report.evaluation.metrics
    other = report.live.evaluation if report.live else None
    live = other.metrics if other else {}
    found = []
    for name in dict.fromkeys([*(item.metric for item in report.compared), *candidate, *live]):
        before, after = (metrics.get(name, math.nan) for metrics in (live, candidate))
        found.append([words(name), number(before), number(after), signed(after - before)])
    return found


def _sorted(findings: list[Finding]) -> list[Finding]:
    """Return what breaks callers first, then the largest shifts."""
    return sorted(findings, key=lambda item: (not item.breaking, -(item.distance or 0)))


def _shifts(report: Report) -> list[Plot]:
    baseline = report.live.baseline if report.live else None
    now, before = report.manifest.baseline.inputs, baseline.inputs if baseline else {}
    names = [item.column for item in _sorted(report.findings) if item.distance is not None]
    both = [name for name in dict.fromkeys(names) if name in now and name in before]
    return [plots.shift(name, now[name], before[name]) for name in both[:MAX_SHIFTS]]


def summary(report: Report) -> str:
    """Return the report in about 20 lines of Markdown, the same for the same report."""
    manifest, live, other = report.manifest, report.live, _comparable(report)
    head = ["Metric", "Live model", "This model", "Difference", "Outcome"]
    outcomes = {words(item.metric): item for item in report.compared}
    rows = [[*row, _outcome(outcomes.get(row[0]))] for row in _metrics(report)[:MAX_METRICS]]
    lines = [f"{item.column}: {item.line}" for item in _sorted(report.findings)[:MAX_FINDINGS]]
    if more := len(report.findings) - len(lines):
        lines.append(f"and {more} more")
    parts = [
        f"## {HEADLINES[report.verdict.status]}: {plain(f'{manifest.name} {manifest.version}')}",
        plain(report.verdict.reason),
        plain(f"The live model is {live.name}." if live else "No model is live yet."),
        table(head, rows) if rows else "",
        plain(disagreement(manifest.inputs, report.evaluation, other).words) if other else "",
        "What changed in the data:" if lines else "",
        "\n".join(f"- {plain(line)}" for line in lines),
        plain("; ".join(f"{name}: {fact}" for name, fact in report.facts.items())),
    ]
    return "\n\n".join(filter(None, parts)) + "\n"


def _outcome(item: Compared | None) -> str:
    if item is None:
        return ""
    ends = " to ".join(map(signed, item.interval)) if item.interval else "no interval"
    return f"{OUTCOMES[item.outcome]} ({ends})"


TEMPLATE = pages.load(
    pages.TEMPLATES / "report.html",
    **card.FILTERS,
    signed=signed,
)
