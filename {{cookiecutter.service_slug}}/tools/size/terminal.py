"""What people see: each step as it is done, then the advice and what is noteworthy about it."""

from __future__ import annotations

from rich.console import Console

from loadtests.slo import Slo
from tools.size.advice import Sizing
from tools.size.measured import MOST_LATE_MS, MOST_OTHERS, Step, doubts

console = Console(highlight=False, soft_wrap=True)


def show_step(step: Step, slo: Slo) -> None:
    mark = "[green]✓[/]" if step.holds(slo) else "[red]✗[/]"
    disturbed = step.others > MOST_OTHERS or step.late_ms > MOST_LATE_MS
    how = f"   [yellow]others {step.others:.0%}, late {step.late_ms:.0f} ms[/]" if disturbed else ""
    console.print(
        f"  {mark} {step.offered:8,.0f}/s   p50 {step.p50_ms:7.1f} ms   "
        f"p99 {step.p99_ms:7.1f} ms   errors {step.errors:7.2%}   CPU {step.cpus:5.2f}{how}"
    )


def show_advice(sizing: Sizing) -> None:
    advice, measured = sizing.advice, sizing.measured
    load, used = f"{advice.capacity_rps:,.0f}/s", measured.cpus_at(advice.capacity_rps)
    for name, value, why in (
        ("a pod's load", load, f"held up to {measured.held_rps:,.0f}/s"),
        ("CPU request", f"{1000 * measured.cpus:.0f}m", f"{used:.2f} used at that load"),
        ("memory", f"{advice.memory_mib}Mi", f"peak {measured.memory_bytes / 2**20:.0f} MiB"),
        ("HPA target", f"{advice.target} %", f"{advice.target_rps:,.0f}/s a pod"),
        ("replicas", f"{advice.minimum} to {advice.maximum}", f"{advice.peak_pods} at the peak"),
    ):
        console.print(f"{name:14}[bold]{value:14}[/][dim]{why}[/]")
    if found := doubts(measured.steps, measured.slo):
        show_doubts(found)
    elif used < measured.cpus / 2:
        console.print(f"note      a full pod waits: it uses {used / measured.cpus:.0%} of its CPU")
    elif advice.target_rps < advice.capacity_rps / 2:
        console.print(
            f"note      at {advice.target} % CPU a pod's batches are small, and it does much less "
            "than it can: the autoscaler adds pods early, and the maximum bounds the cost"
        )


def show_doubts(found: list[str]) -> None:
    for doubt in found:
        console.print(f"[yellow]doubtful  {doubt}[/]")
