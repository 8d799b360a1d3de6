"""What a service's files say: sizing.json, which its `make size` writes, and its autoscaler."""

from __future__ import annotations

import json
import math
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import yaml

from loadtests.planner import PlanError
from loadtests.planner.hpa import (
    DEFAULT_DOWN,
    DEFAULT_UP,
    REACTION_SECONDS,
    Autoscaler,
    Policy,
    Rules,
)
from loadtests.planner.pod import Curve

# The two constants by which `make size` chooses minimum and maximum: the advice for other traffic
# is made as there, in tools/size/advice.py.
LEAST_PODS = 3
MOST_OVER_PEAK = 2.0


@dataclass(frozen=True)
class Sizing:
    """The promise, what was measured of one pod, and what was advised.

    `capacity_rps` is the load that a pod is to get at most, `pod_start_seconds` the time from the
    autoscaler's decision to a pod that takes traffic.
    """

    p99_ms: float
    error_ratio: float
    curve: Curve
    cpus: float
    capacity_rps: float
    peak_rps: float
    pod_start_seconds: float
    scaler: Autoscaler

    def scaler_for(self, peak_rps: float, average_rps: float) -> Autoscaler:
        """Return the autoscaler that `make size` would advise for this traffic."""
        minimum = max(LEAST_PODS, math.ceil(average_rps / self.capacity_rps) + 1)
        maximum = max(minimum, math.ceil(MOST_OVER_PEAK * peak_rps / self.capacity_rps))
        return replace(self.scaler, minimum=minimum, maximum=maximum)


def read_sizing(file: Path) -> Sizing:
    """Read sizing.json and, from k8s/base beside its overlay, how the autoscaler may scale.

    Raises PlanError if one is not there or not what was written.
    """
    try:
        found = json.loads(file.read_text())
        measured, advice = found["measured"], found["advice"]
        return Sizing(
            p99_ms=measured["p99_ms"],
            error_ratio=measured["error_ratio"],
            curve=Curve.of(measured["steps"]),
            cpus=measured["cpus"],
            capacity_rps=advice["capacity_rps"],
            peak_rps=advice["peak_rps"],
            pod_start_seconds=advice["reaction_seconds"] - REACTION_SECONDS,
            scaler=Autoscaler(
                advice["minimum"],
                advice["maximum"],
                advice["target"],
                *read_behavior(file.parent / ".." / ".." / "base"),
            ),
        )
    except OSError:
        raise PlanError(f"no {file}; `make size` of a service writes it: SIZING=PATH") from None
    except (ValueError, LookupError, TypeError) as error:
        raise PlanError(f"{file} is not what make size writes: {error!r}") from None


def read_behavior(folder: Path) -> tuple[Rules, Rules]:
    """Return the rules for up and for down; raises PlanError if there is no autoscaler."""
    for file in sorted(folder.glob("*.yaml")):
        for document in yaml.safe_load_all(file.read_text()):
            if document and document.get("kind") == "HorizontalPodAutoscaler":
                found = document["spec"].get("behavior", {})
                up = _rules(found.get("scaleUp", {}), DEFAULT_UP)
                return up, _rules(found.get("scaleDown", {}), DEFAULT_DOWN)
    raise PlanError(f"no HorizontalPodAutoscaler in {folder.resolve()}")


def _rules(given: dict[str, Any], default: Rules) -> Rules:
    policies = tuple(
        Policy(policy["type"], policy["value"], policy["periodSeconds"])
        for policy in given.get("policies", ())
    )
    return replace(
        default,
        stabilization=given.get("stabilizationWindowSeconds", default.stabilization),
        policies=policies or default.policies,
        select=given.get("selectPolicy", default.select),
        tolerance=float(given.get("tolerance", default.tolerance)),
    )
