"""What a worker itself uses: CPU time and memory."""

from __future__ import annotations

import os
import time

from service.metrics import Metrics

PSS_SECONDS = 10  # the kernel walks all pages for it: milliseconds, so not often
_PAGE = os.sysconf("SC_PAGE_SIZE")


class Process:
    """Reports on the process it is in. Memory is known on Linux only."""

    def __init__(self, metrics: Metrics, worker_tag: str) -> None:
        self._metrics = metrics
        self._worker = worker_tag
        self._started = time.time()
        self._cpu = time.process_time()
        self._next_pss = 0.0

    def look(self) -> None:
        cpu = time.process_time()
        self._metrics.count("worker.cpu", cpu - self._cpu, self._worker)
        self._cpu = cpu
        self._metrics.gauge("worker.start_time", self._started, self._worker)
        try:
            with open("/proc/self/statm") as file:
                resident = int(file.read().split()[1]) * _PAGE
            self._metrics.gauge("worker.rss", resident, self._worker)
            if time.monotonic() < self._next_pss:
                return
            self._next_pss = time.monotonic() + PSS_SECONDS
            with open("/proc/self/smaps_rollup") as file:
                kilobytes = next(int(line.split()[1]) for line in file if line.startswith("Pss:"))
            self._metrics.gauge("worker.pss", kilobytes * 1024, self._worker)
        except OSError:
            pass  # not Linux
