"""Find out what one pod can do, and what to ask of the cluster for the traffic that is expected.

    python -m tools.size --peak-rps 900 --average-rps 300    about 4 minutes, on an idle machine
    python -m tools.size --check                             about 1 minute: does the advice hold?

Writes sizing.yaml (a patch for kustomize), sizing.json and sizing.png to k8s/overlays/production.
The service runs in its image if podman or docker has it, else in processes, on cores of its own.
"""

from __future__ import annotations

import argparse
import contextlib
import platform
import statistics
import sys
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path

from rich.console import Console
from rich.table import Table

from loadtests.slo import Slo
from service.artifact import Manifest, read_manifest
from service.errors import Refusal
from service.settings import Settings
from tools.size import manifest, picture, serving, staircase
from tools.size.advice import Advice, Measured, Sizing, advise
from tools.size.client import Clients
from tools.size.curve import Curve
from tools.size.errors import SizingError, positive
from tools.size.serving import ROOT, Container, Processes, Shape
from tools.size.staircase import Stand, Step
from tools.size.usage import MemoryPeak

STARTS = 3
LEAST_SECONDS = 2.0
CHECK_SECONDS = 20.0
# Up from the advised load, or down, until the promise breaks, or holds.
CHECK_STAIRS = 0.05
CHECK_RANGE = 0.3
# As much to spare, or to lack, is a good measurement.
GOOD = 0.2

console = Console(highlight=False, soft_wrap=True)


def main() -> int:
    arguments = _arguments()
    try:
        return check(arguments.image) if arguments.check else size(arguments)
    except SizingError as error:
        console.print(f"[bold red]not sized:[/] {error}")
        return 2
    except KeyboardInterrupt:
        return 130


def size(arguments: argparse.Namespace) -> int:
    given, slo = serving.shape(arguments.cpus), Slo.read()
    what, artifact = serving.find(arguments.image), _artifact()
    console.print(f"service   {what}, {given.cpus:g} CPU")
    starts = []
    for _ in range(STARTS - 1):
        with serving.running(what, given) as service:
            starts.append(service.start_seconds)
    with stand(what, given, artifact) as (offer, started, memory):
        starts.append(started)
        console.print(f"started   ready after {statistics.median(starts):.1f} s")
        console.print(f"promise   p99 {slo.p99_ms:g} ms, errors {slo.error_ratio:.3%}")
        say = Say(slo)
        steps = staircase.climb(offer.step, slo, arguments.seconds, say)
    measured = Measured(
        version=artifact.version,
        when=datetime.now(UTC).isoformat(timespec="seconds"),
        how=str(what),
        machine=_machine(),
        cpus=given.cpus,
        p99_ms=slo.p99_ms,
        error_ratio=slo.error_ratio,
        start_seconds=statistics.median(starts),
        memory_bytes=memory.bytes,
        steps=steps,
    )
    sizing = Sizing(
        measured=measured, advice=advise(measured, arguments.peak_rps, arguments.average_rps)
    )
    name = serving.service_name()
    manifest.FOLDER.mkdir(parents=True, exist_ok=True)
    sizing.write(manifest.RECORD)
    manifest.PATCH.write_text(manifest.text(sizing, name))
    picture.draw(manifest.PICTURE, sizing, name)
    tell(sizing.advice, measured)
    files = ", ".join(file.name for file in (manifest.PATCH, manifest.RECORD, manifest.PICTURE))
    console.print(f"written   {files} in {manifest.FOLDER.relative_to(ROOT)}")
    return 0


def check(image: str | None) -> int:
    """Run the service as advised, at the advised load, and say by how much the promise holds."""
    sizing = Sizing.read(manifest.RECORD)
    measured, advice = sizing.measured, sizing.advice
    slo, artifact = Slo.read(), _artifact()
    if measured.version != artifact.version:
        console.print(f"[yellow]another artifact was measured: {measured.version}[/]")
    given, what = serving.shape(advice.cpu_millicores / 1000), serving.find(image)
    console.print(f"service   {what}, {given.cpus:g} CPU, {advice.capacity_rps:,.0f} requests/s")
    say, steps = Say(slo, Curve.of(measured.steps)), list[Step]()

    def holds(share: float) -> bool:
        rate = share * advice.capacity_rps
        step = offer.step(rate, staircase.duration(rate, CHECK_SECONDS))
        say(step)
        steps.append(step)
        return step.holds(slo)

    with stand(what, given, artifact) as (offer, _, memory):
        offer.step(advice.capacity_rps / 2, 2.0)  # everything is warm when it counts
        kept = holds(1.0)
        spare = CHECK_STAIRS if kept else -CHECK_STAIRS
        while abs(spare) <= CHECK_RANGE and holds(1 + spare) == kept:
            spare += CHECK_STAIRS if kept else -CHECK_STAIRS
    # The last load that held: one stair back on the way up, the one reached on the way down.
    spare -= CHECK_STAIRS if kept else 0
    for doubt in staircase.doubts(steps, slo):
        console.print(f"[yellow]doubtful  {doubt}[/]")
    within = memory.bytes <= advice.memory_mib * 1024 * 1024
    used = f"{memory.bytes / 2**20:.0f} of {advice.memory_mib} MiB"
    console.print(f"memory    {'[green]holds[/]' if within else '[red]TOO MUCH[/]'}, {used}")
    how = f"{spare:.0%} to spare" if kept else f"{-spare:.0%} is lacking"
    more = " or more" if abs(spare) > CHECK_RANGE - CHECK_STAIRS / 2 else ""
    console.print(f"promise   {'[green]holds[/]' if kept else '[red]BROKEN[/]'}, {how}{more}")
    if abs(spare) > GOOD:
        console.print(f"[yellow]over {GOOD:.0%} off: make size again, on an idle machine[/]")
    return 0 if kept and within and spare <= GOOD else 1


