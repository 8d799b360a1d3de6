"""Threads of a model that would not be there in the service: lost by the fork, or in another loop.

A service loads its model, forks its workers, and predicts in a thread of each. What loading starts
for itself, as a session of onnxruntime does, is in none of them: each worker loads such a model.
"""

from __future__ import annotations

import gc
import os
from concurrent.futures import ThreadPoolExecutor
from multiprocessing.pool import Pool
from pathlib import Path
from typing import Any

from gevent.exceptions import LoopExit

# gevent makes Python's own threads parts of the loop of the thread that starts them.
TOO_EARLY = (
    "predict would wait for ever for a thread, a pool (ThreadPoolExecutor) or a queue that is made "
    "when model.py is loaded: make it in predict, `with ThreadPoolExecutor() as pool:`"
)


def lost_by_fork() -> set[str]:
    """Return the ids of the threads that a fork would not bring along; on Linux, none elsewhere.

    Those of libraries that know of forks, such as OpenBLAS, end before one and start again later.
    """
    tasks = Path("/proc/self/task")
    if not tasks.is_dir():
        return set()
    child = os.fork()
    if child == 0:
        os._exit(0)
    os.waitpid(child, 0)
    return {task.name for task in tasks.iterdir()}


def own_megabytes() -> int:
    """Return how much memory is this process's alone, and would be another's again; on Linux."""
    try:
        lines = Path("/proc/self/smaps_rollup").read_text().splitlines()
    except OSError:
        return 0
    return next(int(line.split()[1]) for line in lines if line.startswith("Anonymous:")) // 1024


def refuse_pools() -> None:
    """Have all pools that were made so far raise LoopExit when used, instead of waiting."""

    def refuse(*args: Any, **kwargs: Any) -> None:
        raise LoopExit(TOO_EARLY)

    for found in gc.get_objects():
        if issubclass(type(found), ThreadPoolExecutor):
            found.submit = refuse
        elif issubclass(type(found), Pool):
            found._check_running = refuse  # with which all its methods begin
