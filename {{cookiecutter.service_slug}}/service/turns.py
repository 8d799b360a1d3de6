"""Turns among connections, so that none keeps the others waiting, however much it has to say."""

from __future__ import annotations

import time

import gevent
from gevent.event import Event

# gevent changes greenlets only where a socket has nothing to give. Connections that always have
# more, as bodies without end, would keep all others waiting. So between two looks at the sockets
# they have so long, all of them together; then they line up, one for each look. (Plain requests
# wait for such a look anyway, see keepalive.py.)
TURN_SECONDS = 0.005
_turn_began = 0.0
_last_in_line = Event()
_last_in_line.set()


def take_turns() -> None:
    """Let the other connections have a turn, unless they have just had one."""
    global _turn_began, _last_in_line
    if time.monotonic() - _turn_began < TURN_SECONDS:
        return
    ahead, _last_in_line = _last_in_line, (mine := Event())
    try:
        ahead.wait()
        if time.monotonic() - _turn_began > TURN_SECONDS:  # those ahead have left nothing
            gevent.sleep(1e-6)  # sleep(0) may come back without a look at the sockets
            _turn_began = time.monotonic()
    finally:
        mine.set()
