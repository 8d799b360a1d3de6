"""The HorizontalPodAutoscaler's algorithm for CPU utilisation, as Kubernetes documents it.

https://kubernetes.io/docs/concepts/workloads/autoscaling/horizontal-pod-autoscale/
The names are those of the documentation; times are seconds.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Literal


@dataclass(frozen=True)
class Cluster:
    """What the controller manager and metrics-server are set to: their defaults.

    metrics-server looks every 15 s at what the pods used over 15 s, and the HPA looks at that
    every 15 s: what it knows ends up to 15 s ago.
    """

    sync_seconds: int = 15
    tolerance: float = 0.1
    cpu_initialization_seconds: int = 300
    metric_seconds: int = 15
    metric_delay: int = 15

    @property
    def reaction_seconds(self) -> int:
        """At most so long after traffic has changed the HPA has acted on it."""
        return self.metric_seconds + self.metric_delay + self.sync_seconds


CLUSTER = Cluster()


@dataclass(frozen=True)
class Policy:
    """At most so many pods, or so many percent, in the seconds before."""

    type: Literal["Pods", "Percent"]
    value: int
    period: int


@dataclass(frozen=True)
class Rules:
    """How to scale in one direction."""

    stabilization: int
    policies: tuple[Policy, ...]
    select: Literal["Max", "Min", "Disabled"] = "Max"
    tolerance: float = CLUSTER.tolerance


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
    """What the metrics say: `utilization` is the mean of those counted, as a share of the request.

    Missing are those that run and have no metric yet, unready those that are set aside: pending,
    not ready, or with a metric from before they were ready.
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
    # Once more, carefully: who is missing is taken to use all of the target if it is about less
    # pods and nothing if it is about more; who is not ready, nothing.
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
    # The API knows whole percent, and cuts off what is beyond.
    return math.floor(100 * utilization + 1e-9) / target


def _tolerated(scaler: Autoscaler, ratio: float) -> bool:
    return 1 - scaler.down.tolerance <= ratio <= 1 + scaler.up.tolerance


@dataclass
class Controller:
    """One HPA: remembers what it recommended and what it changed."""

    scaler: Autoscaler
    _recommended: list[tuple[float, int]] = field(default_factory=list)
    _changes: list[tuple[float, int]] = field(default_factory=list)

    def decide(self, now: float, current: int, pods: Pods) -> int:
        """Return the replicas to have from now on, and remember that."""
        scaler = self.scaler
        if current > scaler.maximum:
            wanted = scaler.maximum
        elif current < scaler.minimum:
            wanted = scaler.minimum
        else:
            wanted = self._limit(now, current, self._stabilize(now, current, pods))
        if wanted != current:
            self._changes.append((now, wanted - current))
        longest = max(policy.period for policy in (*scaler.up.policies, *scaler.down.policies))
        self._changes = _after(self._changes, now - longest)
        return wanted

    def _stabilize(self, now: float, current: int, pods: Pods) -> int:
        """Down only to the highest of the window's recommendations, up only to the lowest."""
        up, down = self.scaler.up.stabilization, self.scaler.down.stabilization
        if not self._recommended:  # before the first, what is there counts as recommended
            self._recommended = [(now, current)]
        self._recommended = _after(self._recommended, now - max(up, down))
        wanted = recommend(self.scaler, current, pods)
        least = min([wanted, *(n for _, n in _after(self._recommended, now - up))])
        most = max([wanted, *(n for _, n in _after(self._recommended, now - down))])
        self._recommended.append((now, wanted))
        return min(max(current, least), most)

    def _limit(self, now: float, current: int, wanted: int) -> int:
        """Let the policies have their say, then the minimum and the maximum."""
        scaler = self.scaler
        if wanted > current:
            most = self._change(now, current, scaler.up, 1)
            return min(wanted, current + most, scaler.maximum)
        if wanted < current:
            most = self._change(now, current, scaler.down, -1)
            return max(wanted, current - most, scaler.minimum)
        return current

    def _change(self, now: float, current: int, rules: Rules, sign: int) -> int:
        """Return by how many pods the rules let the replicas change now."""
        if rules.select == "Disabled":
            return 0
        changes = []
        for policy in rules.policies:
            start = self._start(now, current, policy)
            share = math.ceil(start * policy.value / 100 - 1e-9)
            change = policy.value if policy.type == "Pods" else share
            changes.append(sign * (start - current) + change)
        return max(0, min(changes) if rules.select == "Min" else max(changes))

    def _start(self, now: float, current: int, policy: Policy) -> int:
        """Return the replicas at the start of the policy's period."""
        return current - sum(change for _, change in _after(self._changes, now - policy.period))


def _after(events: Sequence[tuple[float, int]], cutoff: float) -> list[tuple[float, int]]:
    return [event for event in events if event[0] > cutoff]
