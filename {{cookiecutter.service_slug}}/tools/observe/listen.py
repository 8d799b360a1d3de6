"""The stand-in for Datadog's Agent: a UDP socket on this machine, and a thread that reads it."""

from __future__ import annotations

import socket
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager

from tools.observe.dogstatsd import parse
from tools.observe.windows import Windows

MAX_DATAGRAM = 65535
# What the kernel keeps while the screen is being drawn; it gives less where it allows less.
BUFFER = 4 * 1024 * 1024


@contextmanager
def listening(windows: Windows) -> Iterator[str]:
    """Fill the windows with what arrives at the address yielded, a value for DD_DOGSTATSD_URL."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as receiver:
        receiver.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, BUFFER)
        receiver.bind(("127.0.0.1", 0))
        host, port = receiver.getsockname()
        stopping = threading.Event()

        def receive() -> None:
            while not stopping.is_set():
                for item in parse(receiver.recv(MAX_DATAGRAM)):
                    windows.add(item, time.monotonic())

        thread = threading.Thread(target=receive)
        thread.start()
        try:
            yield f"udp://{host}:{port}"
        finally:
            stopping.set()
            receiver.sendto(b"", (host, port))  # wakes it
            thread.join()