@contextlib.contextmanager
def stand(
    what: Container | Processes, given: Shape, artifact: Manifest
) -> Iterator[tuple[Stand, float, MemoryPeak]]:
    """Start the service and its clients; yield them, the seconds it took, and the memory."""
    requests = serving.requests(artifact.golden.instances)
    with serving.running(what, given) as service:
        if (serves := serving.version(service)) != artifact.version:
            raise SizingError(f"{what} serves {serves}, artifact/ has {artifact.version}")
        clients, memory = (
            Clients(service.port, requests, given.client_cores),
            MemoryPeak(service.pid),
        )
        memory.start()
        try:
            yield Stand(service, given, clients), service.start_seconds, memory
        finally:
            memory.stop()
            clients.close()


class Say:
    """Prints every step as it is done, beside it what was expected."""

    def __init__(self, slo: Slo, expected: Curve | None = None) -> None:
        self._slo, self._expected = slo, expected

    def __call__(self, step: Step) -> None:
        expected = ""
        if self._expected:
            p99, cpus = self._expected.p99_at(step.offered), self._expected.cpus_at(step.offered)
            expected = f"   [dim]expected p99 {p99:.1f} ms, CPU {cpus:.2f}[/]"
        mark = "[green]✓[/]" if step.holds(self._slo) else "[red]✗[/]"
        console.print(
            f"  {mark} {step.offered:8,.0f}/s   p50 {step.p50_ms:7.1f} ms   "
            f"p99 {step.p99_ms:7.1f} ms   errors {step.errors:7.2%}   CPU {step.cpus:5.2f}"
            + expected
            + (
                f"   [yellow]others {step.others:.0%}[/]"
                if step.others > staircase.MOST_OTHERS
                else ""
            )
            + (
                f"   [yellow]late {step.late_ms:.0f} ms[/]"
                if step.late_ms > staircase.MOST_LATE_MS
                else ""
            )
        )


def tell(advice: Advice, measured: Measured) -> None:
    table = Table(show_header=False, box=None, padding=(0, 2, 0, 0))
    for name, value, why in (
        ("a pod's load", f"{advice.capacity_rps:,.0f}/s", f"held up to {advice.held_rps:,.0f}/s"),
        (
            "CPU request",
            f"{advice.cpu_millicores}m",
            f"{advice.capacity_cpus:.2f} used at that load",
        ),
        ("memory", f"{advice.memory_mib}Mi", f"peak {measured.memory_bytes / 2**20:.0f} MiB"),
        ("HPA target", f"{advice.target} %", f"{advice.target_rps:,.0f}/s a pod"),
        ("replicas", f"{advice.minimum} to {advice.maximum}", f"{advice.peak_pods} at the peak"),
    ):
        table.add_row(name, f"[bold]{value}[/]", f"[dim]{why}[/]")
    console.print(table)
    doubts = staircase.doubts(measured.steps, measured.slo)
    for doubt in doubts:
        console.print(f"[yellow]doubtful  {doubt}[/]")
    if doubts:
        return
    if advice.capacity_cpus < measured.cpus / 2:
        console.print(
            f"note      a full pod uses {advice.capacity_cpus / measured.cpus:.0%} of its CPU: "
            "it waits for something else. Find out for what, or measure a pod with less (--cpus)"
        )
    elif advice.target_rps < advice.capacity_rps / 2:
        console.print(
            f"note      at {advice.target} % CPU a pod does {advice.target_rps:,.0f}/s, though it "
            f"can do {advice.capacity_rps:,.0f}/s: with time to spare its batches are smaller. So "
            "the autoscaler adds pods early; what bounds the cost is the maximum"
        )


def _artifact() -> Manifest:
    try:
        return read_manifest(Settings.from_env().artifact_dir)
    except Refusal as refusal:
        raise SizingError(str(refusal)) from None


def _machine() -> str:
    for line in Path("/proc/cpuinfo").read_text().splitlines():
        if line.startswith("model name"):
            return line.partition(":")[2].strip()
    return platform.machine()


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="python -m tools.size",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--peak-rps", type=positive, help="requests a second in the busiest minute")
    parser.add_argument("--average-rps", type=positive, help="requests a second over the day")
    parser.add_argument("--cpus", type=positive, default=1.0, help="of one pod (1)")
    parser.add_argument("--image", help="run this image (default: the last that make image built)")
    parser.add_argument(
        "--seconds", type=positive, default=10.0, help="of each step, at least (10)"
    )
    parser.add_argument("--check", action="store_true", help="try the advice out")
    arguments = parser.parse_args()
    if not arguments.check and not (arguments.peak_rps and arguments.average_rps):
        parser.error("say what traffic is expected, --peak-rps and --average-rps, or --check")
    if arguments.seconds < LEAST_SECONDS:
        parser.error(f"--seconds {arguments.seconds:g}: expected at least {LEAST_SECONDS:g}")
    return arguments


if __name__ == "__main__":
    sys.exit(main())
