"""What one pod does at any load: straight lines between the steps that were measured."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from tools.size.staircase import Step

Array = np.ndarray[Any, np.dtype[Any]]


@dataclass(frozen=True)
class Curve:
    """By offered requests a second, ascending from 0.

    Beyond the last step, which is beyond capacity, all stays as it was there: the service refuses
    what would have to wait too long, so that more load is more refusals and not longer queues.
    """

    offered: Array
    answered: Array
    p99_ms: Array
    cpus: Array

    @classmethod
    def of(cls, steps: Sequence[Step]) -> Curve:
        first = steps[0]
        rates = np.array([0.0, *(step.offered for step in steps)])
        # What was offered and did not get a 200 was refused, or lost.
        answered = np.array([0.0, *(step.offered * (1 - step.errors) for step in steps)])
        p99 = np.array([first.p99_ms, *(step.p99_ms for step in steps)])
        cpus = np.array([0.0, *(step.cpus for step in steps)])
        # More load is never less work, nor sooner done: where it seems so, it is noise.
        return cls(rates, answered, np.maximum.accumulate(p99), np.maximum.accumulate(cpus))

    def answered_at(self, load: Array | float) -> Array:
        return np.asarray(np.interp(load, self.offered, self.answered))

    def p99_at(self, load: Array | float) -> Array:
        return np.asarray(np.interp(load, self.offered, self.p99_ms))

    def cpus_at(self, load: Array | float) -> Array:
        return np.asarray(np.interp(load, self.offered, self.cpus))

    def load_at(self, cpus: float) -> float:
        """Return the load that takes so many CPUs; at most the highest that was offered."""
        return float(np.interp(cpus, self.cpus, self.offered))
