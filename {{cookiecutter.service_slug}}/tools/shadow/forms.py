"""The report's two forms: a page that stands alone, and Markdown for a ticket or a terminal."""

from __future__ import annotations

from pathlib import Path

from tools.shadow.report import Report
from tools.shadow.tables import Table
from training import pages

PAGE = pages.load(Path(__file__).with_name("report.html"))
MARKS = {"passed": "✓", "failed": "✗", "open": "…"}
COMPARED = ("match", "within_tolerance", "mismatch", "candidate_error")


def as_page(report: Report) -> str:
    """Return the report as HTML; the same for the same report."""
    summary = report.summary
    parts = {verdict: summary.verdicts[verdict] for verdict in COMPARED}
    parts["missing"] = sum(summary.coverage.missing.values())
    return PAGE.render(
        report=report,
        parts={name: count for name, count in parts.items() if count},
        marks=MARKS,
    )


def as_markdown(report: Report) -> str:
    decision, summary = report.decision, report.summary
    parts = [
        f"# {report.service}: {summary.candidate or 'no candidate'} beside "
        f"{summary.live or 'nothing'}",
        f"**{decision.verdict.upper()}**: {decision.because}.",
        "\n".join(f"- {MARKS[r.state]} {r.name}: {r.words}" for r in decision.rules),
        "\n".join(f"- {fact.name}: {fact.value}, {fact.about}" for fact in report.facts),
    ]
    for section in report.sections:
        parts += [f"## {section.title}", section.words]
        parts += [_table(table) for table in section.tables if table.rows]
    return "\n\n".join(filter(None, parts)) + "\n"


def _table(table: Table) -> str:
    rows = [table.head, ["---"] * len(table.head), *table.rows]
    return "\n".join(f"| {' | '.join(map(_cell, row))} |" for row in rows)


def _cell(text: str) -> str:
    """Return text that stays in its cell, whatever is in an answer."""
    return text.replace("\\", "\\\\").replace("|", "\\|").replace("\n", " ").replace("<", "&lt;")
