"""How good each version's answers were, and whether that is below the gates of the model."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable
from dataclasses import dataclass, field
from datetime import datetime
from math import sqrt
from typing import Any, Literal, NamedTuple

import numpy as np

from service.artifact import Manifest
from service.feedback.items import comparison
from tools.feedback import Truth
from tools.shadow.statistics import Array, bounds
from training.gates import Gate

ALPHA = 0.05  # how often, at most, each side of an interval is wrong
Z = 1.96  # deviations of a mean to each side of its 95% interval

State = Literal["good", "undecided", "below"]


class Figure(NamedTuple):
    """A metric of the live answers, and between what it lies."""

    metric: str
    value: float
    low: float
    high: float


@dataclass
class Version:
    """Answers of a version whose truth is known, up to `last`. `card`: its metrics in training, if
    they are known.

    `scores`: of each of `truths`, 1 for right and 0 for wrong; or prediction - truth.
    """

    name: str
    last: datetime
    truths: list[Truth] = field(default_factory=list)
    unjudged: int = 0
    card: dict[str, float] = field(default_factory=dict)
    scores: Array = field(default_factory=lambda: np.empty(0))
    figures: list[Figure] = field(default_factory=list)


class Rule(NamedTuple):
    """A gate, and what the truth says of it."""

    gate: Gate
    state: State
    figure: Figure


@dataclass(frozen=True)
class Judgement:
    """`versions`: the last to answer first. `judged`: the one that the rules are about."""

    kind: Literal["label", "number", "none"]
    versions: list[Version]
    judged: Version | None
    rules: list[Rule]

    @property
    def state(self) -> State:
        states = {rule.state for rule in self.rules}
        if "below" in states:
            return "below"
        return "good" if states == {"good"} else "undecided"


def judge(truths: Iterable[Truth], manifest: Manifest) -> Judgement:
    """Return what the truths say of each version.

    Judged is the version of the artifact, `manifest`; if nothing is known of it yet, the one that
    answered last.
    """
    kind = comparison(manifest.outputs)
    found: dict[str, Version] = {}
    for truth in truths:
        version = found.setdefault(truth.version, Version(truth.version, truth.time))
        version.last = max(version.last, truth.time)
        if _comparable(truth, kind):
            version.truths.append(truth)
        else:
            version.unjudged += 1
    for version in found.values():
        version.scores = np.array([_score(truth, kind) for truth in version.truths], dtype=float)
        version.figures = _figures(version.scores, kind)
    if (own := found.get(manifest.version)) is not None:
        own.card = manifest.metrics
    versions = sorted(
        found.values(), key=lambda version: (version.last, version.name), reverse=True
    )
    known = [version for version in versions if version.truths]
    judged = own if own and own.truths else known[0] if known else None
    figures = {figure.metric: figure for figure in judged.figures} if judged else {}
    gates = [Gate.parse(text) for text in manifest.gates]
    rules = [_held(gate, figures[gate.metric]) for gate in gates if gate.metric in figures]
    return Judgement(kind, versions, judged, rules)


def _comparable(truth: Truth, kind: str) -> bool:
    """Whether there is something to compare: a model may have given no answer."""
    numbers = isinstance(truth.prediction, int | float) and isinstance(truth.truth, int | float)
    return kind == "label" or (kind == "number" and numbers)


def _score(truth: Truth, kind: str) -> float:
    if kind == "label":
        return float(truth.prediction == truth.truth)
    said: Any = truth.prediction
    return float(said - truth.truth)


def _figures(scores: Array, kind: str) -> list[Figure]:
    if not len(scores):
        return []
    if kind == "label":
        right = int(scores.sum())
        # However often one looks: see tools/shadow/statistics.py.
        between = bounds(right, len(scores) - right, ALPHA)
        return [Figure("accuracy", right / len(scores), *between)]
    squares = mean(scores**2)
    roots = (sqrt(max(value, 0.0)) for value in squares)
    return [
        Figure("mae", *mean(np.abs(scores))),
        Figure("rmse", *roots),
        Figure("bias", *mean(scores)),
    ]


def mean(values: Array) -> tuple[float, float, float]:
    """Return a mean and its 95% interval, by the central limit theorem: for one look only.

    Of a single value, of which nothing is known, the interval has no end.
    """
    middle = float(values.mean())
    if len(values) < 2:
        return middle, -np.inf, np.inf
    half = Z * float(values.std(ddof=1)) / sqrt(len(values))
    return middle, middle - half, middle + half


def _held(gate: Gate, figure: Figure) -> Rule:
    """Return the rule that a gate is: decided if all that the figure may be is on one side."""
    ends = [bool(gate.compare(end, gate.bound)) for end in (figure.low, figure.high)]
    return Rule(gate, "good" if all(ends) else "undecided" if any(ends) else "below", figure)


def by_class(version: Version) -> dict[Any, dict[Any, int]]:
    """Return numbers of answers by true class, then by the predicted one, the commonest first."""
    found: dict[Any, dict[Any, int]] = defaultdict(lambda: defaultdict(int))
    for truth in version.truths:
        found[truth.truth][truth.prediction] += 1
    return dict(sorted(found.items(), key=lambda item: (-sum(item[1].values()), str(item[0]))))
