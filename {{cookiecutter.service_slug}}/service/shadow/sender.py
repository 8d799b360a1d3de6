"""Sends copies to the candidate and compares its answers, in the time that live requests leave.

A few greenlets, each with one connection. Before each copy, and before they look at its answer,
they wait until the worker has nothing else to do.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass

import gevent
from gevent.threadpool import ThreadPool

from service.shadow.admission import LOOK_SECONDS, Governor, Switch
from service.shadow.breaker import Breaker
from service.shadow.client import Client, Failed
from service.shadow.comparison import Comparator, NotJson
from service.shadow.copies import Copy, Queue
from service.shadow.middleware import inference_ms
from service.shadow.record import Faults, Pair, Record
from service.shadow.settings import ShadowSettings

MAX_AGE = 5.0  # seconds in the queue
# Longest that an answer waits to be looked at.
READ_SECONDS = 0.1
# Tells that the candidate is in trouble, or not there. The rest says only that it is wrong.
ILL = {"timeout", "connect", "protocol", "encoded", "5xx", "too_large"}


@dataclass
class Sender:
    settings: ShadowSettings
    queue: Queue
    breaker: Breaker
    switch: Switch
    governor: Governor
    comparator: Comparator
    record: Record
    faults: Faults
    # Returns when the worker has nothing better to do, or after so many seconds.
    rest: Callable[[float], None]
    under_way: int = 0

    def __post_init__(self) -> None:
        self._target = self.settings.target
        # The candidate need not go on with what nobody waits for.
        self._head = (
            f"Host: {self._target.authority}\r\nX-Shadow-Request: 1\r\n"
            f"X-Request-Timeout-Ms: {self.settings.shadow_timeout_ms}\r\n"
        )
        resolver = ThreadPool(1)  # looking up a name may take for ever
        seconds, most = self.settings.shadow_timeout_ms / 1e3, self.settings.shadow_max_answer_bytes
        self._clients = [
            Client(self._target, seconds, most, resolver, lambda: self.rest(READ_SECONDS))
            for _ in range(self.settings.shadow_concurrency)
        ]
        self._greenlets: list[gevent.Greenlet[..., None]] = []

    def start(self) -> None:
        self._greenlets = [gevent.spawn(self._run, client) for client in self._clients]

    def stop(self) -> None:
        gevent.killall(self._greenlets, block=False)
        for client in self._clients:
            client.close()

    def _run(self, client: Client) -> None:
        while True:
            try:
                copy = self.queue.get()
                self.under_way += 1
                try:
                    self._handle(client, copy)
                finally:
                    self.under_way -= 1
            except Exception:
                self.faults.note()
                gevent.sleep(LOOK_SECONDS)  # a fault that comes at once must not spin

    def _handle(self, client: Client, copy: Copy) -> None:
        """Make exactly one entry in the record."""
        pair = Pair(copy)
        try:
            self.rest(MAX_AGE)
            while self.governor.lagging:
                gevent.sleep(LOOK_SECONDS)
            pair.waited = time.monotonic() - copy.made
            if pair.waited <= MAX_AGE:
                self._ask(client, copy, pair)
            else:
                pair.verdict = "expired"
        except Exception:
            self.faults.note()
            pair.verdict, pair.result = "not_compared", "fault"
        self.record.pair(pair)

    def _ask(self, client: Client, copy: Copy, pair: Pair) -> None:
        """Send a copy, unless there is something against it, and judge what comes back."""
        if self.switch.off or self.breaker.holds:
            pair.result = "switched_off" if self.switch.off else "breaker"
            return
        try:
            answer = client.send(self._request(copy))
            pair.candidate = {
                "version": answer.headers.get("x-model-version", "")[:100] or None,
                "status": answer.status,
                "inference_ms": inference_ms(answer.headers.get("server-timing", "")),
                "total_ms": round(answer.seconds * 1e3, 3),
            }
            pair.result = _result(answer.status)
        except Failed as failed:
            pair.result = str(failed)
        if pair.result in ILL:
            self.breaker.failed()
        else:
            self.breaker.succeeded()
        pair.verdict = "candidate_error"
        if pair.result == "ok":
            try:
                pair.comparison = self.comparator.compare(copy.answer, answer.body)
                pair.verdict = pair.comparison.verdict
            except NotJson:
                pair.result = "not_json"
            except ValueError:
                pair.verdict, pair.result = "not_compared", "live_not_json"

    def _request(self, copy: Copy) -> bytes:
        return (
            f"POST {self._target.path}{copy.route} HTTP/1.1\r\n{self._head}{copy.head}"
            f"X-Shadow-Id: {copy.pair_id}\r\nContent-Length: {len(copy.body)}\r\n\r\n"
        ).encode("latin-1") + copy.body


def _result(status: int) -> str:
    return "ok" if status < 300 else "redirect" if status < 400 else f"{status // 100}xx"
