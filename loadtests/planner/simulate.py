"""A service under an autoscaler, second by second.

Ready pods share the traffic evenly, and each does with its share what the measured curve says. Pods
of the same age are kept together, so a thousand cost no more than one.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from loadtests.planner.hpa import (
    CPU_INITIALIZATION_SECONDS,
    METRIC_DELAY_SECONDS,
    METRIC_SECONDS,
    SYNC_SECONDS,
    Autoscaler,
    Controller,
    Pods,
)
from loadtests.planner.pod import Array, Pod

SECONDS_PER_MINUTE = 60


@dataclass(frozen=True)
class Day:
    """What happened, second by second; rates are requests a second, over all pods.

    `utilization` is of the CPU that the ready pods requested, `p99_ms` of what was answered.
    """

    offered: Array
    refused: Array
    replicas: Array
    ready: Array
    utilization: Array
    p99_ms: Array
    core_hours: float

    @property
    def shed(self) -> float:
        """The share of the day's requests that were refused."""
        return float(self.refused.sum() / max(self.offered.sum(), 1e-9))

    def shed_by_minute(self) -> Array:
        offered = np.maximum(minutes(self.offered).sum(1), 1e-9)
        return np.asarray(minutes(self.refused).sum(1) / offered)

    def p99_by_minute(self) -> Array:
        """Return the p99 of each minute's worst second: the minute's own is not more."""
        return np.asarray(minutes(self.p99_ms).max(1))

    def broken(self, p99_ms: float, error_ratio: float) -> Array:
        """Return whether the promise is broken, minute by minute."""
        return (self.shed_by_minute() > error_ratio) | (self.p99_by_minute() > p99_ms)


@dataclass
class _Group:
    """Pods of the same age."""

    pods: int
    running: float
    ready: float


def simulate(offered: Array, pod: Pod, scaler: Autoscaler) -> Day:
    """Run the autoscaler over the traffic, requests a second for each second.

    The day begins with as many pods as its first minute asks for, all ready.
    """
    at_target = pod.curve.load_at(scaler.target / 100 * pod.cpu_request)
    first = int(np.ceil(offered[:SECONDS_PER_MINUTE].mean() / at_target))
    groups = [_Group(min(max(first, scaler.minimum), scaler.maximum), -1e9, -1e9)]
    controller = Controller(scaler)
    replicas, ready = np.zeros(len(offered)), np.zeros(len(offered))
    cpus = np.zeros(len(offered))  # what one ready pod uses
    for now in range(0, len(offered), SYNC_SECONDS):
        current = sum(group.pods for group in groups)
        if now > METRIC_DELAY_SECONDS:  # there is no metric before
            wanted = controller.decide(now, current, _observe(now, groups, cpus, pod))
            if wanted > current:
                begins = now + pod.running_seconds, now + pod.ready_seconds
                groups.append(_Group(wanted - current, *begins))
            else:
                _remove(groups, current - wanted)
        until = min(now + SYNC_SECONDS, len(offered))
        replicas[now:until] = sum(group.pods for group in groups)
        for group in groups:
            ready[max(now, min(int(np.ceil(group.ready)), until)) : until] += group.pods
        share = offered[now:until] / np.maximum(ready[now:until], 1)
        cpus[now:until] = np.where(ready[now:until] > 0, pod.curve.cpus_at(share), 0)
        if len(groups) > 2:
            _merge(groups, now - CPU_INITIALIZATION_SECONDS)
    share = offered / np.maximum(ready, 1)
    answered = np.where(ready > 0, pod.curve.answered_at(share), 0) * np.maximum(ready, 1)
    return Day(
        offered=offered,
        refused=np.maximum(offered - answered, 0),
        replicas=replicas,
        ready=ready,
        utilization=cpus / pod.cpu_request,
        p99_ms=pod.curve.p99_at(share),
        core_hours=float(replicas.sum()) * pod.cpu_request / 3600,
    )


def spans(broken: Array) -> list[tuple[int, int]]:
    """Return from which minute to which the promise is broken, neighbours together."""
    edges = np.flatnonzero(np.diff(np.concatenate([[False], broken, [False]]).astype(int)))
    return [(int(begin), int(end)) for begin, end in edges.reshape(-1, 2)]


def _observe(now: int, groups: list[_Group], cpus: Array, pod: Pod) -> Pods:
    """Return what the autoscaler knows of the pods, from the newest metric there is."""
    end = now - METRIC_DELAY_SECONDS
    start = max(0, end - METRIC_SECONDS)
    counted = missing = unready = 0
    for group in groups:
        young = now - group.running < CPU_INITIALIZATION_SECONDS
        if group.running > now:  # pending
            unready += group.pods
        elif group.running > start:
            missing += group.pods
        elif group.ready > now or (young and group.ready > start):
            unready += group.pods
        else:
            counted += group.pods
    used = float(cpus[start:end].mean())
    return Pods(counted, used / pod.cpu_request, missing, unready)


def _remove(groups: list[_Group], pods: int) -> None:
    """Take away the newest pods first, as a ReplicaSet does."""
    while pods:
        gone = min(pods, groups[-1].pods)
        groups[-1].pods -= gone
        pods -= gone
        if not groups[-1].pods:
            groups.pop()


def _merge(groups: list[_Group], before: float) -> None:
    """Put pods whose age makes no difference any more into one group."""
    while len(groups) > 1 and max(groups[1].running, groups[1].ready) < before:
        groups[0].pods += groups.pop(1).pods


def minutes(values: Array) -> Array:
    whole = len(values) // SECONDS_PER_MINUTE * SECONDS_PER_MINUTE
    return values[:whole].reshape(-1, SECONDS_PER_MINUTE)
