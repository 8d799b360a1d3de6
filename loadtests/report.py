"""What a run leaves behind: bench.json for programs, bench.md for people, a chart a model."""

from __future__ import annotations

import json
import os
import platform
import shlex
import subprocess
import sys
from collections.abc import Mapping, Sequence
from dataclasses import asdict, replace
from datetime import UTC, datetime
from pathlib import Path

from loadtests import chart
from loadtests.results import TARGET_CONNECTIONS, Record, Result, gather, judge
from loadtests.servers import OURS, SERVERS

MODEL_TITLES = {
    "lr": "StandardScaler + LogisticRegression",
    "rf": "RandomForestClassifier, 100 trees",
}

INTRODUCTION = """\
All servers of a model wait on one core, one worker each, and wrk on another asks one of them at a
time, in turn and round after round. Answers were checked first; memory is that of the server alone.
Telemetry and access logs are off, except where a title says so: then metrics, and traces at the
rate that the agent asks for, are sent to an agent beside wrk, counted there, and a request in a
hundred has a log line. Figures are medians over the rounds. Only ratios mean anything, for machines
differ and change their speed while they measure; they are medians of those within a round, with the
95 % interval in brackets. Rivals ask their models with an array, unless a title says a data
frame; this template hands its model a frame, of which its first step makes an array. It keeps up
with raw WSGI on gunicorn because plain requests do not go through gunicorn's parser."""


def write(
    folder: Path,
    records: Sequence[Record],
    memory: Mapping[tuple[str, str], float],
    versions: Mapping[str, Mapping[str, str]],
    failures: Mapping[str, str],
) -> list[str]:
    """Write all files to `folder` and return the verdicts.

    `memory`: megabytes, by model and server.
    """
    folder.mkdir(parents=True, exist_ok=True)
    results = gather(records)
    verdicts = [line for result in results for line in judge(result)]
    about = {
        "when": datetime.now(UTC).isoformat(timespec="minutes"),
        "command": shlex.join(["python", "-m", "loadtests.bench", *sys.argv[1:]]),
        **_machine(),
    }
    document = {
        "about": about,
        "versions": versions,
        "failures": failures,
        "verdicts": verdicts,
        "summaries": [
            {**asdict(result.cell), "server": server, **asdict(summary)}
            | {"pss_mb": memory[result.cell.model, server]}
            for result in results
            for server, summary in result.summaries().items()
        ],
        "measurements": [
            {**asdict(record.cell), "server": record.server, "turn": record.turn}
            | asdict(record.sample)
            for record in records
        ],
    }
    (folder / "bench.json").write_text(json.dumps(document, indent=2) + "\n")

    sections = [
        "# Side by side",
        INTRODUCTION,
        _bullets(about),
        _disturbance(records),
        *([f"## Failures\n\n{_bullets(failures)}"] if failures else []),
        "## Verdicts\n\n" + "\n".join(f"- {line}" for line in verdicts),
        *(_table(result, memory) for result in results),
        "## Versions\n\n" + _bullets({SERVERS[n].title: _versions(v) for n, v in versions.items()}),
    ]
    (folder / "bench.md").write_text("\n\n".join(sections) + "\n")

    summaries = {result.cell: result.summaries() for result in results}
    for cell, servers in summaries.items():
        if cell.rows == 1 and cell.connections == TARGET_CONNECTIONS:
            alone = summaries.get(replace(cell, connections=1), {})
            title = MODEL_TITLES[cell.model]
            chart.draw(folder / f"bench-{cell.model}.png", title, servers, alone)
    return verdicts


def _table(result: Result, memory: Mapping[tuple[str, str], float]) -> str:
    cell, servers = result.cell, result.summaries()
    lines = [
        f"## {MODEL_TITLES[cell.model]}: {cell.size}, {cell.connections} connections",
        "",
        "| server | requests/s | slowest to fastest round | ours / this | p50 ms | ours / this "
        "| p99 ms | CPU ms a request | this / ours | PSS MB | errors |",
        "|---|--:|--:|--:|--:|--:|--:|--:|--:|--:|--:|",
    ]
    fastest_first = sorted(servers.items(), key=lambda item: -item[1].requests_per_second)
    for name, this in fastest_first:
        speed, wait, cost = "–", "–", "–"
        if OURS.name in servers:
            speed = str(result.ratio("requests_per_second", OURS.name, name))
            wait = str(result.ratio("p50_ms", OURS.name, name))
            cost = f"{result.ratio('cpu_ms_per_request', name, OURS.name).middle:.2f}"
        title = f"**{SERVERS[name].title}**" if name == OURS.name else SERVERS[name].title
        lines.append(
            f"| {title} | {this.requests_per_second:,.0f} "
            f"| {this.slowest:,.0f} to {this.fastest:,.0f} | {speed} "
            f"| {this.p50_ms:.2f} | {wait} | {this.p99_ms:.1f} | {this.cpu_ms_per_request:.3f} "
            f"| {cost} | {memory[cell.model, name]:.0f} | {this.errors} |"
        )
    return "\n".join(lines)


def _disturbance(records: Sequence[Record]) -> str:
    shares = [record.sample.disturbance for record in records]
    disturbed = sum(share > 0.03 for share in shares)
    return (
        f"Other processes took more than 3 % of the server's core in {disturbed} of {len(shares)} "
        f"measurements ({max(shares, default=0.0):.0%} at worst)."
    )


def _versions(packages: Mapping[str, str]) -> str:
    return ", ".join(f"{name} {version}" for name, version in packages.items())


def _bullets(items: Mapping[str, str]) -> str:
    return "\n".join(f"- {name}: {text}" for name, text in items.items())


def _machine() -> dict[str, str]:
    cpu = next(
        line.partition(": ")[2]
        for line in Path("/proc/cpuinfo").read_text().splitlines()
        if line.startswith("model name")
    )
    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 2**30
    wrk = subprocess.run(["wrk", "--version"], capture_output=True, text=True).stdout
    return {
        "CPU": f"{cpu}, {os.cpu_count()} cores",
        "memory": f"{memory:.0f} GiB",
        "kernel": f"{platform.system()} {platform.release()}",
        "Python": platform.python_version(),
        "wrk": wrk.split("[")[0].removeprefix("wrk ").strip(),
    }
