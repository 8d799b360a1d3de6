"""`make shadow-demo` and `make simulate`, scaled down."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest

from loadtests import simulate_gate
from loadtests.shadow_demo.__main__ import RUNS, Run, main


def test_demo_rejects_what_is_worse_and_waits_for_what_is_early(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    runs = [
        Run("early", "asked too early", "good", 3, "inconclusive"),
        Run("worse", "rejected as soon as it is proven", "worse", 40, "reject"),
    ]

    assert main(runs, tmp_path) == 0, capsys.readouterr().out
    shown = capsys.readouterr().out
    assert "inconclusive: agreement: " in shown and "reject: agreement: " in shown
    for name in ("early", "worse"):
        assert (tmp_path / f"{name}.html").stat().st_size > 50_000
        assert "## Agreement" in (tmp_path / f"{name}.md").read_text()


def test_demo_shows_every_verdict() -> None:
    assert {run.expected for run in RUNS} == {"promote", "reject", "inconclusive"}


def test_simulated_peeking_is_allowed_and_clear_cases_are_decided_soon(tmp_path: Path) -> None:
    assert simulate_gate.main(["--runs", "600", "--out", str(tmp_path)]) == 0

    found = json.loads((tmp_path / "simulate_gate.json").read_text())["candidates"]
    assert [one["rejected_at_pairs"] <= 600 for one in found if one["truth"] == "bad: 97%"] == [
        True
    ]
    assert (tmp_path / "simulate_gate.png").exists()


def test_simulation_fails_a_gate_that_peeking_fools() -> None:
    (asked, [exactly, *clear]), _ = simulate_gate.simulate(runs=200).items()
    naive = replace(exactly, promoted=exactly.naive)

    [failure] = simulate_gate.judge({asked: [naive, *clear]})
    assert failure.startswith(asked) and "promoted at the threshold" in failure
