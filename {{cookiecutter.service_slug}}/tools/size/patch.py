"""sizing.yaml, a kustomize patch: patch.txt has it, with format fields for the numbers."""

from __future__ import annotations

from pathlib import Path

from tools.size import advice as rules
from tools.size.advice import Sizing
from tools.size.measured import doubts

TEMPLATE = Path(__file__).with_name("patch.txt")


def text(sizing: Sizing, name: str) -> str:
    """Return the patch for the Deployment and the HorizontalPodAutoscaler of that name."""
    measured, advice = sizing.measured, sizing.advice
    cpus = measured.cpus_at(advice.capacity_rps)
    return TEMPLATE.read_text().format(
        name=name,
        measured=measured,
        advice=advice,
        rules=rules,
        date=measured.when[:10],
        cpus=cpus,
        work_ms=1e3 * cpus / advice.capacity_rps,
        millicores=1e3 * measured.cpus,
        doubts="".join(f"# DOUBTFUL: {one}.\n" for one in doubts(measured.steps, measured.slo)),
        peak_mib=measured.memory_bytes / rules.MIB,
        more_memory=rules.MEMORY_MARGIN - 1,
        others=advice.minimum - 1,
        others_rps=(advice.minimum - 1) * advice.capacity_rps,
    )
