"""Up a staircase of load, until the promise of loadtests/slo.toml breaks."""

from __future__ import annotations

from collections.abc import Callable

from loadtests.slo import Slo
from tools.size import SizingError
from tools.size.measured import Step

STEP_SECONDS = 10.0
# A p99 wants this many requests at least; slow models get longer steps, up to a limit.
LEAST_REQUESTS = 1000
LONGEST_STEP_SECONDS = 60.0
PROBE_SECONDS = 2.0
FIRST_PROBE_RPS = 10.0
# The first stair, as a share of the most that was answered in a probe, and each after it.
FIRST_STAIR = 0.1
STAIR = 1.4
# The last load that held and the first that broke end up this close.
RESOLUTION = 1.06
# The load beyond the break, to see what a pod does then.
OVERLOAD = 1.5

Offer = Callable[[float, float], Step]


def climb(offer: Offer, slo: Slo, say: Callable[[Step], None]) -> list[Step]:
    """Return the steps, by load: up to the first that breaks the promise, around it, and beyond.

    A load counts as broken when it broke the promise twice: one miss may be the machine's. Raises
    SizingError if nothing is answered.
    """
    steps: list[Step] = []

    def twice(rate: float, seconds: float) -> Step:
        for _ in range(2):
            step = offer(rate, seconds)
            say(step)
            if step.holds(slo):
                break
        return step

    def holds(rate: float) -> bool:
        steps.append(twice(rate, duration(rate, STEP_SECONDS)))
        return steps[-1].holds(slo)

    held, broken = 0.0, FIRST_STAIR * _probe(twice, slo)
    while holds(broken):
        held, broken = broken, STAIR * broken
    while held and broken / held > RESOLUTION:
        middle = (held + broken) / 2
        if holds(middle):
            held = middle
        else:
            broken = middle
    beyond = offer(OVERLOAD * broken, duration(broken, STEP_SECONDS))
    say(beyond)
    return sorted([*steps, beyond], key=lambda step: step.offered)


def duration(rate: float, seconds: float) -> float:
    """Return how many seconds a step has to last for a p99 that means something."""
    return min(max(seconds, LEAST_REQUESTS / rate), max(seconds, LONGEST_STEP_SECONDS))


def _probe(offer: Offer, slo: Slo) -> float:
    """Double the load until it breaks the promise; return the most that was answered."""
    rate, most, held = FIRST_PROBE_RPS, 0.0, True
    while held:
        step = offer(rate, PROBE_SECONDS)
        most, held, rate = max(most, step.answered), step.holds(slo), 2 * rate
    if not most:
        raise SizingError(f"of {rate / 2:g} requests/s not one was answered")
    return most
