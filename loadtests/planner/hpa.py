"""The HorizontalPodAutoscaler's algorithm for CPU utilisation, as Kubernetes documents it.

https://kubernetes.io/docs/concepts/workloads/autoscaling/horizontal-pod-autoscale/
The names are those of the documentation; times are seconds.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Literal

# The defaults of the controller manager and of metrics-server. metrics-server looks every 15 s at
# what the pods used over 15 s, and the autoscaler looks at that every 15 s: what it knows ends up
# to 15 s ago.
SYNC_SECONDS = METRIC_SECONDS = METRIC_DELAY_SECONDS = 15
# The autoscaler has acted on a change of traffic after this at most.
REACTION_SECONDS = METRIC_SECONDS + METRIC_DELAY_SECONDS + SYNC_SECONDS
# A pod this young has to have been ready for a whole metric to count.
CPU_INITIALIZATION_SECONDS = 300
TOLERANCE = 0.1


@dataclass(frozen=True)
class Policy:
    """Change at most so many pods, or so many percent of them, in a period of seconds."""

    type: Literal["Pods", "Percent"]
    value: int
    period: int


@dataclass(frozen=True)
class Rules:
    """How to scale in one direction."""

    stabilization: int
    policies: tuple[Policy, ...]
    select: Literal["Max", "Min", "Disabled"] = "Max"
    tolerance: float = TOLERANCE


DEFAULT_UP = Rules(0, (Policy("Percent", 100, 15), Policy("Pods", 4, 15)))
DEFAULT_DOWN = Rules(300, (Policy("Percent", 100, 15),))


@dataclass(frozen=True)
class Autoscaler:
    """`target` is percent of the CPU request."""

    minimum: int
    maximum: int
    target: int
    up: Rules = DEFAULT_UP
    down: Rules = DEFAULT_DOWN


@dataclass(frozen=True)
class Pods:
    """What the metrics say: `utilization` is the counted pods' mean, as a share of the request.

    Missing pods run and have no metric yet. Unready pods are set aside: they are pending, not
    ready, or their metric is from before they were ready.
    """

    counted: int
    utilization: float
    missing: int = 0
    unready: int = 0


def recommend(scaler: Autoscaler, current: int, pods: Pods) -> int:
    """Return the replicas that the metric asks for, before stabilisation and policies."""
    if not pods.counted:
        return current  # no metric, no action
    ratio = _ratio(pods.utilization, scaler.target)
    unready = pods.unready if ratio > 1 else 0
    if not pods.missing and not unready:
        return current if _tolerated(scaler, ratio) else math.ceil(ratio * pods.counted)
    # Once more, carefully: a missing pod is taken to use all of the target if that asks for fewer
    # pods and nothing if it asks for more; an unready pod is taken to use nothing.
    used = pods.utilization * pods.counted
    if ratio < 1:
        used += pods.missing * scaler.target / 100
    considered = pods.counted + pods.missing + unready
    careful = _ratio(used / considered, scaler.target)
    wanted = math.ceil(careful * considered)
    if _tolerated(scaler, careful) or (ratio - 1) * (careful - 1) < 0:
        return current
    return current if (wanted - current) * (careful - 1) < 0 else wanted


def _ratio(utilization: float, target: int) -> float:
    # Utilisation is in whole percent, cut off.
    return math.floor(100 * utilization + 1e-9) / target


def _tolerated(scaler: Autoscaler, ratio: float) -> bool:
    return 1 - scaler.down.tolerance <= ratio <= 1 + scaler.up.tolerance


@dataclass
class Controller:
    """One autoscaler, which remembers what it recommended and what it changed, with the times."""

    scaler: Autoscaler
    _recommended: list[tuple[float, int]] = field(default_factory=list)
    _changes: list[tuple[float, int]] = field(default_factory=list)

    def decide(self, now: float, current: int, pods: Pods) -> int:
        """Return the replicas to have from now on, and remember that."""
        scaler = self.scaler
        wanted = min(max(current, scaler.minimum), scaler.maximum)
        if wanted == current:
            wanted = self._limit(now, current, self._stabilize(now, current, pods))
        if wanted != current:
            self._changes.append((now, wanted - current))
        longest = max(policy.period for policy in (*scaler.up.policies, *scaler.down.policies))
        self._changes = _after(self._changes, now - longest)
        return wanted

    def _stabilize(self, now: float, current: int, pods: Pods) -> int:
        """Return the recommendation; of its window, down goes to the highest, up to the lowest."""
        up, down = self.scaler.up.stabilization, self.scaler.down.stabilization
        if not self._recommended:  # the replicas before the first look count as recommended
            self._recommended = [(now, current)]
        self._recommended = _after(self._recommended, now - max(up, down))
        wanted = recommend(self.scaler, current, pods)
        least = min([wanted, *(n for _, n in _after(self._recommended, now - up))])
        most = max([wanted, *(n for _, n in _after(self._recommended, now - down))])
        self._recommended.append((now, wanted))
        return min(max(current, least), most)

    def _limit(self, now: float, current: int, wanted: int) -> int:
        """Return the replicas that policies, minimum and maximum allow."""
        scaler = self.scaler
        if wanted > current:
            return min(wanted, current + self._most(now, current, scaler.up, 1), scaler.maximum)
        if wanted < current:
            return max(wanted, current - self._most(now, current, scaler.down, -1), scaler.minimum)
        return current

    def _most(self, now: float, current: int, rules: Rules, sign: int) -> int:
        """Return by how many pods the rules let the replicas change now, up (1) or down (-1)."""
        if rules.select == "Disabled":
            return 0
        changes = []
        for policy in rules.policies:
            done = sum(change for _, change in _after(self._changes, now - policy.period))
            start = current - done  # the replicas when the period began
            share = math.ceil(start * policy.value / 100 - 1e-9)
            change = policy.value if policy.type == "Pods" else share
            changes.append(change - sign * done)
        return max(0, min(changes) if rules.select == "Min" else max(changes))


def _after(events: Sequence[tuple[float, int]], cutoff: float) -> list[tuple[float, int]]:
    return [event for event in events if event[0] > cutoff]
