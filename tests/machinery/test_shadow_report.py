"""The report on shadow traffic: it shows all that was found, of whatever there is."""

from __future__ import annotations

import json
from functools import cache
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import pytest
from shadow_traffic import LIMITS, START, Traffic, event, truths

from tools.shadow import __main__ as cli
from tools.shadow import events, gate, summary
from tools.shadow.forms import as_markdown, as_page
from tools.shadow.report import make_report


class Page(HTMLParser):
    def __init__(self, html: str) -> None:
        super().__init__()
        self.tags: set[str] = set()
        self.links: list[str] = []
        self.pictures: list[str] = []
        self.text = ""
        self.feed(html)
        self.text = " ".join(self.text.split())

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.add(tag)
        found = {name: value or "" for name, value in attrs}
        self.links += [found[name] for name in ("src", "href") if name in found]
        if tag == "img":
            self.pictures.append(found["alt"])

    def handle_data(self, data: str) -> None:
        self.text += f" {data}"


def reported(lines: list[bytes], given: dict[str, Any] | None = None) -> tuple[str, str]:
    read = events.read(lines)
    found = summary.summarise(read, LIMITS, given)
    report = make_report("churn", found, read.lines, LIMITS, gate.decide(found, LIMITS))
    return as_page(report), as_markdown(report)


@cache
def whole() -> tuple[str, str]:
    itself = Traffic(pairs=200, hours=1, candidate="v1", seed=3).lines()
    traffic = Traffic(pairs=1200, mismatches=0.02, errors=0.01, counts={"skipped": {"rate": 9}})
    usage = {"seconds": 9.0, "version": "v2", "requests": 100, "cpu_seconds": 0.5}
    used = event("shadow.usage", START, "candidate-a:7:1", usage)
    return reported([*itself, *traffic.lines(), used], truths(traffic, 0.5))


def test_page_asks_nothing_of_other_hosts() -> None:
    page = Page(whole()[0])

    assert page.links and all(link.startswith("data:") for link in page.links)
    assert "script" not in page.tags and "url(" not in whole()[0]
    assert len(whole()[0]) < 1_000_000


def test_page_shows_all_that_was_found() -> None:
    page = Page(whole()[0])

    starts = ["Agreement after", "Flip matrix", "Histogram of", "Histograms of"]
    assert len(page.pictures) == len(starts)
    assert all(alt.startswith(start) for alt, start in zip(page.pictures, starts, strict=True))
    for words in (
        "v2 beside v1",
        "Reject",
        "kappa",
        "timeout",
        "a lower SHADOW_PERCENT",
        "predictions[].label",
        "live agrees with itself 100%",
        "labelled pairs only the candidate",
        "p99",
        "seen from live",
        "CPU of a request",
    ):
        assert words in page.text, words


def test_markdown_says_the_same() -> None:
    text = whole()[1]

    assert "**REJECT**: agreement: " in text
    for words in (
        "v2 beside v1",
        "| timeout |",
        "| rate |",
        "| p99 |",
        "kappa: 0.9",
        "predictions[].label",
    ):
        assert words in text, words


def test_page_is_the_same_for_the_same_events() -> None:
    lines = Traffic(pairs=30, mismatches=0.1, kind="regression").lines()

    assert reported(lines) == reported(lines[::-1])


@pytest.mark.parametrize(
    "traffic",
    [
        Traffic(pairs=0),
        Traffic(pairs=1, hours=0),
        Traffic(pairs=40, errors=1.0),
    ],
    ids=["nothing", "one pair", "only errors"],
)
def test_reports_whatever_there_is(traffic: Traffic) -> None:
    html, text = reported(traffic.lines())

    assert "Inconclusive" in html or "Reject" in html
    assert "nan" not in Page(html).text.lower().split() and "nan" not in text.lower().split()


def test_what_models_say_stays_text() -> None:
    evil = "<script>alert(1)</script>|`$x$"
    lines = [
        line.replace(b'"benign"', json.dumps(evil).encode())
        for line in Traffic(pairs=50, mismatches=0.4).lines()
    ]
    html, text = reported(lines)

    assert "script" not in Page(html).tags and evil in Page(html).text
    assert "<script>" not in text


def test_report_writes_a_page_and_markdown(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    pod = tmp_path / "a.log"
    pod.write_bytes(b"".join(Traffic(pairs=0).lines()))

    assert cli.main(["report", str(pod), "--out", str(tmp_path / "r.html")]) == 0
    assert "inconclusive: " in capsys.readouterr().out
    assert (tmp_path / "r.html").read_text().startswith("<!doctype html>")
    assert (tmp_path / "r.md").read_text().startswith("# ")
