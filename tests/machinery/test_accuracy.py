"""Live accuracy: what make accuracy makes of the truths in logs."""

from __future__ import annotations

import csv
import json
import random
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from msgspec.structs import replace

from service.artifact import Manifest, Output, Outputs, read_manifest
from tools import feedback
from tools.accuracy import __main__ as cli
from tools.accuracy.judge import Judgement, judge
from tools.accuracy.report import as_page, in_a_line

START = datetime(2026, 11, 1, 6, tzinfo=UTC)
HEAD = {"level": "INFO", "logger": "service.feedback", "message": "feedback", "event": "feedback"}


def line(number: int, version: str, said: Any, truth: Any, **more: Any) -> bytes:
    answered = START + timedelta(minutes=number)
    event = {
        "timestamp": (answered + timedelta(days=3)).isoformat(),
        **HEAD,
        "request_id": f"r{number // 2}",
        "index": number % 2,
        "version": version,
        "prediction": said,
        "truth": truth,
        "answered_at": answered.isoformat(),
    }
    return json.dumps(event | more).encode() + b"\n"


def labels(version: str, count: int, accuracy: float, first: int = 0) -> list[bytes]:
    rng = random.Random(1)
    found = []
    for number in range(first, first + count):
        truth, other = rng.choice([("stays", "leaves"), ("leaves", "stays")])
        said = truth if rng.random() < accuracy else other
        found.append(line(number, version, said, truth))
    return found


def numbers(version: str, count: int, deviation: float) -> list[bytes]:
    rng = random.Random(2)
    return [line(n, version, rng.gauss(50, deviation), 50.0) for n in range(count)]


@pytest.fixture(scope="module")
def manifest(trained: Path) -> Manifest:
    found = read_manifest(trained)
    return replace(found, gates=["accuracy >= 0.9", "roc_auc >= 0.5"], metrics={"accuracy": 0.93})


@pytest.fixture(scope="module")
def regression(manifest: Manifest) -> Manifest:
    outputs = Outputs(kind="regression", classes=[], fields=[Output(name="value", type="float")])
    return replace(manifest, outputs=outputs, gates=["mae <= 8", "rmse <= 10"], metrics={"mae": 7})


def judged(lines: list[bytes], manifest: Manifest) -> Judgement:
    return judge(feedback.read(lines).found, manifest)


# What is read


def test_every_truth_is_read_once_and_every_line_is_accounted_for() -> None:
    first, second = line(0, "v1", "a", "a"), line(1, "v1", "a", "b")
    corrected = line(1, "v1", "a", "a", timestamp="2026-12-01T00:00:00Z", value=3)
    lines = [b"[pod/a] 2026 " + first, corrected, second, first, b"Traceback\n", b"\n", first[:-40]]
    for order in (lines, lines[::-1]):
        found = feedback.read(order)
        assert [(t.request_id, t.index, t.truth, t.value) for t in found.found] == [
            ("r0", 0, "a", None),
            ("r0", 1, "a", 3),
        ]
        assert found.lines == {
            "truths": 2,
            "truths sent again": 1,
            "truths corrected: the last one counts": 1,
            "of something else": 1,
            "of feedback, but cut short or broken": 1,
        }


# What is judged


@pytest.mark.parametrize(
    ("count", "accuracy", "state"),
    [(20_000, 0.93, "good"), (2000, 0.80, "below"), (300, 0.90, "undecided"), (0, 0, "undecided")],
)
def test_a_gate_is_held_against_what_is_certain(
    count: int, accuracy: float, state: str, manifest: Manifest
) -> None:
    found = judged(labels(manifest.version, count, accuracy), manifest)
    assert found.state == state and in_a_line(found).startswith(f"{state}: ")


