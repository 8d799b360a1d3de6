"""Faults of what has to do with a candidate: logged now and then, never passed on."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import gevent

log = logging.getLogger("service.shadow")

_faults, _next_logged = 0, 1


def note_fault() -> None:
    """Log the exception being handled, if it is the 1st, 2nd, 4th, 8th ... of this process."""
    global _faults, _next_logged
    _faults += 1
    if _faults == _next_logged:
        _next_logged *= 2
        try:
            log.exception(
                "what concerns the candidate failed %d times, the live service has not", _faults
            )
        except Exception:
            pass  # there is nobody left to tell


@contextmanager
def harmless() -> Iterator[None]:
    """Let no exception out of a block; or, as a decorator, of a function."""
    try:
        yield
    except Exception:
        note_fault()


def repeat(seconds: float, step: Callable[[], None]) -> None:
    """Call `step` for ever, with so many seconds in between, whatever it raises."""
    while True:
        with harmless():
            step()
        gevent.sleep(seconds)
