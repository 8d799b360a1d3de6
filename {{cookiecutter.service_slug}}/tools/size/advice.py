"""From what was measured and what traffic is expected to what a pod asks for and the HPA keeps."""

from __future__ import annotations

import math
from pathlib import Path

import msgspec

from loadtests.slo import Slo
from tools.plan.hpa import CLUSTER
from tools.size.curve import Curve
from tools.size.errors import SizingError
from tools.size.staircase import Step, capacity

# A pod is given that much less than the last load that held: the next measurement will differ.
MARGIN = 0.1
# What traffic may grow by in a minute without a pod getting more than it can do. A service whose
# traffic comes in jumps wants more: `python -m tools.plan` shows what a jump does.
GROWTH_PER_MINUTE = 0.2
# Scheduling, and starting a container from an image that the node has.
SCHEDULING_SECONDS = 5.0
# Until the startup and the readiness probe have looked, on average: see k8s/base/deployment.yaml.
PROBE_SECONDS = 3.0
# Pods that are full show 100 %, however much is refused. At a target of 80 % the autoscaler then
# asks for a quarter more at a time; at 90 % it would hardly notice.
HIGHEST_TARGET = 80
# Of three, one may be drained and one fail.
LEAST_PODS = 3
# Times the pods that the peak would fill: the target leaves about a third of each free, and the
# peak may be higher than expected. More would be useless: see `Advice.target_rps`.
MOST_OVER_PEAK = 2.0
MEMORY_MARGIN = 1.25
MEMORY_STEP = 16
MIB = 1024 * 1024


class Measured(msgspec.Struct, frozen=True, kw_only=True):
    """One run up the staircase: of which model, in what, where, and what was seen."""

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


class Advice(msgspec.Struct, frozen=True, kw_only=True):
    """Rates are requests a second for one pod; `target` is percent of the CPU request.

    `held_rps` is the most that kept the promise, `capacity_rps` what a pod is to get at most, and
    `target_rps` what it gets while the autoscaler is content. That may be much less: a pod with
    time to spare predicts every request alone, a busy one many together, so CPU rises fast at
    first and hardly later. Then the maximum, and not the target, keeps the pods from being many.
    """

    peak_rps: float
    average_rps: float
    held_rps: float
    capacity_rps: float
    capacity_cpus: float
    reaction_seconds: float
    target: int
    target_rps: float
    cpu_millicores: int
    memory_mib: int
    minimum: int
    peak_pods: int
    maximum: int


class Sizing(msgspec.Struct, frozen=True, kw_only=True):
    """All that is kept of a sizing: read by `--check` and by `python -m tools.plan`."""

    measured: Measured
    advice: Advice

    def write(self, file: Path) -> None:
        file.write_bytes(msgspec.json.format(msgspec.json.encode(self), indent=1) + b"\n")

    @classmethod
    def read(cls, file: Path) -> Sizing:
        """Raises SizingError if it is not there or not what was written."""
        try:
            return msgspec.json.decode(file.read_bytes(), type=cls)
        except FileNotFoundError:
            raise SizingError(f"nothing is measured yet: no {file.name}; make size") from None
        except msgspec.MsgspecError as error:
            raise SizingError(f"{file.name}: {error}; make size again") from None


def pod_start_seconds(measured: Measured) -> float:
    """Return what passes between the HPA's decision and a pod that takes traffic."""
    return SCHEDULING_SECONDS + measured.start_seconds + PROBE_SECONDS


def advise(measured: Measured, peak_rps: float, average_rps: float) -> Advice:
    """Raises SizingError for traffic that cannot be, or if the promise held at no load at all."""
    if not 0 < average_rps <= peak_rps:
        raise SizingError(
            f"average {average_rps:g} and peak {peak_rps:g} /s: expected 0 < average <= peak"
        )
    held = capacity(measured.steps, measured.slo)
    if not held:
        least = measured.steps[0]
        raise SizingError(
            f"the SLO is missed already at {least.offered:.3g} requests/s: p99 {least.p99_ms:.0f} "
            f"ms (at most {measured.p99_ms:g}), errors {least.errors:.2%} (at most "
            f"{measured.error_ratio:.2%})"
        )
    curve = Curve.of(measured.steps)
    most = held * (1 - MARGIN)
    used = float(curve.cpus_at(most))
    # Load -> metric -> decision -> a pod that is ready.
    reaction = CLUSTER.reaction_seconds + pod_start_seconds(measured)
    # From there on traffic may grow while nothing happens yet, and fills the pod just then.
    acted_on = most / (1 + GROWTH_PER_MINUTE * reaction / 60)
    percent = 100 * float(curve.cpus_at(acted_on)) / measured.cpus / (1 + CLUSTER.tolerance)
    target = min(max(math.floor(percent), 1), HIGHEST_TARGET)
    at_target = min(most, curve.load_at(target / 100 * measured.cpus))
    minimum = max(LEAST_PODS, math.ceil(average_rps / most) + 1)
    maximum = max(minimum, math.ceil(MOST_OVER_PEAK * peak_rps / most))
    memory = math.ceil(measured.memory_bytes * MEMORY_MARGIN / MIB / MEMORY_STEP) * MEMORY_STEP
    return Advice(
        peak_rps=peak_rps,
        average_rps=average_rps,
        held_rps=held,
        capacity_rps=most,
        capacity_cpus=used,
        reaction_seconds=reaction,
        target=target,
        target_rps=at_target,
        cpu_millicores=round(1000 * measured.cpus),
        memory_mib=memory,
        minimum=minimum,
        peak_pods=min(max(minimum, math.ceil(peak_rps / at_target)), maximum),
        maximum=maximum,
    )
