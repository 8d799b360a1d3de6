"""The verdict on a candidate that has users: by whom it is decided, and what may not mislead it."""

from __future__ import annotations

import json
import subprocess
import sys
from datetime import timedelta
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from msgspec.structs import replace
from users import BY_BOTH, LIMITS, START, Users, decided, event, summarised

from tools.ab import __main__ as cli
from tools.ab import events, thresholds
from tools.ab.customers import Observation, settle
from tools.ab.gate import decide
from tools.ab.report import make_report
from tools.ab.summary import is_right
from tools.shadow.forms import as_markdown, as_page
from tools.shadow.statistics import (
    log_e_mean_above,
    log_e_mean_below,
    log_e_not_worse,
    log_e_worse,
    mean_bounds,
)


def states(users: Users, limits: Any = LIMITS) -> dict[str, str]:
    return {rule.name: rule.state for rule in decided(users, limits).rules}


@pytest.mark.parametrize("limits", [LIMITS, BY_BOTH, replace(LIMITS, decide_by=[])])
def test_as_good_a_candidate_is_promoted(limits: Any) -> None:
    decision = decided(Users(mistakes=0.05), limits)
    assert decision.verdict == "promote", decision.because


@pytest.mark.parametrize(
    ("users", "reason"),
    [
        (Users(right=0.85), "labels: "),
        (Users(fallbacks=0.05), "errors: "),
        (Users(slow=0.1), "latency: "),
    ],
)
def test_a_worse_one_is_rejected_for_what_is_worse(users: Users, reason: str) -> None:
    decision = decided(users)
    assert decision.verdict == "reject" and decision.because.startswith(reason), decision.because


@pytest.mark.parametrize(
    ("users", "rule"),
    [
        (Users(customers=100), "customers"),
        (Users(hours=20), "duration"),
        (Users(counted=0.9), "coverage"),
        (Users(truths=False), "labels"),
        (Users(versions=("v2", "v3")), "versions"),
    ],
)
def test_what_is_missing_is_waited_for(users: Users, rule: str) -> None:
    assert decided(users).verdict == "inconclusive" and states(users)[rule] == "open"


def test_live_as_its_own_candidate_is_no_candidate() -> None:
    decision = decided(Users(versions=("v1",)))
    assert decision.verdict == "inconclusive" and "its own candidate" in decision.because


def test_nothing_at_all_is_inconclusive() -> None:
    assert decide(summarised([]), LIMITS).verdict == "inconclusive"


def test_a_customer_with_a_thousand_requests_decides_no_more_than_one() -> None:
    """A single unhappy customer of the candidate floods the log."""
    flood = []
    for number in range(5000):
        time = START + timedelta(hours=30, seconds=number)
        answer: dict[str, Any] = {
            "experiment": "1",
            "group": "candidate",
            "key": "f" * 16,
            "arm": "live",
        }
        answer |= {"request_id": f"flood-{number}", "fallback": "4xx", "version": "v1"}
        answer |= {"status": 200, "duration_ms": 9.0}
        flood.append(event("ab.answer", time, "live-a:7:1", answer))
    decision = decide(summarised(Users().lines() + flood), LIMITS)
    assert decision.verdict == "promote", decision.because


def test_a_customer_is_settled_once_and_for_all() -> None:
    def seen(hour: float, group: Any, key: str, score: float) -> Observation:
        return Observation(START + timedelta(hours=hour), group, key, score)

    first = [
        seen(0, "candidate", "a", 1.0),
        seen(1, "candidate", "a", 0.0),
        seen(2, "control", "b", 1.0),
        seen(23, "candidate", "c", 0.0),
    ]
    now = START + timedelta(hours=26)
    found = settle(first, 24, now)
    assert (found.candidate.tolist(), found.control.tolist(), found.waiting) == ([0.5], [1.0], 1)
    assert found.differences.tolist() == [-0.5]
    # What comes after its hours changes nothing; nor does who changes sides count twice.
    late = [seen(25, "candidate", "a", 1.0), seen(3, "control", "a", 1.0)]
    again = settle(first + late, 24, now + timedelta(hours=24))
    assert (again.candidate.tolist(), again.control.tolist()) == ([0.5, 0.0], [1.0])
    assert settle(first, 24, None).waiting == 3


def test_the_newest_experiment_is_judged_and_the_others_named() -> None:
    old = [line.replace(b"2026-03", b"2026-02") for line in Users(300, experiment="old").lines()]
    found = summarised(old + Users(300, experiment="new").lines())
    assert (found.experiment, found.others) == ("new", ["old"])
    assert found.sides["candidate"].customers == found.sides["control"].customers == 300
    assert found.no_key == 6 and found.unknown > 0


