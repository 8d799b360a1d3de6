"""The gate of shadow traffic: it decides soundly, says why, and never by mistake."""

from __future__ import annotations

import io
import json
from pathlib import Path
from typing import Any

import pytest
from shadow_traffic import LIMITS, START, Traffic, decided, event, summarised, truths

from tools.shadow import __main__ as cli
from tools.shadow import events, gate, labels, thresholds
from tools.shadow.rules import EXIT_CODES, Decision
from tools.shadow.thresholds import Thresholds


def state(decision: Decision, name: str) -> str:
    return next(rule.state for rule in decision.rules if rule.name == name)


# The gate


def test_promotes_a_candidate_that_agrees() -> None:
    decision = decided(Traffic())

    assert decision.verdict == "promote" and EXIT_CODES[decision.verdict] == 0
    assert {rule.state for rule in decision.rules} == {"passed"}


@pytest.mark.parametrize(
    ("traffic", "rule"),
    [
        (Traffic(mismatches=0.03), "agreement"),
        (Traffic(errors=0.03), "agreement"),
        (Traffic(mismatches=0.5, pairs=100, hours=0.1), "agreement"),
        (Traffic(slower=10), "latency"),
    ],
    ids=["disagrees", "fails", "so bad that it needs no day", "slow"],
)
def test_rejects_what_is_proven_bad(traffic: Traffic, rule: str) -> None:
    decision = decided(traffic)

    assert decision.verdict == "reject" and EXIT_CODES[decision.verdict] == 1
    assert state(decision, rule) == "failed" and decision.because.startswith(rule)


@pytest.mark.parametrize(
    ("traffic", "rule"),
    [
        (Traffic(pairs=600, mismatches=0), "pairs"),
        (Traffic(hours=20), "duration"),
        (Traffic(counts={"dropped": {"queue_full": 100}}), "coverage"),
        (Traffic(counts={"eligible": 10**6}), "accounts"),
        (Traffic(mismatches=0.009), "agreement"),
        (Traffic(slower=4), "latency"),
    ],
)
def test_waits_for_what_is_not_certain(traffic: Traffic, rule: str) -> None:
    decision = decided(traffic)

    assert decision.verdict == "inconclusive" and EXIT_CODES[decision.verdict] == 2
    assert state(decision, rule) == "open" and f"{rule}: " in decision.because


def test_timeouts_are_slow() -> None:
    found = summarised(Traffic(errors=0.4).lines())

    assert found.errors["timeout"] > 200
    assert found.times.slow > 0.9 * found.errors["timeout"]


# Labels


def improve(margin: float = 0.02, agreement: float = 0.5) -> Thresholds:
    return Thresholds(
        mode="improve",
        evidence=LIMITS.evidence,
        parity=LIMITS.parity,
        improve=thresholds.Improve(margin=margin, agreement=agreement),
        latency=LIMITS.latency,
    )


@pytest.mark.parametrize(
    ("right", "verdict"), [(0.9, "promote"), (0.1, "reject"), (None, "inconclusive")]
)
def test_improve_decides_by_labels(right: float | None, verdict: str) -> None:
    traffic = Traffic(mismatches=0.1)
    given = None if right is None else truths(traffic, right)

    decision = decided(traffic, given, improve())
    assert decision.verdict == verdict
    assert verdict == "promote" or "labels: " in decision.because
    # By agreement alone it would have been rejected.
    assert decided(traffic).verdict == "reject"


def test_improve_bounds_how_much_may_change_at_once() -> None:
    traffic = Traffic(mismatches=0.1)

    decision = decided(traffic, truths(traffic, 1.0), improve(agreement=0.95))
    assert decision.verdict == "reject" and decision.because.startswith("agreement")


def test_an_error_is_a_wrong_answer() -> None:
    lines = Traffic(pairs=300, errors=0.1, mismatches=0).lines()
    given = {pair.pair_id: "benign" for pair in events.read(lines).pairs}

    found = summarised(lines, given).labelled
    assert found is not None and found.better == 0 and found.worse > 15
    assert found.used == 300


def pair(**changes: Any) -> events.Pair:
    side = events.Side(version="v1")
    values: dict[str, Any] = {
        "time": START,
        "pair_id": "a",
        "worker": "w",
        "verdict": "mismatch",
        "live": side,
        "candidate": side,
    }
    return events.Pair(**values | changes)


@pytest.mark.parametrize(("truth", "found"), [("1", 1), (0, -1), ("1.0", 1), ("other", 0)])
def test_labels_match_numbers_however_written(truth: Any, found: int) -> None:
    judged = labels.judge([pair(flips=((0, 1, 1),))], {"a": truth})

    assert (judged.better, judged.same, judged.worse) == (found == 1, found == 0, found == -1)


