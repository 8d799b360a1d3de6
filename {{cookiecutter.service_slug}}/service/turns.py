"""Turns among connections, so that none keeps the others waiting, however much it has to say."""

from __future__ import annotations

import time
from typing import Any

import gevent
from gevent.event import Event

from service.sockets import has_data

# gevent changes greenlets only where a socket has nothing to give. Connections that always have
# more, bodies without end or requests in a row, would keep all others waiting. So between two looks
# at the sockets they have so long, all of them together; then they line up, one for each look.
TURN_SECONDS = 0.005
_turn_began = 0.0
_last_in_line = Event()
_last_in_line.set()


def take_turns(client: Any = None) -> None:
    """Let the other connections have a turn, unless they have just had one.

    `client`: line up only if this socket has more to give; else to wait for it is a turn for all.
    """
    global _turn_began, _last_in_line
    if time.monotonic() - _turn_began < TURN_SECONDS:
        return
    if client is not None and not has_data(client):
        _turn_began = time.monotonic()
        return
    ahead, _last_in_line = _last_in_line, (mine := Event())
    try:
        ahead.wait()
        if time.monotonic() - _turn_began > TURN_SECONDS:  # those ahead have left nothing
            gevent.sleep(1e-6)  # sleep(0) may come back without a look at the sockets
            _turn_began = time.monotonic()
    finally:
        mine.set()
