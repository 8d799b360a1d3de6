"""A request's way to the candidate and back, while its caller waits."""

from __future__ import annotations

import random
import re
import time

from gevent.event import Event
from gevent.threadpool import ThreadPool

from service.shadow.client import Answer, Client, Failed
from service.shadow.settings import Target

MOST_CONNECTIONS = 64  # of a worker, and as many requests at a time
MOST_ANSWER_BYTES = 4 * 1024 * 1024
_VERSION = re.compile(r"[\w.-]{1,100}", re.ASCII)


class Hop:
    """Connections to the candidate, which are kept. Nothing of the caller's goes there but the
    body and, with something random behind it, the request's id.
    """

    def __init__(self, target: Target, budget: float) -> None:
        """`budget`: seconds for all of a request."""
        self._target, self._budget = target, budget
        self._resolver = ThreadPool(1)  # looking up a name may take for ever
        self._free: list[Client] = []
        self._made = 0

    def ask(self, body: bytes, request_id: str, seconds: float) -> Answer:
        """Return what the candidate answers within so many seconds, and within the budget.

        Raises Failed: as Client does, and `busy` if too many are being asked.
        """
        seconds = min(seconds, self._budget)
        # Its echo tells an answer from one that belongs to another caller, whatever happens on the
        # connection; no caller can foresee it.
        hop_id = f"{request_id[:95]}-{random.getrandbits(128):032x}"
        head = (
            f"POST {self._target.path}/predict HTTP/1.1\r\nHost: {self._target.authority}\r\n"
            "Content-Type: application/json\r\nAccept: application/json\r\n"
            f"X-Request-Timeout-Ms: {max(1, int(seconds * 1e3))}\r\nX-Request-Id: {hop_id}\r\n"
            f"Content-Length: {len(body)}\r\n\r\n"
        )
        client = self._take()
        try:
            client.send(head.encode("latin-1") + body, hop_id, seconds)
            answer = _wait(client)
            if answer.headers.get("x-request-id") != hop_id:
                raise Failed("protocol")
            if not _VERSION.fullmatch(answer.headers.get("x-model-version", "")):
                raise Failed("protocol")
            return answer
        except BaseException:
            client.close()  # or what is still to come would meet the next request
            raise
        finally:
            self._free.append(client)

    def close(self) -> None:
        for client in self._free:
            client.close()

    def _take(self) -> Client:
        if self._free:
            return self._free.pop()
        if self._made == MOST_CONNECTIONS:
            raise Failed("busy")
        self._made += 1
        return Client(self._target, self._budget, self._resolver, MOST_ANSWER_BYTES)


def _wait(client: Client) -> Answer:
    """Return the answer to what was sent; raises Failed, at the latest when time is up."""
    ready = Event()
    while (answer := client.poll()) is None:
        ready.clear()
        due = client.watch(ready.set)
        try:
            ready.wait(max(0.0, due - time.monotonic()))
        finally:
            client.unwatch()
    return answer
