"""What a tree of processes uses, read from /proc: CPU time, memory; and who else was there."""

from __future__ import annotations

import os
import threading
from collections.abc import Iterable
from pathlib import Path

PROC = Path("/proc")
TICKS_PER_SECOND = os.sysconf("SC_CLK_TCK")


def process_tree(root: int) -> list[int]:
    """Return `root` and all that descend from it."""
    children: dict[int, list[int]] = {}
    for path in PROC.glob("[0-9]*"):
        if fields := _stat(int(path.name)):
            children.setdefault(int(fields[1]), []).append(int(path.name))
    tree = [root]
    for pid in tree:  # grows while it is walked
        tree += children.get(pid, [])
    return tree


def cpu_seconds(root: int) -> float:
    """Return user and system time of the tree, with that of children that have ended since."""
    ticks = sum(sum(map(int, _stat(pid)[11:15])) for pid in process_tree(root))
    return ticks / TICKS_PER_SECOND


def memory_bytes(root: int) -> int:
    """Return what the tree needs: what each process has to itself, and once what they share.

    The share of each (PSS) would be too little here: the load generator maps the same libraries.
    Other users' processes hide it; then the sum of their resident sizes, which is too much.
    """
    private = shared = resident = 0
    for pid in process_tree(root):
        try:
            lines = (PROC / str(pid) / "smaps_rollup").read_text().splitlines()[1:]
        except PermissionError:
            resident += int((PROC / str(pid) / "statm").read_text().split()[1])
        except OSError:
            continue  # it has ended
        else:
            size = {words[0]: int(words[1]) * 1024 for words in map(str.split, lines)}
            private += size["Private_Clean:"] + size["Private_Dirty:"]
            shared = max(shared, size["Shared_Clean:"] + size["Shared_Dirty:"])
    return private + shared + resident * os.sysconf("SC_PAGE_SIZE")


class MemoryPeak(threading.Thread):
    """Looks twice a second until it is stopped."""

    def __init__(self, root: int) -> None:
        super().__init__(daemon=True)
        self.bytes = 0
        self._root, self._stopped = root, threading.Event()

    def run(self) -> None:
        while not self._stopped.wait(0.5):
            self.bytes = max(self.bytes, memory_bytes(self._root))

    def stop(self) -> int:
        self._stopped.set()
        self.join()
        return self.bytes


def busy_seconds(cores: Iterable[int]) -> float:
    """Return all that ran on these cores or was taken from them: user, nice, system, steal."""
    names = {f"cpu{core}" for core in cores}
    total = 0
    for line in (PROC / "stat").read_text().splitlines():
        name, *values = line.split()
        if name in names:
            user, nice, system, _idle, _iowait, irq, softirq, steal = map(int, values[:8])
            total += user + nice + system + irq + softirq + steal
    return total / TICKS_PER_SECOND


def _stat(pid: int) -> list[str]:
    """Return what follows the name in /proc/PID/stat, proc(5)'s fields from 3; [] if it ended."""
    try:
        return (PROC / str(pid) / "stat").read_text().rpartition(") ")[2].split()
    except OSError:
        return []
