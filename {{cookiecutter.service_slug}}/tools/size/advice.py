"""What a pod asks for and the autoscaler keeps, from what was measured and what is expected."""

from __future__ import annotations

import math
from pathlib import Path

import msgspec

from tools.size import SizingError
from tools.size.measured import Measured

# The autoscaler does nothing while CPU is within so much of the target: Kubernetes' default.
HPA_TOLERANCE = 0.1
# The autoscaler has acted on a change of traffic after this at most: metrics-server looks every
# 15 s, at what was used over 15 s, and the autoscaler looks at that every 15 s.
HPA_REACTION_SECONDS = 45.0
# The load of a pod stays so much below the last that held: the next measurement will differ.
MARGIN = 0.1
# Traffic may grow by so much in a minute without a pod getting more than it can do.
GROWTH_PER_MINUTE = 0.2
# Scheduling, and starting a container from an image that the node has.
SCHEDULING_SECONDS = 5.0
# The wait until the startup and the readiness probe have looked: see k8s/base/deployment.yaml.
PROBE_SECONDS = 3.0
# The target is at most this. Pods that are full show 100 %, however much is refused: at a target
# of 80 % the autoscaler then asks for a quarter more at a time, at 90 % it would hardly notice.
HIGHEST_TARGET = 80
# There are at least three pods: one may be drained and one fail.
LEAST_PODS = 3
# The maximum is so many times the pods that the peak would fill: the target leaves about a third
# of each free, and the peak may be higher than expected. More is useless: see `Advice`.
MOST_OVER_PEAK = 2.0
MEMORY_MARGIN = 1.25
MEMORY_STEP_MIB = 16
MIB = 1024 * 1024


class Advice(msgspec.Struct, frozen=True, kw_only=True):
    """Rates are requests a second for one pod; `target` is percent of the CPU request.

    `capacity_rps` is what a pod is to get at most, `target_rps` what it gets while the autoscaler
    is content. That may be much less: a pod with time to spare predicts every request alone, a busy
    one many together, so CPU rises fast at first and hardly later. Then the maximum, and not the
    target, keeps the pods from being many.
    """

    peak_rps: float
    average_rps: float
    capacity_rps: float
    reaction_seconds: float
    target: int
    target_rps: float
    memory_mib: int
    minimum: int
    peak_pods: int
    maximum: int


class Sizing(msgspec.Struct, frozen=True, kw_only=True):
    """All that is kept of a sizing: `make size-check` reads it, and the template's planner."""

    measured: Measured
    advice: Advice

    @classmethod
    def read(cls, file: Path) -> Sizing:
        """Raises SizingError if it is not there or not what was written."""
        try:
            return msgspec.json.decode(file.read_bytes(), type=cls)
        except FileNotFoundError:
            raise SizingError(f"nothing is measured yet: no {file.name}; make size") from None
        except msgspec.MsgspecError as error:
            raise SizingError(f"{file.name}: {error}; make size again") from None


def advise(measured: Measured, peak_rps: float, average_rps: float) -> Advice:
    """Return the advice for this traffic; raises SizingError if the promise held at no load."""
    if not measured.held_rps:
        least = measured.steps[0]
        raise SizingError(
            f"the promise is broken already at {least.offered:.3g} requests/s: "
            f"p99 {least.p99_ms:.0f} ms, errors {least.errors:.2%}"
        )
    most = measured.held_rps * (1 - MARGIN)
    pod_start = SCHEDULING_SECONDS + measured.start_seconds + PROBE_SECONDS
    reaction = HPA_REACTION_SECONDS + pod_start
    # Traffic may grow from here while nothing happens yet, and fills the pod when help comes.
    acted_on = most / (1 + GROWTH_PER_MINUTE * reaction / 60)
    percent = 100 * measured.cpus_at(acted_on) / measured.cpus / (1 + HPA_TOLERANCE)
    target = min(max(math.floor(percent), 1), HIGHEST_TARGET)
    at_target = min(most, measured.load_at(target / 100 * measured.cpus))
    minimum = max(LEAST_PODS, math.ceil(average_rps / most) + 1)
    maximum = max(minimum, math.ceil(MOST_OVER_PEAK * peak_rps / most))
    memory_steps = math.ceil(measured.memory_bytes * MEMORY_MARGIN / MIB / MEMORY_STEP_MIB)
    return Advice(
        peak_rps=peak_rps,
        average_rps=average_rps,
        capacity_rps=most,
        reaction_seconds=reaction,
        target=target,
        target_rps=at_target,
        memory_mib=memory_steps * MEMORY_STEP_MIB,
        minimum=minimum,
        peak_pods=min(max(minimum, math.ceil(peak_rps / at_target)), maximum),
        maximum=maximum,
    )
