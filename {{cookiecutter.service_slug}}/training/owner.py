"""What model.py says besides its functions, checked before anything is run."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from training.errors import TrainingError
from training.gates import Gate

# What model.py must define, and an example of each.
REQUIRED = {
    "ORIGIN": 'ORIGIN = "where the data come from"',
    "TEST_SHARE": "TEST_SHARE = 0.25",
    "SEED": "SEED = 0",
    "GATES": 'GATES = ["accuracy >= 0.9"]',
    "load_data": "def load_data(): return frame, truth",
    "build": "def build(): return LogisticRegression()",
    "predict": 'def predict(model, frame): return {"label": model.predict(frame)}',
}


@dataclass(frozen=True)
class Options:
    """`group` and `time` are columns by which rows are kept aside; at most one of them is set.

    `margin` is how much worse than the live model still counts as good. `smoke`: few rows, to see
    whether all works, and gates that bind nobody.
    """

    test_share: float
    seed: int
    gates: list[Gate]
    positive: Any
    group: str | None
    time: str | None
    importance_seconds: float
    margin: float
    judge: Callable[..., Any] | None
    smoke: bool = False


def read(user: Any) -> Options:
    """Return what `user`, the module model.py, says; raises TrainingError for what is unusable."""
    for name, example in REQUIRED.items():
        if not hasattr(user, name):
            raise TrainingError(f"model.py: {name} is missing; write, for example: {example}")
    if not _is_number(user.TEST_SHARE) or not 0 < user.TEST_SHARE < 1:
        raise TrainingError(f"TEST_SHARE: {user.TEST_SHARE!r} is no share between 0 and 1")
    if not isinstance(user.GATES, list | tuple) or not all(isinstance(g, str) for g in user.GATES):
        raise TrainingError('GATES: expected a list of texts, such as ["accuracy >= 0.9"]')
    if not isinstance(user.SEED, int) or not 0 <= user.SEED < 2**32:
        raise TrainingError(f"SEED: {user.SEED!r} is no whole number from 0 to 2**32 - 1")
    seconds = getattr(user, "IMPORTANCE_SECONDS", 20)
    if not _is_number(seconds) or seconds < 0:
        raise TrainingError(f"IMPORTANCE_SECONDS: {seconds!r} is no number of seconds, 0 or more")
    margin = getattr(user, "MARGIN", 0.01)
    if not _is_number(margin) or not 0 <= margin < 1:
        raise TrainingError(f"MARGIN: {margin!r} is no share between 0 and 1")
    group, time = getattr(user, "GROUP", None), getattr(user, "TIME", None)
    if group is not None and time is not None:
        raise TrainingError("GROUP and TIME: rows are kept aside by one of them; remove the other")
    return Options(
        test_share=user.TEST_SHARE,
        seed=user.SEED,
        gates=[Gate.parse(text) for text in user.GATES],
        positive=getattr(user, "POSITIVE", None),
        group=group,
        time=time,
        importance_seconds=seconds,
        margin=margin,
        judge=getattr(user, "judge", None),
    )


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)
