"""Find out what one pod can do, and what to ask of the cluster for the traffic that is expected.

    python -m tools.size --peak-rps 900 --average-rps 300    about 4 minutes, on an idle machine
    python -m tools.size --check                             about 1 minute: does the advice hold?

Writes sizing.yaml (a patch for kustomize), sizing.json and sizing.png to k8s/overlays/production.
"""

from __future__ import annotations

import argparse
import platform
import re
import sys
import tomllib
from datetime import UTC, datetime
from pathlib import Path

import msgspec

from loadtests.slo import Slo
from service.artifact import Manifest, read_manifest
from service.errors import Refusal
from service.settings import Settings
from tools.command import Parser
from tools.size import SizingError, chart, patch
from tools.size.advice import Sizing, advise
from tools.size.check import check
from tools.size.measured import Measured
from tools.size.staircase import climb
from tools.size.stand import ROOT, stand
from tools.size.terminal import console, show_advice, show_step

FOLDER = ROOT / "k8s" / "overlays" / "production"
RECORD = FOLDER / "sizing.json"


def main() -> int:
    arguments = _arguments()
    try:
        artifact, slo = read_manifest(Settings.from_env().artifact_dir), Slo.read()
        if arguments.check:
            return 0 if check(Sizing.read(RECORD), artifact, slo) else 1
        measured = measure(arguments.cpus, artifact, slo)
        advice = advise(measured, arguments.peak_rps, arguments.average_rps)
        write(Sizing(measured=measured, advice=advice))
        return 0
    except (SizingError, Refusal) as error:
        console.print(f"[bold red]not sized:[/] {error}")
        return 2
    except KeyboardInterrupt:
        return 130


def measure(cpus: float, artifact: Manifest, slo: Slo) -> Measured:
    """Return what a pod of so many CPUs can do; raises SizingError if it cannot be started."""
    console.print(f"service   {artifact.version}, {cpus:g} CPU")
    with stand(cpus, artifact) as service:
        console.print(f"started   ready after {service.start_seconds:.1f} s")
        console.print(f"promise   p99 {slo.p99_ms:g} ms, errors {slo.error_ratio:.3%}")
        steps = climb(service.step, slo, lambda step: show_step(step, slo))
        return Measured(
            version=artifact.version,
            when=datetime.now(UTC).isoformat(timespec="seconds"),
            how=f"pinned processes, Python {platform.python_version()}",
            machine=_machine(),
            cpus=cpus,
            p99_ms=slo.p99_ms,
            error_ratio=slo.error_ratio,
            start_seconds=service.start_seconds,
            memory_bytes=service.memory_bytes,
            steps=steps,
        )


def write(sizing: Sizing) -> None:
    name = str(tomllib.loads((ROOT / "service.toml").read_text())["name"])
    RECORD.write_bytes(msgspec.json.format(msgspec.json.encode(sizing), indent=1) + b"\n")
    (FOLDER / "sizing.yaml").write_text(patch.text(sizing, name))
    chart.draw(FOLDER / "sizing.png", sizing, name)
    show_advice(sizing)
    console.print(f"written   sizing.yaml, .json and .png in {FOLDER.relative_to(ROOT)}")


def _machine() -> str:
    found = re.search(r"^model name\s*: (.+)$", Path("/proc/cpuinfo").read_text(), re.M)
    return found[1] if found else platform.machine()


def _arguments() -> argparse.Namespace:
    parser = Parser("tools.size", __doc__, "not sized")
    rate = "a number of requests a second"
    peak, average = parser.number("PEAK_RPS", rate), parser.number("AVERAGE_RPS", rate)
    parser.add_argument("--peak-rps", type=peak, default=0, help="requests/s, busiest minute")
    parser.add_argument("--average-rps", type=average, default=0, help="requests/s, all day")
    cores = parser.number("CPUS", "a number of cores")
    parser.add_argument("--cpus", type=cores, default=1.0, help="of one pod, whole ones (1)")
    parser.add_argument("--check", action="store_true", help="try the advice out")
    given = parser.parse_args()
    if not given.check and not 0 < given.average_rps <= given.peak_rps:
        parser.error("say what traffic is expected: PEAK_RPS, and AVERAGE_RPS over 0 and no higher")
    return given


if __name__ == "__main__":
    sys.exit(main())
