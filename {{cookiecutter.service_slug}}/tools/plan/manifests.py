"""How the autoscaler of k8s/base may scale: its `behavior`, with Kubernetes' defaults filled in."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import yaml

from tools.plan.hpa import DEFAULT_DOWN, DEFAULT_UP, Policy, Rules
from tools.size.errors import SizingError

BASE = Path(__file__).parents[2] / "k8s" / "base"


def behavior(folder: Path = BASE) -> tuple[Rules, Rules]:
    """Return the rules for up and for down; raises SizingError if there is no autoscaler."""
    for file in sorted(folder.glob("*.yaml")):
        for document in yaml.safe_load_all(file.read_text()):
            if document and document.get("kind") == "HorizontalPodAutoscaler":
                found = document["spec"].get("behavior", {})
                up = _rules(found.get("scaleUp", {}), DEFAULT_UP)
                return up, _rules(found.get("scaleDown", {}), DEFAULT_DOWN)
    raise SizingError(f"no HorizontalPodAutoscaler in {folder}")


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
