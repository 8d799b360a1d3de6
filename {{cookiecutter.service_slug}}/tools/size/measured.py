"""What was measured: of one load a step, of a pod all the steps, up to where the promise breaks."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import takewhile
from typing import Any

import msgspec
import numpy as np

from loadtests.slo import Slo
from tools.size.client import PATIENCE_SECONDS, Answers

# The first part of a step is left out: it still has the load of the step before in it.
WARM_UP_SECONDS = 1.0
# With more than this the step says little about the service: the share of its cores that others
# had, and by how much requests were sent too late.
MOST_OTHERS, MOST_LATE_MS = 0.05, 5.0


class Step(msgspec.Struct, frozen=True, kw_only=True):
    """One load. Rates are requests a second, times milliseconds, `cpus` CPU seconds a second.

    `errors` is the share that did not get a 200, `others` the share of the service's cores that
    somebody else had, `late_ms` the client's own delay (p99): the last two should be near 0.
    """

    offered: float
    answered: float
    errors: float
    p50_ms: float
    p99_ms: float
    cpus: float
    others: float
    late_ms: float

    def holds(self, slo: Slo) -> bool:
        return self.p99_ms <= slo.p99_ms and self.errors <= slo.error_ratio


def judge(answers: Answers, seconds: float, cpus: float, others: float) -> Step:
    """Make a step of what became of a load of so many seconds, and of what it took meanwhile."""
    length = seconds - WARM_UP_SECONDS
    counted = answers[answers["due"] >= WARM_UP_SECONDS]
    good = counted[counted["status"] == 200]
    finished = (answers["due"] + answers["seconds"])[answers["status"] == 200]
    times = good["seconds"] * 1e3 if len(good) else np.array([PATIENCE_SECONDS * 1e3])
    asked = max(1, len(counted))
    return Step(
        offered=asked / length,
        answered=int(((finished >= WARM_UP_SECONDS) & (finished < seconds)).sum()) / length,
        errors=1 - len(good) / asked,
        p50_ms=float(np.quantile(times, 0.5)),
        p99_ms=float(np.quantile(times, 0.99)),
        cpus=cpus,
        others=others,
        late_ms=float(np.quantile(counted["late"], 0.99)) * 1e3 if len(counted) else 0.0,
    )


def doubts(steps: Sequence[Step], slo: Slo) -> list[str]:
    """Return what speaks against the steps that held; in those that broke, all is late."""
    held, found = [step for step in steps if step.holds(slo)], []
    if (others := max((step.others for step in held), default=0)) > MOST_OTHERS:
        found.append(f"others took up to {others:.0%} of the service's cores; use an idle machine")
    if (late := max((step.late_ms for step in held), default=0)) > MOST_LATE_MS:
        found.append(f"requests were sent up to {late:.0f} ms late; more may be possible")
    return found


class Measured(msgspec.Struct, frozen=True, kw_only=True):
    """One run up the staircase: of which model, in what, where, and what was seen.

    Between the steps a pod does what straight lines say, beyond the last what it did there.
    """

    version: str
    when: str
    how: str
    machine: str
    cpus: float
    p99_ms: float
    error_ratio: float
    start_seconds: float
    memory_bytes: int
    steps: list[Step]

    @property
    def slo(self) -> Slo:
        return Slo(self.p99_ms, self.error_ratio, requests_per_user=0, steps=[])

    @property
    def held_rps(self) -> float:
        """The highest load that held and had none below it that broke; 0 if there is none."""
        held = list(takewhile(lambda step: step.holds(self.slo), self.steps))
        return held[-1].offered if held else 0.0

    def cpus_at(self, load: float) -> float:
        return float(np.interp(load, *self._curve()))

    def load_at(self, cpus: float) -> float:
        """Return the load that takes so many CPUs; at most the highest that was offered."""
        return float(np.interp(cpus, *reversed(self._curve())))

    def _curve(self) -> tuple[list[float], Any]:
        loads, cpus = zip((0, 0), *((step.offered, step.cpus) for step in self.steps), strict=True)
        # More load is never less work: where it seems so, it is noise.
        return list(loads), np.maximum.accumulate(cpus)
