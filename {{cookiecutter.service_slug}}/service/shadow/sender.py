"""Sends copies to the candidate and reads its answers, in the time that live requests leave.

Whenever the worker has nothing else to do, many are read and sent in a row: most of what a copy
costs is that the processor's caches are full of other things.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass

import gevent
from gevent.event import Event
from gevent.threadpool import ThreadPool

from service.shadow.client import Client, Failed
from service.shadow.copies import MAX_WAITING, Pair, Queue
from service.shadow.faults import note_fault
from service.shadow.guard import LAG_CHECK_SECONDS, Guard
from service.shadow.judge import Judge
from service.shadow.settings import ShadowSettings

CONNECTIONS = 4  # and as many copies are under way at a time
COPIES_IN_A_ROW = 8  # before live requests have another chance
MAX_AGE_SECONDS = 5.0  # in the queue
READ_SECONDS = 0.1  # longest that answers wait to be read


@dataclass
class Sender:
    """Takes pairs from the queue, sends their requests, and passes them on to the judge.

    One greenlet goes round: it waits until there is something to send or to read, then until the
    worker is idle, reads what has come, and sends what it may. `wait_until_idle` returns True once
    the worker has nothing to do, or False if that takes more than so many seconds.
    """

    settings: ShadowSettings
    queue: Queue
    guard: Guard
    judge: Judge
    wait_until_idle: Callable[[float], bool]

    def __post_init__(self) -> None:
        target, timeout_ms = self.settings.target, self.settings.shadow_timeout_ms
        # The head of a copy: nothing of the client's, and after how long nobody waits any more.
        self._head = (
            f"POST {target.path}/predict HTTP/1.1\r\nHost: {target.authority}\r\n"
            "Content-Type: application/json\r\nAccept: application/json\r\n"
            f"X-Shadow-Request: 1\r\nX-Request-Timeout-Ms: {timeout_ms}\r\n"
        )
        resolver = ThreadPool(1)  # looking up a name may take for ever
        self._free = [Client(target, timeout_ms / 1e3, resolver) for _ in range(CONNECTIONS)]
        self.under_way: dict[Client, Pair] = {}
        self._answered = Event()

    def start(self) -> None:
        self._greenlet = gevent.spawn(self._run)

    def stop(self) -> None:
        """End; what is under way stays so."""
        self._greenlet.kill(block=False)
        for client in [*self._free, *self.under_way]:
            client.close()

    def _run(self) -> None:
        while True:
            try:
                self._wait()
                idle = self.wait_until_idle(READ_SECONDS)
                for client in list(self.under_way):
                    self._advance(client, self._read)
                for _ in range(COPIES_IN_A_ROW):
                    if idle and self._can_send and self.queue:
                        # The connection idle for longest: what nobody asked for has come by now.
                        client = self._free.pop(0)
                        self.under_way[client] = self.queue.get()
                        self._advance(client, self._send)
            except Exception:
                note_fault()
                gevent.sleep(LAG_CHECK_SECONDS)  # a fault that comes at once must not spin

    @property
    def _can_send(self) -> bool:
        full = len(self.judge.waiting) >= MAX_WAITING
        return bool(self._free) and not full and not self.guard.lag.lagging

    def _wait(self) -> None:
        """Return when there is something to send, or to read."""
        can_send = self._can_send
        if can_send and self.queue:
            return
        event = self.queue.arrived if can_send else self._answered
        event.clear()
        try:
            due = [client.watch(event.set) for client in self.under_way]
            if not can_send:
                due.append(time.monotonic() + LAG_CHECK_SECONDS)
            event.wait(max(0.0, min(due) - time.monotonic()) if due else None)
        finally:
            for client in self.under_way:
                client.unwatch()

    def _advance(self, client: Client, step: Callable[[Client, Pair], bool]) -> None:
        """Take a step with a pair under way; if that was its last, pass it on to the judge."""
        pair = self.under_way[client]
        try:
            if not step(client, pair):
                return
        except Failed as failed:
            pair.verdict, pair.reason = "candidate_error", str(failed)
            self.guard.learn(pair.reason)
        except Exception:
            note_fault()
            pair.verdict, pair.reason = "not_compared", "fault"
        self.judge.waiting.append(self.under_way.pop(client))
        self._free.append(client)

    def _send(self, client: Client, pair: Pair) -> bool:
        """Send a copy, unless there is something against it; then return True."""
        if pair.waited > MAX_AGE_SECONDS:
            pair.verdict = "expired"
            return True
        if reason := self.guard.refuses_sending():
            pair.reason = reason
            return True
        head = (
            f"{self._head}X-Shadow-Id: {pair.pair_id}\r\nX-Request-Id: {pair.pair_id}\r\n"
            f"Content-Length: {len(pair.body)}\r\n\r\n"
        )
        client.send(head.encode("latin-1") + pair.body, pair.pair_id)
        pair.body = b""
        return False

    def _read(self, client: Client, pair: Pair) -> bool:
        """Take the answer, if it has come; then return True."""
        if (answer := client.poll()) is None:
            return False
        pair.answer = answer
        if answer.status >= 300:
            raise Failed("redirect" if answer.status < 400 else f"{answer.status // 100}xx")
        self.guard.learn(None)
        return True
