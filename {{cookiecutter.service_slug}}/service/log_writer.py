"""The one way to stdout: a native thread writes all lines of a process, so that nobody else waits.

A reader that stalls lets the pipe fill up, and then a write takes as long as the reader does. So
lines wait here, up to a bound. What is over it is lost and counted, and told once it goes on.
"""

from __future__ import annotations

import atexit
import fcntl
import logging
import os
import select
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from typing import Any

from gevent import monkey

MOST_BYTES = 2 * 1024 * 1024  # that wait; besides, the thread may hold as many
PAUSE_SECONDS = 0.05  # between two rounds: lines that come together are written together
FLUSH_SECONDS = 1.0

log = logging.getLogger("service.log_writer")

# gevent's would switch greenlets, which must not happen in a put, and cannot in a native thread.
_new_lock = monkey.get_original("_thread", "allocate_lock")
_new_queue = monkey.get_original("queue", "SimpleQueue")
_select = monkey.get_original("select", "select")
_sleep = monkey.get_original("time", "sleep")
_start_thread = monkey.get_original("_thread", "start_new_thread")


class LogWriter:
    """Takes lines from any thread, greenlet or signal handler; nothing here needs a lock."""

    def __init__(self, descriptor: int) -> None:
        self._descriptor = descriptor
        self.reset()

    def reset(self) -> None:
        """Forget all lines: after a fork, those of the parent, whose thread writes them there."""
        self._queue: Any = _new_queue()  # of lines, and of locks that flush waits for
        self._waiting_bytes = 0
        self._lost = 0
        self._running = False

    def put(self, *lines: bytes) -> bool:
        """Add lines, their breaks included, all or none; return whether there was room.

        Never waits.
        """
        size = sum(map(len, lines))
        if self._waiting_bytes + size > MOST_BYTES:
            self._lost += len(lines)
            return False
        self._waiting_bytes += size
        for line in lines:
            self._queue.put(line)
        if not self._running:
            _start_thread(self._run, ())
            self._running = True
        return True

    def flush(self) -> None:
        """Return when all lines are written, or after FLUSH_SECONDS."""
        written = _new_lock()
        written.acquire()
        self._queue.put(written)
        if self._running:
            written.acquire(timeout=FLUSH_SECONDS)

    def _run(self) -> None:
        while True:
            with suppress(Exception):  # MemoryError, say, which must not end the thread
                self._round()
            _sleep(PAUSE_SECONDS)

    def _round(self) -> None:
        """Write what there is, or the next line."""
        items = [self._queue.get()]
        items += [self._queue.get_nowait() for _ in range(self._queue.qsize())]
        self._waiting_bytes = 0  # not reduced: no sum of several threads that may drift
        if lines := [item for item in items if isinstance(item, bytes)]:
            with self._alone():
                failed = sum(self._write(piece) for piece in _pieces(lines))
            self._lost += failed
            if self._lost and not failed:
                lost, self._lost = self._lost, 0
                log.warning("%d log lines were lost while stdout was not read", lost)
        for item in items:
            if not isinstance(item, bytes):
                item.release()

    @contextmanager
    def _alone(self) -> Iterator[None]:
        """Keep the service's other processes from writing: a long line is written in parts.

        The lock is the kernel's, on stdout itself; it goes with a process that is killed.
        """
        with suppress(OSError):  # of a kind that takes no lock
            fcntl.lockf(self._descriptor, fcntl.LOCK_EX)
        yield
        with suppress(OSError):
            fcntl.lockf(self._descriptor, fcntl.LOCK_UN)

    def _write(self, piece: list[bytes]) -> int:
        """Write some lines; return how many are lost: nobody can read them, or the disk is full."""
        content = b"".join(piece)
        while content:
            try:
                content = content[os.write(self._descriptor, content) :]
            except BlockingIOError:  # stdout may be shared with a program that does not wait
                _select([], [self._descriptor], [])
            except OSError:
                return len(piece)
        return 0


def _pieces(lines: list[bytes]) -> list[list[bytes]]:
    """Return the lines, as many together as a pipe takes whole, whoever else writes to it."""
    pieces: list[list[bytes]] = []
    room = 0
    for line in lines:
        if len(line) > room:
            pieces.append([])
            room = select.PIPE_BUF
        pieces[-1].append(line)
        room -= len(line)
    return pieces


stdout = LogWriter(1)
os.register_at_fork(after_in_child=stdout.reset)
atexit.register(stdout.flush)
