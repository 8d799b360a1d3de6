"""One timed cell: wrk on one core, and what the server's process tree on the other one spent."""

from __future__ import annotations

import json
import os
import subprocess
import time
from dataclasses import dataclass
from pathlib import Path

SERVER_CORE = 0
LOAD_CORE = 1
TICKS_PER_SECOND = os.sysconf("SC_CLK_TCK")
LOOK_SECONDS, MOST_LOOKS = 0.2, 50
WRK_SCRIPT = Path(__file__).with_name("wrk.lua")


@dataclass(frozen=True)
class Sample:
    requests: int
    requests_per_second: float
    p50_ms: float
    p99_ms: float
    # Answers of 4xx and 5xx, answers after more than 2 seconds (which wrk leaves out of the
    # percentiles), broken connections.
    errors: int
    cpu_ms_per_request: float
    # The share of the server's core that went to somebody else: a figure taken beside more than a
    # few percent is not worth much.
    disturbance: float


def load(url: str, bodies: Path, connections: int, seconds: int) -> dict[str, float]:
    """Run wrk on its own core and return what it counted."""
    command = ["taskset", "-c", str(LOAD_CORE), "wrk", "--threads=1"]
    command += [f"--connections={connections}", f"--duration={seconds}s", "--timeout=2s"]
    command += [f"--script={WRK_SCRIPT}", url, "--", str(bodies)]
    printed = subprocess.run(command, check=True, capture_output=True, text=True).stdout
    counted: dict[str, float] = json.loads(printed.splitlines()[-1])
    return counted


def measure(root: int, url: str, bodies: Path, connections: int, seconds: int) -> Sample:
    cpu, busy, start = tree_cpu_seconds(root), core_busy_seconds(), time.monotonic()
    wrk = load(url, bodies, connections, seconds)
    elapsed = time.monotonic() - start
    cpu, busy = tree_cpu_seconds(root) - cpu, core_busy_seconds() - busy
    requests = int(wrk["requests"])
    return Sample(
        requests=requests,
        requests_per_second=requests / wrk["seconds"],
        p50_ms=wrk["p50_ms"],
        p99_ms=wrk["p99_ms"],
        errors=int(wrk["refused"] + wrk["timeouts"] + wrk["broken"]),
        cpu_ms_per_request=1000 * cpu / max(requests, 1),
        disturbance=max(0.0, busy - cpu) / elapsed,
    )


def settle(core: int = SERVER_CORE) -> None:
    """Wait until servers have done what wrk asked of them and did not wait for."""
    for _ in range(MOST_LOOKS):
        busy = core_busy_seconds(core)
        time.sleep(LOOK_SECONDS)
        if core_busy_seconds(core) - busy < LOOK_SECONDS / 2:
            return


def process_tree(root: int) -> list[int]:
    """`root` and all that descend from it; sessions do not tell, some servers start new ones."""
    children: dict[int, list[int]] = {}
    for path in Path("/proc").glob("[0-9]*"):
        if fields := _stat(int(path.name)):
            children.setdefault(int(fields[1]), []).append(int(path.name))
    tree = [root]
    for pid in tree:  # grows while it is walked
        tree += children.get(pid, [])
    return tree


def tree_cpu_seconds(root: int) -> float:
    """User and system time of the tree, with that of children that have ended in between."""
    ticks = 0
    for pid in process_tree(root):
        ticks += sum(map(int, _stat(pid)[11:15]))
    return ticks / TICKS_PER_SECOND


def tree_pss_mb(root: int) -> float:
    """Memory with shared pages divided among those who share them."""
    return sum(memory(pid).pss_mb for pid in process_tree(root))


@dataclass(frozen=True)
class Memory:
    """Of one process: all it maps, its share of that, and what nobody else has."""

    rss_mb: float = 0.0
    pss_mb: float = 0.0
    private_mb: float = 0.0


def memory(pid: int) -> Memory:
    """Nothing if the process has ended."""
    try:
        rollup = Path(f"/proc/{pid}/smaps_rollup").read_text()
    except OSError:
        return Memory()
    lines = (line.split() for line in rollup.splitlines()[1:])
    megabytes = {words[0]: int(words[1]) / 1024 for words in lines}
    private = megabytes["Private_Clean:"] + megabytes["Private_Dirty:"]
    return Memory(megabytes["Rss:"], megabytes["Pss:"], private)


def cpu_seconds(pid: int) -> float:
    return sum(map(int, _stat(pid)[11:13])) / TICKS_PER_SECOND


def core_busy_seconds(core: int = SERVER_CORE) -> float:
    """All that ran on a core or was taken from it: user, nice, system and steal."""
    for line in Path("/proc/stat").read_text().splitlines():
        if line.startswith(f"cpu{core} "):
            user, nice, system, _idle, _iowait, _irq, _softirq, steal = map(int, line.split()[1:9])
            return (user + nice + system + steal) / TICKS_PER_SECOND
    raise RuntimeError(f"/proc/stat has no cpu{core}")


def _stat(pid: int) -> list[str]:
    """What follows the name in /proc/PID/stat, which proc(5) counts from 3; nothing if it ended."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(") ")[2].split()
    except OSError:
        return []
