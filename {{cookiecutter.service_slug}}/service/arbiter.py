"""gunicorn's arbiter, without what makes one worker's trouble everybody's.

A worker that leaves has a successor beside it. One that does not start is tried again, after a
pause that grows; it ends the service only if none has ever started. One that is stuck before it
serves, where gunicorn's heartbeat does not look yet, is told of and ended.
"""

from __future__ import annotations

import signal
import time
from typing import Any

from gunicorn import arbiter
from gunicorn.errors import HaltServer

# What a worker's shared byte says, to both sides of the fork.
STARTING, READY, LEAVING = range(3)

# A worker has so long to load and warm up, as the manifests' startupProbe grants it.
START_SECONDS = 120
TELL_AFTER_SECONDS = 5  # and then each time that twice as much has passed
LONGEST_PAUSE_SECONDS = 60

ENDING = {signal.SIGTERM, signal.SIGQUIT, signal.SIGINT}  # by which a worker is asked to end


class Arbiter(arbiter.Arbiter):  # type: ignore[misc]
    """What gunicorn's arbiter becomes in lifecycle.py: gunicorn has no setting for its class."""

    # No exit code, which a predict may cause, ends the service: `ended` decides.
    WORKER_BOOT_ERROR = APP_LOAD_ERROR = -1

    _num_workers: int  # as many as the operator wants
    _started = False  # has any worker ever?
    _failures = 0  # starts in a row
    _last_failed = 0  # by its age, which counts workers
    _paused_until = 0.0

    def manage_workers(self) -> None:
        wanted = self._num_workers
        self._num_workers += sum(each.state[0] == LEAVING for each in self.WORKERS.values())
        try:
            super().manage_workers()
        finally:
            self._num_workers = wanted

    def spawn_workers(self) -> None:
        if time.monotonic() >= self._paused_until:
            super().spawn_workers()

    def spawn_worker(self) -> Any:
        # Until it has handlers of its own, a worker has this process's, in which a request to end
        # would be lost: it waits until worker.py asks for it.
        signal.pthread_sigmask(signal.SIG_BLOCK, ENDING)
        try:
            return super().spawn_worker()
        finally:
            signal.pthread_sigmask(signal.SIG_UNBLOCK, ENDING)

    def murder_workers(self) -> None:
        super().murder_workers()
        for pid, worker in [*self.WORKERS.items()]:
            seconds = time.monotonic() - worker.made
            if worker.state[0] != STARTING or seconds < worker.patience:
                continue
            if seconds < START_SECONDS:
                self.log.warning("Worker (pid:%s) is still starting after %.0f s", pid, seconds)
                worker.patience = min(2 * worker.patience, START_SECONDS)
            else:
                self.log.error("Worker (pid:%s) did not start in %d s", pid, START_SECONDS)
                self.kill_worker(pid, signal.SIGKILL)

    def ended(self, worker: Any) -> None:
        """Take note of a worker's end. Raises HaltServer if the service cannot start at all."""
        if worker.state[0] != STARTING:
            self._started, self._failures = True, 0
            return
        if not self.LISTENERS or len(self.WORKERS) >= self._num_workers:
            return  # it was told to go
        started = [each.age for each in self.WORKERS.values() if each.state[0] != STARTING]
        if not started and not self._started:
            raise HaltServer("Worker failed to boot.", arbiter.Arbiter.WORKER_BOOT_ERROR)
        if started and max(started) > self._last_failed:
            self._failures = 0
        self._last_failed = worker.age
        self._failures += 1
        pause = min(2 ** (self._failures - 1), LONGEST_PAUSE_SECONDS)
        self._paused_until = time.monotonic() + pause
        self.log.error(
            "A worker did not start, %d in a row: trying again in %d s", self._failures, pause
        )

    def handle_hup(self) -> None:
        # gunicorn's reload keeps the application that was loaded, and its new workers with it.
        self.log.warning("SIGHUP: the artifact is not reloaded; restart the service, or roll out")

    def handle_usr2(self) -> None:
        # The old arbiter would have to go, which in a container is process 1.
        self.log.warning("SIGUSR2: the program is not replaced; restart the service, or roll out")
