"""Try the advice out: the service as advised, at the load that was advised for a pod."""

from __future__ import annotations

from loadtests.slo import Slo
from service.artifact import Manifest
from tools.size.advice import MIB, Sizing
from tools.size.measured import Step, doubts
from tools.size.staircase import duration
from tools.size.stand import stand
from tools.size.terminal import console, show_doubts, show_step

STEP_SECONDS = 20.0
# From the advised load up until the promise breaks, or down until it holds, by stairs of this.
STAIR = 0.05
MOST_STAIRS = 6
# As many stairs to spare, or to lack, are a good measurement.
GOOD_STAIRS = 4


def check(sizing: Sizing, artifact: Manifest, slo: Slo) -> bool:
    """Print by how much promise and memory hold; return whether the advice is good.

    Much to spare is not good: the measurement was bad. Raises SizingError if nothing starts.
    """
    measured, advice = sizing.measured, sizing.advice
    if measured.version != artifact.version:
        console.print(f"[yellow]another artifact was measured: {measured.version}[/]")
    console.print(f"service   {measured.cpus:g} CPU, {advice.capacity_rps:,.0f} requests/s")
    steps: list[Step] = []
    with stand(measured.cpus, artifact) as service:

        def holds(stairs: int) -> bool:
            rate = advice.capacity_rps * (1 + STAIR * stairs)
            steps.append(service.step(rate, duration(rate, STEP_SECONDS)))
            show_step(steps[-1], slo)
            return steps[-1].holds(slo)

        service.step(advice.capacity_rps / 2, seconds=2)  # everything is warm when it counts
        kept = holds(0)
        stairs = 0 if kept else -1
        if kept:
            while stairs < MOST_STAIRS and holds(stairs + 1):
                stairs += 1
        else:
            while stairs >= -MOST_STAIRS and not holds(stairs):
                stairs -= 1
        needed_mib = service.memory_bytes / MIB
    show_doubts(doubts(steps, slo))
    within = needed_mib <= advice.memory_mib
    used = f"{needed_mib:.0f} of {advice.memory_mib} MiB"
    console.print(f"memory    {'[green]holds[/]' if within else '[red]TOO MUCH[/]'}, {used}")
    how = f"{abs(stairs) * STAIR:.0%} " + ("to spare" if kept else "is lacking")
    more = " or more" if stairs in (MOST_STAIRS, -MOST_STAIRS - 1) else ""
    console.print(f"promise   {'[green]holds[/]' if kept else '[red]BROKEN[/]'}, {how}{more}")
    if abs(stairs) > GOOD_STAIRS:
        console.print("[yellow]that is far off: make size again, on an idle machine[/]")
    return kept and within and stairs <= GOOD_STAIRS
