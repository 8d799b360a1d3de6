"""The report as one page that stands alone."""

from __future__ import annotations

from pathlib import Path

from tools.shadow.report import Report
from tools.shadow.words import MARKS
from training import pages

COMPARED = ("match", "within_tolerance", "mismatch", "candidate_error")
TEMPLATE = pages.load(Path(__file__).with_name("report.html"))


def as_page(report: Report) -> str:
    """Return the page as HTML; the same for the same report."""
    summary = report.summary
    parts = {verdict: summary.verdicts[verdict] for verdict in COMPARED}
    parts["missing"] = sum(summary.coverage.missing.values())
    return TEMPLATE.render(
        report=report,
        summary=summary,
        decision=report.decision,
        parts={name: count for name, count in parts.items() if count},
        marks=MARKS,
    )
