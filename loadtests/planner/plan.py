"""One plan: an autoscaler, the day it had, and the minutes in which the promise was broken."""

from __future__ import annotations

from dataclasses import dataclass, replace

from loadtests.planner.hpa import Autoscaler
from loadtests.planner.inputs import Sizing
from loadtests.planner.pod import Array, Pod
from loadtests.planner.simulate import Day, simulate

# What Kubernetes takes where an autoscaler does not say: one pod, 80 %, its own rules.
DEFAULT_MINIMUM, DEFAULT_TARGET = 1, 80
TARGETS = (40, 50, 60, 70, 80, 90)


@dataclass(frozen=True)
class Plan:
    name: str
    scaler: Autoscaler
    day: Day
    broken: Array

    @property
    def holds(self) -> bool:
        return not self.broken.any()


def compare(sizing: Sizing, offered: Array, peak_rps: float, pod: Pod) -> list[list[Plan]]:
    """Simulate the traffic under the advice, under Kubernetes' defaults, and with other targets.

    The advice is what sizing.yaml says and, last, what this traffic wants, if that differs.
    """

    def plan(name: str, scaler: Autoscaler) -> Plan:
        day = simulate(offered, pod, scaler)
        return Plan(name, scaler, day, day.broken(sizing.p99_ms, sizing.error_ratio))

    fitting = sizing.scaler_for(peak_rps, float(offered.mean()))
    advised = [plan("as in sizing.yaml", sizing.scaler)]
    if fitting != sizing.scaler:
        advised.append(plan("for this traffic", fitting))
    plain = Autoscaler(DEFAULT_MINIMUM, fitting.maximum, DEFAULT_TARGET)
    others = [
        plan(f"target {target} %", replace(fitting, target=target))
        for target in TARGETS
        if target != fitting.target
    ]
    return [advised, [plan("Kubernetes' defaults", plain)], others]
