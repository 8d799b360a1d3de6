"""How much each input matters: what the answers lose when its values are shuffled."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Mapping
from typing import Any

import joblib
import numpy as np
import pandas as pd
from sklearn import metrics as sk

from training.evaluate import Array, Evaluation, Importance

ROWS = 1000
REPEATS = 5
# So many inputs are measured one by one; of more, a screen keeps those that matter most.
INPUTS = 50

Score = Callable[[pd.DataFrame], float]


def importance(
    predict: Callable[[Any, pd.DataFrame], Any],
    model: Any,
    evaluation: Evaluation,
    seconds: float,
    seed: int,
    progress: Callable[[str], None],
) -> list[Importance]:
    """Return the inputs that could be measured within so many seconds, the most important first."""
    rng = np.random.default_rng(seed)
    count = len(evaluation.frame)
    rows = np.sort(rng.choice(count, min(count, ROWS), replace=False))
    frame = evaluation.frame.iloc[rows]
    score = _scorer(predict, model, evaluation, rows)
    start = time.monotonic()
    whole = score(frame.assign())  # a copy, as below: predict may add columns to its own

    def drop(names: list[str]) -> float:
        # The same rows of all names: inputs that say the same lose it together.
        rows = rng.permutation(len(frame))
        moved = {name: frame[name].iloc[rows].set_axis(frame.index) for name in names}
        try:
            return whole - score(frame.assign(**moved))
        except ValueError:  # predict refuses rows that shuffling made impossible
            return -math.inf

    def over(share: float) -> bool:
        return time.monotonic() - start > share * seconds

    names = [str(name) for name in frame.columns]
    while len(names) > INPUTS and not over(0.5):
        progress(f"{len(names)} inputs left to choose from")
        names = _screen(drop, names, lambda: over(0.5))
    found: list[Importance] = []
    for number, name in enumerate(names):
        if over(1):
            break
        progress(f"{number} of {len(names)} inputs")
        drops: Array = np.array([drop([name]) for _ in range(REPEATS)])
        if np.isfinite(drops).all():
            found.append(Importance(name, float(drops.mean()), float(drops.std())))
    return sorted(found, key=lambda item: -item.mean)


def _screen(
    drop: Callable[[list[str]], float], names: list[str], late: Callable[[], bool]
) -> list[str]:
    """Return the names in the better half of the blocks, each of which is shuffled as one."""
    size = -(-len(names) // (2 * INPUTS))
    blocks = [names[i : i + size] for i in range(0, len(names), size)]
    drops: list[tuple[float, list[str]]] = []
    for block in blocks:
        if late():
            break
        drops.append((drop(block), block))
    best = sorted(drops, key=lambda item: -item[0])[:INPUTS]
    return [name for _, block in best for name in block] or names


def _scorer(
    predict: Callable[[Any, pd.DataFrame], Any], model: Any, evaluation: Evaluation, rows: Array
) -> Score:
    """Return what scores the answers to a frame in which `rows` of the held-out ones were altered.

    It is the accuracy of a classification and the R² of a regression.
    """
    truth = evaluation.truth[rows]
    weights = None if evaluation.weights is None else evaluation.weights[rows]
    measure: Any = sk.accuracy_score if evaluation.kind == "classification" else sk.r2_score

    def score(frame: pd.DataFrame) -> float:
        with joblib.parallel_config("sequential"):
            columns = predict(model, frame)
        if isinstance(columns, pd.DataFrame):
            first: Any = columns.iloc[:, 0]
        else:
            first = next(iter(columns.values())) if isinstance(columns, Mapping) else columns
        return float(measure(truth, np.asarray(first), sample_weight=weights))

    return score
