"""A report and its two forms: a page that stands alone, and Markdown for a ticket or a terminal."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import NamedTuple

from tools.shadow.rules import Decision
from tools.shadow.tables import Table
from training import pages
from training.figures import Plot

PAGE = pages.load(Path(__file__).with_name("report.html"))
MARKS = {"passed": "✓", "failed": "✗", "open": "…"}


class Fact(NamedTuple):
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
    """`live` and `candidate` are versions. `parts`: of a whole, for a bar in the first section."""

    about: str
    service: str
    live: str | None
    candidate: str | None
    decision: Decision
    facts: list[Fact]
    sections: list[Section]
    parts: dict[str, int] = field(default_factory=dict)


def as_page(report: Report) -> str:
    """Return the report as HTML; the same for the same report."""
    return PAGE.render(report=report, marks=MARKS)


def as_markdown(report: Report) -> str:
    decision = report.decision
    parts = [
        f"# {report.service}: {report.candidate or 'no candidate'} beside "
        f"{report.live or 'nothing'}",
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