def test_lines_may_be_torn_doubled_prefixed_and_foreign() -> None:
    lines = Users(200).lines()
    broken = [b"[pod/live-a/live] " + line for line in lines]
    broken += [lines[0][: len(lines[0]) // 2], b"\n", b'{"event":"ab.answer"}\n', b"GET /\n"]
    one, other = summarised(lines), summarised(broken + lines)
    assert (one.answers, one.truths, one.coverage) == (other.answers, other.truths, other.coverage)
    assert np.array_equal(one.measures["labels"].differences, other.measures["labels"].differences)


def test_an_id_that_several_customers_use_names_no_answer() -> None:
    lines = [line for line in Users(20).lines() if b'"feedback"' not in line]
    same = [json.dumps(json.loads(line) | {"request_id": "x"}).encode() for line in lines]
    told = {"request_id": "x", "truth": "a", "prediction": "a"}
    found = summarised([*same, event("feedback", START, "w", told)])
    assert (found.truths, found.unknown) == (0, 1)


@pytest.mark.parametrize(
    ("prediction", "truth", "within", "right"),
    [
        ({"label": "a", "score": 0.2}, "a", 0, True),
        ({"score": 0.2, "label": "a"}, "b", 0, False),
        ({"value": 3.2}, 3, 0.5, True),
        ({"value": 3.2}, 3, 0.1, False),
        (1, "1", 0, True),
        (True, "true", 0, True),
        ("a", None, 0, False),
        (None, "a", 0, None),
        ({}, "a", 0, None),
        ([1], "a", 0, None),
    ],
)
def test_what_is_right(prediction: Any, truth: Any, within: float, right: bool | None) -> None:
    assert is_right(prediction, truth, within) is right


def test_a_bet_on_means_is_the_bet_on_counts() -> None:
    values = np.array([1, 0, -1, 0, 0, 1, 1, -1], dtype=float)
    for margin in (0.0, 0.02, 0.3):
        above, below = log_e_mean_above(values, -margin), log_e_mean_below(values, -margin)
        assert above[-1] == pytest.approx(log_e_not_worse(3, 3, 2, margin))
        assert below[-1] == pytest.approx(log_e_worse(3, 3, 2, margin))
    assert mean_bounds(np.array([]), 0.05) == (-1, 1)
    low, high = mean_bounds(np.full(400, 0.25), 0.05)
    assert 0.2 < low < 0.25 < high < 0.3


def test_the_report_shows_whatever_there_is() -> None:
    for users in (Users(400), Users(400, truths=False, fallbacks=0.1), Users(30), Users(0)):
        found = events.read(users.lines())
        seen = summarised(users.lines(), BY_BOTH)
        decision = decide(seen, BY_BOTH)
        report = make_report("<tumours>", seen, found.lines, BY_BOTH, decision)
        page, text = as_page(report), as_markdown(report)
        assert "<tumours>" not in page and "&lt;tumours&gt;" in page
        for rule in decision.rules:
            assert f"{rule.name}: {rule.words}" in text
    assert "| timeout |" in as_markdown(
        make_report("x", summarised(Users(fallbacks=0.1).lines()), {}, LIMITS, decision)
    )


def test_the_command_line_tells_the_verdict_by_its_code(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for users, code in ((Users(), 0), (Users(right=0.8), 1), (Users(100), 2)):
        log = tmp_path / "live.log"
        log.write_bytes(b"".join(users.lines()))
        assert cli.main(["gate", str(log)]) == code
        told = json.loads(capsys.readouterr().out)
        assert list(told["rules"])[0] == "labels" and told["candidate"] == "v2"
    assert cli.main(["report", str(log), "--out", str(tmp_path / "ab.html")]) == 0
    assert (tmp_path / "ab.html").exists() and "INCONCLUSIVE" in (tmp_path / "ab.md").read_text()


def test_truths_may_be_in_a_file_of_their_own(tmp_path: Path) -> None:
    lines = Users(1500).lines()
    told = [line for line in lines if b'"feedback"' in line]
    answers = [line for line in lines if b'"feedback"' not in line]
    log, labels = tmp_path / "live.log", tmp_path / "truths.jsonl"
    log.write_bytes(b"".join(answers))
    labels.write_bytes(b"".join(told))
    assert cli.main(["gate", str(log), "--labels", str(labels)]) == 0
    assert cli.main(["gate", str(log)]) == 2
    labels.write_bytes(told[0] + b"nonsense\n")
    assert cli.main(["gate", str(log), "--labels", str(labels)]) == 3


@pytest.mark.parametrize(
    "change",
    [
        ("alpha = 0.05", "alpha = 0"),
        ("min_customers", "min_customer"),
        ('["labels"]', '["hope"]'),
        ("high = 1", "high = 0"),
    ],
)
def test_refuses_thresholds_that_are_not_right(
    change: tuple[str, str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file, log = tmp_path / "gate.toml", tmp_path / "log"
    file.write_text(thresholds.PATH.read_text().replace(*change, 1))
    log.touch()
    assert cli.main(["gate", str(log), "--thresholds", str(file)]) == 3
    assert str(file) in capsys.readouterr().err


def test_a_mistake_is_one_line_and_no_verdict() -> None:
    command = [sys.executable, "-m", "tools.ab", "judge", "a.log"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60)
    assert done.returncode == 3
    [line] = done.stderr.splitlines()
    assert line.startswith("no verdict: argument command: invalid choice: 'judge'")
