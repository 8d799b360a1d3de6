"""What the kernel knows of a connection, asked without waiting and without taking anything."""

from __future__ import annotations

import fcntl
import termios
from collections.abc import Iterable
from typing import Any

from gevent import monkey

# gevent's poll would switch greenlets; a look that does not wait needs the original.
_poll = monkey.get_original("select", "poll")


def has_data(client: Any) -> bool:
    """Tell whether something has arrived that was not read yet."""
    return fcntl.ioctl(client.fileno(), termios.FIONREAD, bytes(4)) != bytes(4)


def gone(descriptors: Iterable[int]) -> list[int]:
    """Return the sockets whose connection has been reset.

    Not those whose client has closed it: until something is sent, that looks the same as a client
    that has nothing more to say, and waits for its answer.
    """
    look = _poll()
    for descriptor in descriptors:
        look.register(descriptor, 0)  # what ends a connection is reported unasked
    return [descriptor for descriptor, _ in look.poll(0)]