@pytest.mark.parametrize(("deviation", "states"), [(9, "good good"), (11, "below below")])
def test_numbers_have_gates_too(deviation: float, states: str, regression: Manifest) -> None:
    found = judged(numbers(regression.version, 4000, deviation), regression)
    assert [rule.state for rule in found.rules] == states.split()
    assert found.judged
    mae, rmse, bias = found.judged.figures
    assert rmse.low < deviation < rmse.high and bias.low < 0 < bias.high
    assert mae.value == pytest.approx(deviation * 0.8, rel=0.05)


def test_the_artifacts_version_is_judged_by_its_own_answers(manifest: Manifest) -> None:
    bad = labels("elder", 1000, 0.5)
    found = judged([*labels(manifest.version, 5000, 0.95, first=2000), *bad], manifest)
    assert found.judged and found.judged.name == manifest.version and found.state == "good"
    assert [len(version.truths) for version in found.versions] == [5000, 1000]
    # What has no truth yet cannot be judged.
    found = judged(bad, manifest)
    assert found.judged and found.judged.name == "elder" and found.state == "below"


def test_what_was_not_answered_is_counted_apart(regression: Manifest) -> None:
    lines = [line(0, "v", None, 1.0), line(1, "v", 2.0, 1.0)]
    [version] = judged(lines, regression).versions
    assert (len(version.truths), version.unjudged) == (1, 1)


# The page and the command


@pytest.mark.parametrize("kind", ["classification", "regression", "one", "nothing"])
def test_page_shows_whatever_there_is(kind: str, manifest: Manifest, regression: Manifest) -> None:
    of = regression if kind == "regression" else manifest
    lines = {
        "classification": labels(of.version, 1500, 0.93) + labels("elder", 500, 0.9, 1500),
        "regression": numbers(of.version, 500, 9),
        "one": labels(of.version, 1, 1),
        "nothing": [b"nothing at all\n"],
    }[kind]
    read = feedback.read(lines)
    page = as_page("churn", judge(read.found, of), read)
    assert as_page("churn", judge(read.found, of), read) == page
    assert ("data:image/svg+xml" in page) == (kind != "nothing")
    assert "<script" not in page and "http://" not in page.replace("http://www.w3.org", "")
    words = {
        "classification": ["elder", "1,500", "93% ", "taken for", "stays"],
        "regression": ["mae", "rmse", "bias", "gate mae &lt;= 8"],
        "one": ["undecided"],
        "nothing": ["No truth that could be compared", "of something else: 1"],
    }[kind]
    for word in words:
        assert word in page, word


@pytest.fixture
def folder(trained: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("ARTIFACT_DIR", str(trained))  # its gate: accuracy >= 0.6
    monkeypatch.chdir(tmp_path)
    return tmp_path


def test_command_says_it_in_a_line_and_by_its_exit_code(
    folder: Path, manifest: Manifest, capsys: pytest.CaptureFixture[str]
) -> None:
    for accuracy, code, state in ((0.9, 0, "good"), (0.4, 1, "below")):
        lines = labels(manifest.version, 1000, accuracy)
        (folder / "a.log").write_bytes(b"".join(lines[::2]))
        (folder / "b.log").write_bytes(b"".join(lines[1::2] + lines[:3]))
        assert cli.main(["--truths", "truths.csv", "--", "a.log", "b.log"]) == code
        out = capsys.readouterr().out
        assert out.startswith(f"{state}: version {manifest.version}, 1,000 truths; accuracy ")
        assert "lines read: truths: 1,000; truths sent again: 3" in out
        assert (folder / "accuracy.html").read_text().startswith("<!doctype html>")
        with open("truths.csv", newline="") as stream:
            rows = list(csv.DictReader(stream))
        assert len(rows) == 1000 and rows[0]["request_id"] == "r0"
        assert sum(row["prediction"] == row["truth"] for row in rows) == pytest.approx(
            1000 * accuracy, abs=50
        )


@pytest.mark.parametrize("arguments", [[], ["no-such.log"], ["--foo", "-"]])
def test_used_wrongly(arguments: list[str], folder: Path) -> None:
    with pytest.raises(SystemExit) as ended:
        cli.main(arguments)
    assert ended.value.code == 2
