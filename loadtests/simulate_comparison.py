"""Proof by simulation of what is said of candidates and of new data (training/comparison.py,
training/validation.py), in the environment of a service.

    python -m loadtests.simulate_comparison              10 minutes; writes results/
    python -m loadtests.simulate_comparison --trials 20  a look

A trial is a model that was trained twice, 93 % right. What both versions make of a row is the same,
but for a little noise of each version's own: they give other answers to 1.6 % of rows. The worse
version answers 7 % of rows blindly besides, as if a column had been empty, and so loses 3 points of
accuracy. In groups of rows, the truth and a version's own noise are those of the whole group.
"""

from __future__ import annotations

import sys
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import pandas as pd

import loadtests.template  # noqa: F401  # for the imports from a service
from loadtests import outcome, planted
from training.comparison import ALPHA, Outcome, compare
from training.counted import measure
from training.evaluate import Array, Evaluation

SEED, TRIALS = 0, 1000
GATES = [("accuracy", True), ("roc_auc", True)]
MARGIN = 0.01
CLASSES = ["no", "yes"]
SIGNAL, OWN = 1.45, 0.1  # in deviations of what both versions do not know: 93 % of answers right
OWN_OF_GROUP = 0.3
BLIND = 0.0706  # of rows, each of which costs the accuracy - 1/2
REFUSED, ENOUGH = 0.99, 1_000  # of worse candidates, if there are so many rows
OUTCOMES: list[Outcome] = ["worse", "undecided", "good", "better"]


@dataclass(frozen=True)
class Case:
    """Candidates alike. `group_rows`: of each group, if rows come in such; `told`: by GROUP."""

    name: str
    rows: int
    gates: int = len(GATES)
    worse: bool = False
    group_rows: int = 1
    told: bool = True


WORSE = "3 points worse"
UNTOLD = Case("equal, groups of 10, GROUP not set", 1_000, group_rows=10, told=False)
CASES = [
    Case("equal", 143, gates=1),
    Case("equal", 143),
    Case("equal", 1_000, gates=1),
    Case("equal", 1_000),
    Case("equal", 10_000, gates=1),
    Case("equal", 10_000),
    Case("equal, groups of 10", 1_000, group_rows=10),
    UNTOLD,
    Case(WORSE, 143, worse=True),
    Case(WORSE, 1_000, worse=True, gates=1),
    Case(WORSE, 1_000, worse=True),
]


def trial(case: Case, seed: int) -> Outcome:
    """Return what is said of a candidate: the worst of its metrics."""
    rng = np.random.default_rng([SEED, seed])
    group = np.arange(case.rows) // case.group_rows
    truth = (rng.random(case.rows) < 0.5)[group]
    both = np.where(truth, SIGNAL, -SIGNAL) + rng.normal(size=case.rows)
    own = OWN if case.group_rows == 1 else OWN_OF_GROUP
    live, candidate = (both + own * rng.normal(size=case.rows)[group] for _ in range(2))
    if case.worse:
        blind = rng.random(case.rows) < BLIND
        candidate[blind] = rng.normal(0, np.hypot(SIGNAL, 1), blind.sum())
    compared = compare(
        evaluation(truth, candidate),
        evaluation(truth, live),
        GATES[: case.gates],
        MARGIN,
        seed,
        group=pd.Series(group) if case.group_rows > 1 and case.told else None,
    )
    return min((one.outcome for one in compared), key=OUTCOMES.index)


def evaluation(truth: Array, score: Array) -> Evaluation:
    yes = 1 / (1 + np.exp(-2 * SIGNAL * score))
    names = np.array(CLASSES, dtype=object)
    found = Evaluation(
        kind="classification",
        classes=CLASSES,
        frame=pd.DataFrame(index=range(len(truth))),
        truth=names[truth.astype(int)],
        answer=names[(score > 0).astype(int)],
        probability=np.column_stack([1 - yes, yes]),
        metrics={},
        importance=[],
    )
    whole = np.ones((1, len(truth)))
    values = {metric: float(measure(metric, found, whole)[0]) for metric, _ in GATES}
    return replace(found, metrics=values)


def simulate(trials: int) -> list[dict[str, Any]]:
    """Return by case the share of each outcome."""
    found = []
    for case in CASES:
        said = Counter(trial(case, seed) for seed in range(trials))
        shares: dict[str, float] = {name: said[name] / trials for name in OUTCOMES}
        gates = [metric for metric, _ in GATES[: case.gates]]
        found.append({"candidate": case.name, "rows": case.rows, "gates": gates, **shares})
    return found


def judge(cases: list[dict[str, Any]], alarms: int, missed: dict[str, int]) -> list[str]:
    """Return what of the promises is broken."""
    failures = []
    for case in cases:
        name = f"{case['candidate']}, {case['rows']:,} rows, {' and '.join(case['gates'])}"
        refused = case["worse"]
        if case["candidate"] == UNTOLD.name:
            if refused <= 2 * ALPHA:
                failures.append(f"{name}: GROUP would not be needed")
        elif case["candidate"].startswith("equal") and refused > ALPHA:
            failures.append(f"{name}: {refused:.1%} are refused")
        elif case["candidate"] == WORSE and case["rows"] >= ENOUGH and refused < REFUSED:
            failures.append(f"{name}: no more than {refused:.1%} are refused")
    failures += [f"{alarms} false alarms"] if alarms else []
    return failures + [f"{fault}: missed {times} times" for fault, times in missed.items() if times]


def main(arguments: Sequence[str] | None = None) -> int:
    parser = outcome.parser(__doc__)
    parser.add_argument("--trials", type=int, default=TRIALS)
    given = parser.parse_args(arguments)
    cases = simulate(given.trials)
    clean, faulty = max(1, given.trials * 6 // 10), max(1, given.trials // 10)
    alarms = sum(bool(planted.found(seed)) for seed in range(clean))
    missed = {
        name: sum(fault.column not in planted.found(seed, fault) for seed in range(faulty))
        for name, fault in planted.FAULTS.items()
    }
    lines = [
        f"{given.trials:,} candidates each, margin {MARGIN:.0%}; worse means refused.",
        "",
        "| candidate | held-out rows | gates | worse | undecided | good | better |",
        "|---|---|---|---|---|---|---|",
    ]
    for case in cases:
        shares = " | ".join(f"{case[name]:.1%}" for name in OUTCOMES)
        gates = ", ".join(case["gates"])
        lines.append(f"| {case['candidate']} | {case['rows']:,} | {gates} | {shares} |")
    lines += [
        "",
        f"Data, {planted.OLD_ROWS:,} rows against {planted.NEW_ROWS:,}:",
        "",
        "| planted | samples | found |",
        "|---|---|---|",
        f"| nothing | {clean} | {alarms} |",
        *(f"| {fault} | {faulty} | {faulty - times} |" for fault, times in missed.items()),
    ]
    return outcome.leave(
        given.out,
        "simulate_comparison",
        lines,
        {
            "trials": given.trials,
            "candidates": cases,
            "clean": {"samples": clean, "alarms": alarms},
            "faults": {"samples": faulty, "missed": missed},
        },
        failures=judge(cases, alarms, missed),
        kept=f"of equal candidates at most {ALPHA:.0%} are refused, of those 3 points worse at "
        f"least {REFUSED:.0%} at {ENOUGH:,} rows; all faults are found, clean data raise no alarm.",
        options="" if given.trials == TRIALS else f"--trials {given.trials}",
    )


if __name__ == "__main__":
    sys.exit(main())
