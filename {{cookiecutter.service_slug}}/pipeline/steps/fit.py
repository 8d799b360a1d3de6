"""The estimator of model.py, fitted to the rows that are not kept aside."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from pipeline.progress import Say
from pipeline.step import Step
from pipeline.steps.data import Table, table
from pipeline.store import StoreError, StoreMisused
from training.data import Array
from training.errors import TrainingError, owners
from training.fit import build, fit, is_fitted
from training.kinds import strata
from training.package import PICKLE_HINT, UNWRITABLE
from training.split import held_out, one_sided

# With fewer rows, nothing is learnt, and nothing judged.
MIN_ROWS = 16


@dataclass(frozen=True)
class Fitted:
    """`held`: a mask of the rows that the estimator has not learnt from."""

    estimator: Any
    held: Array
    notes: list[str]


class Fit(Step):
    name = "fit"
    calls = ("build",)

    def requires(self) -> list[Step]:
        return [table(self)]

    def parameters(self) -> Any:
        options = self.context.options
        return [options.test_share, options.positive, options.group, options.time]

    def make(self, say: Say, *inputs: Table) -> Fitted:
        data = inputs[0].data
        options = self.context.options
        estimator = build(self.context.user)
        name = type(estimator).__name__
        if is_fitted(estimator):
            say(f"{name} came fitted, and is left as it is")
            return Fitted(estimator, np.ones(len(data.frame), dtype=bool), [])
        if len(data.frame) < MIN_ROWS:
            raise TrainingError(
                f"load_data: {len(data.frame)} rows; to learn and to judge takes {MIN_ROWS}"
            )
        classes = strata(estimator, data.truth, options.positive)
        held = held_out(data, options.test_share, classes)
        notes = [] if classes is None else one_sided(classes, held)
        notes += fit(estimator, data.take(~held))
        say(f"{name} on {int(np.sum(~held))} rows")
        return Fitted(estimator, held, notes)

    def write(self, value: Any, seconds: float) -> None:
        try:
            super().write(value, seconds)
        except (StoreError, StoreMisused):
            raise
        except Exception:
            with owners(UNWRITABLE, PICKLE_HINT):
                raise
