"""Watches the arbiter load the model, which no worker's heartbeat covers: a hang is told and ended.

A lock that never comes, or a pool that waits for threads, would otherwise be silent for ever.
"""

from __future__ import annotations

import faulthandler
import logging
import os

from gevent import monkey

from service.arbiter import START_SECONDS, TELL_AFTER_SECONDS
from service.log_writer import stdout

log = logging.getLogger("service.loading")

# gevent's would need the hub, which has no turn while the model loads.
_new_lock = monkey.get_original("_thread", "allocate_lock")
_start_thread = monkey.get_original("_thread", "start_new_thread")


class Loading:
    """From its making to `done`, in a native thread that is gone before the first fork."""

    def __init__(self) -> None:
        self._loaded, self._ended = _new_lock(), _new_lock()
        self._loaded.acquire()
        self._ended.acquire()
        _start_thread(self._watch, ())
        # A call that keeps the interpreter to itself keeps it from the thread too; this is C. To
        # stderr by its number, since Python has no sys.stderr where that was closed.
        faulthandler.dump_traceback_later(START_SECONDS + 5, exit=True, file=2)

    def done(self) -> None:
        faulthandler.cancel_dump_traceback_later()
        self._loaded.release()
        self._ended.acquire()

    def _watch(self) -> None:
        waited, pause = 0, TELL_AFTER_SECONDS
        while not self._loaded.acquire(timeout=pause):
            waited += pause
            if waited >= START_SECONDS:
                log.error("The model did not load in %d s", waited)
                stdout.flush()
                os._exit(1)
            log.warning("The model is still loading after %d s", waited)
            pause = min(waited, START_SECONDS - waited)
        self._ended.release()
