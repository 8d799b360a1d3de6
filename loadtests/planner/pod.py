"""What one pod does at any load: straight lines between the steps that were measured."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

Array = np.ndarray[Any, np.dtype[Any]]


@dataclass(frozen=True)
class Curve:
    """What was answered, its p99 and the CPUs, by offered requests a second, ascending from 0.

    Beyond the last step, which is beyond capacity, all stays as it was there: the service refuses
    what would have to wait too long, so that more load is more refusals and not longer queues.
    """

    offered: Array
    answered: Array
    p99_ms: Array
    cpus: Array

    @classmethod
    def of(cls, steps: Sequence[dict[str, float]]) -> Curve:
        """Return the curve through the steps of sizing.json."""
        answered = (step["offered"] * (1 - step["errors"]) for step in steps)
        p99 = np.array([steps[0]["p99_ms"], *(step["p99_ms"] for step in steps)])
        cpus = np.array([0.0, *(step["cpus"] for step in steps)])
        return cls(
            offered=np.array([0.0, *(step["offered"] for step in steps)]),
            answered=np.array([0.0, *answered]),
            # More load is never less work, nor sooner done: where it seems so, it is noise.
            p99_ms=np.maximum.accumulate(p99),
            cpus=np.maximum.accumulate(cpus),
        )

    def answered_at(self, load: Array) -> Array:
        return np.interp(load, self.offered, self.answered)

    def p99_at(self, load: Array) -> Array:
        return np.interp(load, self.offered, self.p99_ms)

    def cpus_at(self, load: Array) -> Array:
        return np.interp(load, self.offered, self.cpus)

    def load_at(self, cpus: float) -> float:
        """Return the load that takes so many CPUs; at most the highest that was offered."""
        return float(np.interp(cpus, self.cpus, self.offered))


@dataclass(frozen=True)
class Pod:
    """What all pods have in common. CPU in CPUs; seconds count from the autoscaler's decision."""

    curve: Curve
    cpu_request: float
    running_seconds: float
    ready_seconds: float
