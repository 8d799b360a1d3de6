"""Gates: what a model must reach on the data kept aside before it may be packaged."""

from __future__ import annotations

import operator
import re
from dataclasses import dataclass
from typing import Any

from training.errors import TrainingError

NO_TRUTH = "define judge(truth, answers, frame) in model.py, or set GATES = []"


@dataclass(frozen=True)
class Gate:
    """A condition on a metric, written like "accuracy >= 0.95"; `bound` is in the metric's unit."""

    text: str
    metric: str
    compare: Any
    bound: float

    @classmethod
    def parse(cls, text: str) -> Gate:
        """Return the gate that `text` says; raises TrainingError if it says none."""
        match = re.fullmatch(r"\s*(\w+)\s*(>=|<=)\s*(\S+)\s*", text)
        try:
            name, sign, bound = match.groups() if match else ("", "", "")
            return cls(text, name, operator.ge if sign == ">=" else operator.le, float(bound))
        except ValueError:
            raise TrainingError(
                f"GATES: {text!r} is not of the form 'accuracy >= 0.95' or 'rmse <= 60'"
            ) from None

    def passes(self, metrics: dict[str, float]) -> bool:
        """Tell whether the metric reaches the bound; raises TrainingError if there is none."""
        if not metrics:
            raise TrainingError(
                f"GATES: nothing is measured that {self.text!r} could hold; {NO_TRUTH}"
            )
        if self.metric not in metrics:
            raise TrainingError(f"GATES: no metric {self.metric!r}; there are {', '.join(metrics)}")
        return bool(self.compare(metrics[self.metric], self.bound))
