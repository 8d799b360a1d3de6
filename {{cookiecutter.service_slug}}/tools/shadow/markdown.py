"""The report as Markdown, for a ticket, a pull request or a terminal."""

from __future__ import annotations

from tools.shadow.report import Report
from tools.shadow.tables import Table
from tools.shadow.words import MARKS


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
