"""Up a staircase of load, until the promise of loadtests/slo.toml breaks."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence

import msgspec
import numpy as np

from loadtests.slo import Slo
from tools.size import usage
from tools.size.client import PATIENCE_SECONDS, Answers, Clients
from tools.size.errors import SizingError
from tools.size.serving import Running, Shape

# The first part of a step is left out: it still has the load of the step before in it.
WARM_UP_SECONDS = 1.0
# A p99 wants this many requests at least; slow models get longer steps, up to a limit.
LEAST_REQUESTS = 1000
LONGEST_STEP = 60.0
PROBE_SECONDS = 2.0
FIRST_PROBE = 10.0
# Of the most that was answered in a probe.
STAIRS = (0.1, 0.25, 0.4, 0.55, 0.7, 0.85, 1.0)
# And on from there, in ever larger steps: the probe was short.
STAIR_AFTER = 1.15
# Between the last load that held and the first that broke.
RESOLUTION = 1.06
# Beyond the break, to see what a pod does then.
OVERLOAD = 1.5
# More than this on the service's cores, or by this much too late, is not the service.
MOST_OTHERS, MOST_LATE_MS = 0.05, 5.0


class Step(msgspec.Struct, frozen=True, kw_only=True):
    """One load. Rates are requests a second, times milliseconds, `cpus` CPU seconds a second.

    `errors` is the share that did not get a 200, `others` what of the service's cores somebody
    else had, `late` the client's own delay (p99): both should be near 0.
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
    counted = answers.due >= WARM_UP_SECONDS
    length = seconds - WARM_UP_SECONDS
    good = counted & (answers.status == 200)
    finished = answers.due + answers.seconds
    in_time = (answers.status == 200) & (finished >= WARM_UP_SECONDS) & (finished < seconds)
    times = answers.seconds[good] * 1e3
    p50, p99 = np.quantile(times, [0.5, 0.99]) if len(times) else [PATIENCE_SECONDS * 1e3] * 2
    asked = max(1, int(counted.sum()))
    return Step(
        offered=asked / length,
        answered=int(in_time.sum()) / length,
        errors=1 - int(good.sum()) / asked,
        p50_ms=float(p50),
        p99_ms=float(p99),
        cpus=cpus,
        others=others,
        late_ms=float(np.quantile(answers.late[counted], 0.99)) * 1e3 if counted.any() else 0.0,
    )


class Stand:
    """A running service, and clients that load it."""

    def __init__(self, service: Running, given: Shape, clients: Clients) -> None:
        self._service, self._shape, self._clients = service, given, clients

    def step(self, rate: float, seconds: float) -> Step:
        pid, cores = self._service.pid, self._shape.cores
        used, busy, began = usage.cpu_seconds(pid), usage.busy_seconds(cores), time.perf_counter()
        answers = self._clients.offer(rate, seconds)
        elapsed = time.perf_counter() - began
        used, busy = usage.cpu_seconds(pid) - used, usage.busy_seconds(cores) - busy
        others = max(0.0, busy - used) / elapsed / len(cores)
        return judge(answers, seconds, used / elapsed, others)


Offer = Callable[[float, float], Step]
Say = Callable[[Step], None]


def climb(offer: Offer, slo: Slo, seconds: float, say: Say) -> list[Step]:
    """Return the steps, by load: up to the first that breaks the promise, around it, and beyond.

    A load counts as broken when it broke the promise twice: one miss may be the machine's.
    """
    steps: list[Step] = []

    def twice(rate: float, length: float) -> Step:
        for _ in range(2):
            step = offer(rate, length)
            say(step)
            if step.holds(slo):
                break
        return step

    def holds(rate: float) -> bool:
        steps.append(twice(rate, duration(rate, seconds)))
        return steps[-1].holds(slo)

    most = _probe(twice, slo)
    held, rate, factor = 0.0, 0.0, STAIR_AFTER
    stairs = iter(STAIRS)
    while True:
        share = next(stairs, None)
        if share is not None:
            rate = most * share
        else:
            rate, factor = rate * factor, factor**2
        if not holds(rate):
            break
        held = rate
    broken = rate
    while held and broken / held > RESOLUTION:
        middle = (held + broken) / 2
        if holds(middle):
            held = middle
        else:
            broken = middle
    beyond = offer(OVERLOAD * broken, duration(broken, seconds))
    say(beyond)
    return sorted([*steps, beyond], key=lambda step: step.offered)


def capacity(steps: list[Step], slo: Slo) -> float:
    """Return the highest load that held and had none below it that broke; 0 if there is none."""
    best = 0.0
    for step in steps:
        if not step.holds(slo):
            break
        best = step.offered
    return best


def doubts(steps: Sequence[Step], slo: Slo) -> list[str]:
    """Return what speaks against the steps, as far as they held: when broken, all is late."""
    held = [step for step in steps if step.holds(slo)]
    others = max((step.others for step in held), default=0.0)
    late = max((step.late_ms for step in held), default=0.0)
    found = []
    if others > MOST_OTHERS:
        found.append(
            f"others took up to {others:.0%} of the service's cores; measure on an idle machine"
        )
    if late > MOST_LATE_MS:
        found.append(
            f"requests were sent up to {late:.0f} ms late; the service may do more than this "
            "machine can ask of it"
        )
    return found


def duration(rate: float, seconds: float) -> float:
    """Return how long a step has to last for a p99 that means something."""
    return min(max(seconds, LEAST_REQUESTS / rate), max(seconds, LONGEST_STEP))


def _probe(offer: Offer, slo: Slo) -> float:
    """Double the load until it breaks the promise; return the most that was answered."""
    rate, most = FIRST_PROBE, 0.0
    while True:
        step = offer(rate, PROBE_SECONDS)
        most = max(most, step.answered)
        if not step.holds(slo):
            break
        rate *= 2
    if not most:
        raise SizingError(f"of {rate:g} requests/s not one was answered")
    return most
