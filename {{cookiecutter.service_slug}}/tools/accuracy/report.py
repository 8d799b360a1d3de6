"""What the report tells, and the line that sums it up; report.html gives it a form."""

from __future__ import annotations

from pathlib import Path
from typing import NamedTuple

from tools.accuracy import charts
from tools.accuracy.judge import Figure, Judgement, Version, by_class
from tools.feedback import Truths
from tools.shadow.coverage import by_frequency
from tools.shadow.tables import Table
from tools.shadow.words import percent
from training import pages
from training.figures import Plot
from training.intervals import wilson
from training.plots import number

MAX_CLASSES = 20
TONES = {"good": "good", "undecided": "undecided", "below": "refused"}
WORDS = {
    "good": "holds",
    "undecided": "not certain yet",
    "below": "not reached",
}
PAGE = pages.load(Path(__file__).with_name("report.html"))


class Section(NamedTuple):
    title: str
    words: str
    plots: list[Plot]
    tables: list[Table]


def in_a_line(found: Judgement) -> str:
    """Return what there is to say in one line; its first word is the state."""
    judged = found.judged
    if judged is None:
        return "undecided: no truth that could be compared"
    texts = [f"version {judged.name}, {len(judged.truths):,} truths"]
    for figure in judged.figures:
        text = f"{figure.metric} {_value(figure)} ({_between(figure)})"
        if figure.metric in judged.card:
            text += f", {_value(figure, judged.card[figure.metric])} by its card"
        texts.append(text)
    texts += [f"gate {rule.gate.text}: {WORDS[rule.state]}" for rule in found.rules]
    if not found.rules:
        texts.append("no gate that truths could tell of")
    return f"{found.state}: {'; '.join(texts)}"


def as_page(service: str, found: Judgement, truths: Truths) -> str:
    """Return the report as HTML; the same for the same truths."""
    sections = [_versions(found)]
    if found.judged and found.kind == "label":
        sections.append(_classes(found.judged))
    lines = by_frequency(truths.lines)
    words = "; ".join(f"{kind}: {n:,}" for kind, n in lines.items()) or "none"
    again = " Truths of one request_id and index are one; the last that came counts."
    sections.append(Section("Lines of log that were read", f"{words}.{again}", [], []))
    return PAGE.render(
        service=service,
        found=found,
        tone=TONES[found.state],
        tones=TONES,
        words=WORDS,
        line=in_a_line(found).partition(": ")[2],
        rules=[(rule, f"{_value(rule.figure)} ({_between(rule.figure)})") for rule in found.rules],
        sections=sections,
    )


def _versions(found: Judgement) -> Section:
    words = (
        "What answers were worth, by the truth that callers sent to /feedback: only as true as "
        "what they choose to send. An interval of accuracy holds however often one looks, those of "
        "errors hold for one look."
    )
    metrics = [*dict.fromkeys(f.metric for version in found.versions for f in version.figures)]
    rows = [
        [version.name, f"{len(version.truths):,}", f"{version.unjudged:,}"]
        + _cells(version, metrics)
        + [_by_card(version) or "not known here"]
        for version in found.versions
    ]
    head = ["Version", "Truths", "No answer", *metrics, "By its card"]
    plots = [charts.over_time(found)] if found.judged else []
    return Section("Versions", words, plots, [Table(head, rows)])


def _cells(version: Version, metrics: list[str]) -> list[str]:
    known = {figure.metric: f"{_value(figure)} ({_between(figure)})" for figure in version.figures}
    return [known.get(metric, "–") for metric in metrics]


def _by_card(version: Version) -> str:
    known = [figure for figure in version.figures if figure.metric in version.card]
    return ", ".join(_value(figure, version.card[figure.metric]) for figure in known)


def _classes(version: Version) -> Section:
    rows = []
    for true, said in list(by_class(version).items())[:MAX_CLASSES]:
        count, right = sum(said.values()), said.get(true, 0)
        low, high = map(float, wilson(right, count))
        wrong = by_frequency({str(name): n for name, n in said.items() if name != true})
        taken = ", ".join(f"{name} ({n:,})" for name, n in list(wrong.items())[:3])
        share = f"{percent(right / count)} ({percent(low)}–{percent(high)})"
        rows.append([str(true), f"{count:,}", share, taken or "none"])
    words = "How much of each class was found, and what it was taken for most often."
    table = Table(["Truth", "Truths", "Right (95%)", "Taken for"], rows)
    return Section(f"Classes, by version {version.name}", words, [], [table])


def _value(figure: Figure, value: float | None = None) -> str:
    value = figure.value if value is None else value
    return percent(value) if figure.metric == "accuracy" else number(value)


def _between(figure: Figure) -> str:
    return f"{_value(figure, figure.low)}–{_value(figure, figure.high)}"