@pytest.mark.parametrize(("truth", "found"), [("9", -1), ("12", 1), ("10.5", 0)])
def test_for_a_number_nearer_is_better(truth: str, found: int) -> None:
    sides = events.Difference("predictions[0].value", 10.0, 11.0)
    judged = labels.judge([pair(deltas={"value": (1.0,)}, fields=(sides,))], {"a": truth})

    assert (judged.better, judged.same, judged.worse) == (found == 1, found == 0, found == -1)


def test_says_which_labels_are_of_no_use() -> None:
    several = pair(rows=3, flips=(("x", "y", 3),))
    judged = labels.judge([several, pair(pair_id="b", verdict="match")], {"a": 1, "b": 1, "c": 1})

    assert (judged.unusable, judged.same, judged.unknown) == (1, 1, 1)


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("labels.csv", "\ufeffpair_id,when,truth\na,now,benign\nb,now,1\n"),
        ("labels.jsonl", '{"pair_id": "a", "truth": "benign"}\n\n{"pair_id": "b", "truth": "1"}'),
    ],
)
def test_reads_labels(name: str, text: str, tmp_path: Path) -> None:
    file = tmp_path / name
    file.write_text(text, encoding="utf-8")

    assert labels.read(file) == {"a": "benign", "b": "1"}


def test_the_truth_sent_to_feedback_is_a_label(tmp_path: Path) -> None:
    sent = {"version": "v1", "prediction": "x"}
    lines = [
        event("feedback", START, "w", sent | {"request_id": name, "index": index, "truth": truth})
        for name, index, truth in (("r1", 0, "x"), ("r2", 0, "y"), ("r2", 1, "z"), ("r9", 0, "x"))
    ]
    file = tmp_path / "live.log"
    file.write_bytes(b"".join([*Traffic(pairs=3).lines(), *lines]))

    flip = (("x", "y", 1),)
    pairs = [pair(pair_id=n, request_id=n.replace("p", "r"), flips=flip) for n in ("p1", "p2")]
    judged = labels.judge(pairs, labels.read(file))
    assert (judged.better, judged.worse, judged.unknown) == (1, 1, 1)


@pytest.mark.parametrize(
    "text", ["id,truth\na,1\n", "pair_id,truth\na\n", "pair_id,truth\na,1\na,2\n", ""]
)
def test_refuses_labels_that_say_nothing_clear(text: str, tmp_path: Path) -> None:
    file = tmp_path / "labels.csv"
    file.write_text(text)

    with pytest.raises(ValueError, match="labels.csv: "):
        labels.read(file)


# The command


@pytest.fixture
def logs(tmp_path: Path) -> list[str]:
    """Two pods' logs of a good candidate, the second cut short."""
    lines = Traffic().lines()
    files = [tmp_path / "pod-a.log", tmp_path / "pod-b.log"]
    files[0].write_bytes(b"".join(lines[::2]))
    files[1].write_bytes(b"".join(lines[1::2]) + lines[0][:200])
    return [str(file) for file in files]


def test_gate_prints_json_and_exits_by_the_verdict(
    logs: list[str], capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    assert cli.main(["gate", *logs]) == 0
    answer = json.loads(capsys.readouterr().out)
    assert answer["verdict"] == "promote" and answer["pairs"] == 1500
    assert answer["agreement_bounds"][0] > 0.99

    monkeypatch.setattr("sys.stdin", io.TextIOWrapper(io.BytesIO(Path(logs[0]).read_bytes())))
    assert cli.main(["gate", "-"]) == 2
    assert "coverage" in json.loads(capsys.readouterr().out)["because"]


@pytest.mark.parametrize(
    "arguments",
    [["gate"], ["gate", "no such file"], ["gate", "LOG", "--labels", "none.csv"], ["judge"]],
)
def test_a_mistake_in_use_is_no_verdict(
    arguments: list[str], logs: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    try:
        code = cli.main([logs[0] if word == "LOG" else word for word in arguments])
    except SystemExit as exit:
        code = exit.code if isinstance(exit.code, int) else -1

    assert code == 3
    assert len(capsys.readouterr().err.splitlines()) == 1


def test_a_fault_of_ours_is_no_verdict(
    logs: list[str], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("sys.argv", ["shadow", "gate", *logs])
    monkeypatch.setattr(gate, "decide", lambda *_: 1 / 0)

    with pytest.raises(SystemExit) as exit:
        cli.exit_with(cli.main)
    assert exit.value.code == 3 and "ZeroDivisionError" in capsys.readouterr().err


@pytest.mark.parametrize(
    "change", [("alpha = 0.05", "alpha = 0"), ("min_pairs", "min_pair"), ('"parity"', '"hope"')]
)
def test_refuses_thresholds_that_are_not_right(
    change: tuple[str, str], logs: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file = tmp_path / "gate.toml"
    file.write_text(thresholds.PATH.read_text().replace(*change, 1))

    assert cli.main(["gate", logs[0], "--thresholds", str(file)]) == 3
    assert str(file) in capsys.readouterr().err
