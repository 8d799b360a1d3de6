"""What the processes of a session use, read from /proc: CPU, memory; and who else was there."""

from __future__ import annotations

import os
from collections.abc import Iterable
from pathlib import Path

PROC = Path("/proc")
TICKS_PER_SECOND = os.sysconf("SC_CLK_TCK")


def processes(session: int) -> list[Path]:
    """Return the folders in /proc of the session's processes."""
    return [path for path in PROC.glob("[0-9]*") if _stat(path)[3:4] == [str(session)]]


def cpu_seconds(session: int) -> float:
    """Return user and system time, with that of children that have ended since."""
    ticks = sum(sum(map(int, _stat(process)[11:15])) for process in processes(session))
    return ticks / TICKS_PER_SECOND


def memory_bytes(session: int) -> int:
    """Return what each process has to itself, and once what they share.

    The share of each (PSS) would be too little here: the load generator maps the same libraries.
    """
    private = shared = 0
    for process in processes(session):
        lines = _read(process / "smaps_rollup").splitlines()[1:]
        if size := {words[0]: int(words[1]) * 1024 for words in map(str.split, lines)}:
            private += size["Private_Clean:"] + size["Private_Dirty:"]
            shared = max(shared, size["Shared_Clean:"] + size["Shared_Dirty:"])
    return private + shared


def busy_seconds(cores: Iterable[int]) -> float:
    """Return all that ran on these cores or was taken from them: user, nice, system, steal."""
    names = {f"cpu{core}" for core in cores}
    lines = map(str.split, _read(PROC / "stat").splitlines())
    ticks = [list(map(int, values[:8])) for name, *values in lines if name in names]
    # Of the eight, idle and iowait are the fourth and the fifth.
    return sum(sum(values[:3]) + sum(values[5:]) for values in ticks) / TICKS_PER_SECOND


def _stat(process: Path) -> list[str]:
    """Return what follows the name in /proc/PID/stat, proc(5)'s fields from 3; [] if it ended."""
    return _read(process / "stat").rpartition(") ")[2].split()


def _read(file: Path) -> str:
    """Return the text of a file of /proc, none if its process has ended."""
    try:
        return file.read_text()
    except OSError:
        return ""
