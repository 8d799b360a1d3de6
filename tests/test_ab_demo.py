"""`make ab-demo` and `make simulate-ab`, scaled down."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest

from loadtests import simulate_ab
from loadtests.ab_demo.__main__ import RUNS, Run, main


def test_demo_rejects_what_is_worse_and_waits_for_what_is_early(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    runs = [
        Run("early", "asked too early", "good", 3, "inconclusive"),
        Run("worse", "rejected as soon as it is proven", "worse", 60, "reject"),
    ]

    assert main(runs, tmp_path) == 0, capsys.readouterr().out
    shown = capsys.readouterr().out
    assert "inconclusive: labels: " in shown and "reject: " in shown
    for name in ("early", "worse"):
        assert (tmp_path / f"{name}.html").stat().st_size > 50_000
        assert "## Customers" in (tmp_path / f"{name}.md").read_text()


def test_demo_shows_every_verdict() -> None:
    assert {run.expected for run in RUNS} == {"promote", "reject", "inconclusive"}


def test_simulated_peeking_is_allowed_and_clear_cases_are_decided_soon(tmp_path: Path) -> None:
    assert simulate_ab.main(["--runs", "200", "--out", str(tmp_path)]) == 0

    found = json.loads((tmp_path / "simulate_ab.json").read_text())["candidates"]
    [bad] = [one for one in found if one["truth"] == "bad: 6% worse"]
    assert bad["rejected_at_customers"] <= 1_500
    assert (tmp_path / "simulate_ab.png").exists()


def test_simulation_fails_a_gate_that_requests_fool() -> None:
    exactly, *clear = simulate_ab.simulate(runs=100)
    naive = replace(exactly, promoted=exactly.by_requests)

    [failure] = simulate_ab.judge([naive, *clear])
    assert "are promoted at the margin" in failure
