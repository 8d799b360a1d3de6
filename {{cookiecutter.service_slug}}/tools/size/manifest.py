"""sizing.yaml: the advice as a kustomize patch, with the reasons beside the numbers."""

from __future__ import annotations

from pathlib import Path

from tools.plan.hpa import CLUSTER
from tools.size import staircase
from tools.size.advice import (
    GROWTH_PER_MINUTE,
    HIGHEST_TARGET,
    LEAST_PODS,
    MARGIN,
    MEMORY_MARGIN,
    MIB,
    MOST_OVER_PEAK,
    Sizing,
)

FOLDER = Path(__file__).parents[2] / "k8s" / "overlays" / "production"
PATCH, RECORD, PICTURE = (FOLDER / f"sizing.{suffix}" for suffix in ("yaml", "json", "png"))


def text(sizing: Sizing, name: str) -> str:
    """Return the patch for the Deployment and the HorizontalPodAutoscaler of that name."""
    measured, advice = sizing.measured, sizing.advice
    most, cpus = f"{advice.capacity_rps:,.0f}", advice.capacity_cpus
    work = 1e3 * cpus / advice.capacity_rps
    rest = f"{(advice.minimum - 1) * advice.capacity_rps:,.0f}"
    peak = f"{measured.memory_bytes / MIB:.0f} MiB"
    doubts = "".join(
        f"# DOUBTFUL: {doubt}.\n" for doubt in staircase.doubts(measured.steps, measured.slo)
    )
    return f"""\
# Written by `make size`, with sizing.json and sizing.png. When the model, the traffic or the
# machines change, measure again rather than edit; `make size-check` tries the advice out.
#
# Measured {measured.when[:10]}: artifact {measured.version} in {measured.how},
#   {measured.cpus:g} CPU of {measured.machine}.
# Promised: p99 at most {measured.p99_ms:g} ms, errors at most {measured.error_ratio:.3%}.
# Held up to {advice.held_rps:,.0f} requests/s. A pod is to get {most} at most, {MARGIN:.0%} less.
#   That takes {cpus:.2f} CPU, {work:.3g} CPU-milliseconds a request.
# Expected: {advice.average_rps:,g} requests/s on average, {advice.peak_rps:,g} at the peak.
{doubts}apiVersion: apps/v1
kind: Deployment
metadata:
  name: "{name}"
spec:
  template:
    spec:
      containers:
        - name: "{name}"
          resources:
            requests:
              # What the pod had when it was measured. The autoscaler's percents are of this.
              cpu: {advice.cpu_millicores}m
              # The peak, beyond capacity, was {peak}; {MEMORY_MARGIN - 1:.0%} more for what was \
not seen.
              memory: {advice.memory_mib}Mi
            limits:
              # As requested: a node that is short of memory then never takes it from this pod.
              # No limit of CPU: what nobody else wants shortens the queue.
              memory: {advice.memory_mib}Mi
---
apiVersion: autoscaling/v2
kind: HorizontalPodAutoscaler
metadata:
  name: "{name}"
spec:
  # At least {LEAST_PODS}: of three, one may be drained and one fail. And with one gone the others \
still do
  # the average, if it comes back at once after a lull: {advice.minimum - 1} x {most}/s = {rest}/s.
  minReplicas: {advice.minimum}
  # {MOST_OVER_PEAK:g} times what the peak would fill, in case it is higher than expected. The \
peak as expected
  # has {advice.peak_pods}.
  maxReplicas: {advice.maximum}
  metrics:
    - type: Resource
      resource:
        name: cpu
        target:
          type: Utilization
          # A pod then gets {advice.target_rps:,.0f} requests/s. The autoscaler acts at \
{CLUSTER.tolerance:.0%} above, and {advice.reaction_seconds:.0f} s later
          # (metric, decision, start) new pods are ready. Traffic that grows by \
{GROWTH_PER_MINUTE:.0%} a minute
          # meanwhile still fits into the old ones. Never over {HIGHEST_TARGET} %: full pods \
must look
          # full enough to ask for many more.
          averageUtilization: {advice.target}
"""
