"""Rules and what they decide: all must pass for a promotion, any that fails rejects."""

from __future__ import annotations

from dataclasses import dataclass
from math import log
from typing import Literal, NamedTuple

from tools.shadow.statistics import Array
from tools.shadow.words import percent

Claim = tuple[Array, str]  # the log of the evidence for it, and what it says
EXIT_CODES = {"promote": 0, "reject": 1, "inconclusive": 2}


class Rule(NamedTuple):
    name: str
    state: Literal["passed", "failed", "open"]
    words: str


@dataclass(frozen=True)
class Decision:
    verdict: Literal["promote", "reject", "inconclusive"]
    because: str
    rules: list[Rule]


def conclude(rules: list[Rule]) -> Decision:
    """Return what the rules decide; the first is said of a promotion."""
    if failed := [f"{rule.name}: {rule.words}" for rule in rules if rule.state == "failed"]:
        return Decision("reject", "; ".join(failed), rules)
    if still := [f"{rule.name}: {rule.words}" for rule in rules if rule.state == "open"]:
        return Decision("inconclusive", "; ".join(still), rules)
    return Decision("promote", f"every rule has passed; {rules[0].words}", rules)


def proven(name: str, found: str, alpha: float, ways_to_fail: int, good: Claim, bad: Claim) -> Rule:
    """Return the rule that the evidence decides, for the good claim or for the bad one.

    A promotion needs all rules, so each may use all of alpha; one of `ways_to_fail` rejects, so
    these share it.
    """
    confidence = f"with {percent(1 - alpha)} confidence"
    if good[0] >= -log(alpha):
        return Rule(name, "passed", f"{found}: {good[1]}, {confidence}")
    if bad[0] >= -log(alpha / ways_to_fail):
        return Rule(name, "failed", f"{found}: {bad[1]}, {confidence}")
    return Rule(name, "open", f"{found}: whether that is {good[1]} is not certain yet")


def met(name: str, is_met: bool, words: str) -> Rule:
    """Return a rule that a candidate meets by waiting, or by having its traffic looked after."""
    return Rule(name, "passed" if is_met else "open", words)
