"""The verdict on a training run: good, refused, or left to the expert who approves it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, get_args

from service.artifact import Baseline
from training.comparison import Compared, Outcome
from training.evaluate import Evaluation
from training.plots import label, number, signed, words
from training.validation import Finding

Status = Literal["good", "undecided", "refused"]

MOST_SAID = 3


@dataclass(frozen=True)
class Verdict:
    """What a run decides. `reason`: one sentence in plain words, with the figures that decided."""

    status: Status
    reason: str


@dataclass(frozen=True)
class Live:
    """The model that is live now, judged on the candidate's held-out rows.

    `name`: how it is called, as "9f2c…, in production since 2026-11-20". `evaluation` is None where
    it cannot be compared, and `why_not` says why. `baseline`: its manifest's, to draw shifts.
    """

    version: str
    name: str
    evaluation: Evaluation | None
    why_not: str = ""
    baseline: Baseline | None = None


def decide(
    gates_failed: list[str], compared: list[Compared], findings: list[Finding], live: Live | None
) -> Verdict:
    """Return what the run decides.

    `gates_failed`: each with what was reached, as "accuracy >= 0.95 (reached 0.931)". Data that
    shifted refuse nothing and are only said; a good model that callers of the live one could not
    call is left to the expert.
    """
    status, reason = _judged(gates_failed, compared, live)
    if breaking := _columns([item for item in findings if item.breaking]):
        status = "undecided" if status == "good" else status
        reason += (
            f"; callers of the live model could not call this one, which differs in {breaking}"
        )
    if changed := _columns([item for item in findings if not item.breaking]):
        reason += f"; the data have changed in {changed}"
    return Verdict(status, f"{reason}.")


def _judged(
    gates_failed: list[str], compared: list[Compared], live: Live | None
) -> tuple[Status, str]:
    by = {name: [item for item in compared if item.outcome == name] for name in get_args(Outcome)}
    if gates_failed or by["worse"]:
        reasons = [f"it fails gates: {', '.join(gates_failed)}"] if gates_failed else []
        if by["worse"]:
            reasons.append(f"it is worse than the live model: {_figures(by['worse'])}")
        reason = "; ".join(reasons)
        return "refused", reason[0].upper() + reason[1:]
    if live is None:
        return "good", "No gate fails, and no model is live that it could be compared with"
    if live.evaluation is None:
        why = live.why_not.rstrip(".")
        return "undecided", f"No gate fails, but the live model cannot be compared: {why}"
    if not compared:
        return "undecided", "No gate fails, but nothing is measured by which to compare the models"
    if by["undecided"]:
        return "undecided", (
            "These rows cannot tell whether it is as good as the live model: "
            f"{_figures(by['undecided'])}"
        )
    extent = "as good as" if by["good"] else "better than"
    return "good", f"It is {extent} the live model: {_figures(by['better'] + by['good'])}"


def _figures(compared: list[Compared]) -> str:
    said = [
        f"{words(item.metric)} {number(item.candidate, 3)} against "
        f"{number(item.live, 3)} ({_interval(item)})"
        for item in compared
    ]
    return _few(said)


def _interval(item: Compared) -> str:
    if item.interval is None:
        return "no interval"
    low, high = item.interval
    return f"difference between {signed(low)} and {signed(high)}" if low < high else "no difference"


def _columns(findings: list[Finding]) -> str:
    return _few([f"“{label(name, 30)}”" for name in dict.fromkeys(f.column for f in findings)])


def _few(said: list[str]) -> str:
    more = len(said) - MOST_SAID
    return ", ".join(said[:MOST_SAID]) + (f" and {more} more" if more > 0 else "")
