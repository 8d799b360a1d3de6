"""Sends copies to the candidate and compares its answers, in the time that live requests leave.

One greenlet does it all. Whenever the worker has nothing else to do, it looks whether answers have
come and sends what copies have gathered. The answers are compared a while later. Both are done for
many in a row: most of what a copy costs is that the processor's caches are full of other things.
"""

from __future__ import annotations

import re
import time
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass

import gevent
from gevent.event import Event
from gevent.threadpool import ThreadPool

from service.shadow.admission import LOOK_SECONDS, Governor, Switch
from service.shadow.breaker import Breaker
from service.shadow.client import Client, Failed
from service.shadow.comparison import Comparator, NotJson
from service.shadow.copies import Queue
from service.shadow.record import Faults, Pair, Record
from service.shadow.settings import ShadowSettings

MAX_AGE = 5.0  # seconds in the queue
# Longest that answers wait to be looked at.
READ_SECONDS = 0.1
# So many are sent, or judged, before live requests have another chance.
IN_A_ROW = 8
# Tells that the candidate is in trouble, or not there. The rest says only that it is wrong.
ILL = {"timeout", "connect", "protocol", "encoded", "5xx", "too_large"}
_SAFE = re.compile(r"[\t\x20-\x7e]{1,1000}")


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
    # Returns when the worker has nothing better to do, or after so many seconds; says which.
    rest: Callable[[float], bool]

    def __post_init__(self) -> None:
        self._target, self._names = self.settings.target, self.settings.headers
        # The candidate need not go on with what nobody waits for.
        self._head = (
            f"Host: {self._target.authority}\r\nX-Shadow-Request: 1\r\n"
            f"X-Request-Timeout-Ms: {self.settings.shadow_timeout_ms}\r\n"
        )
        resolver = ThreadPool(1)  # looking up a name may take for ever
        seconds, most = self.settings.shadow_timeout_ms / 1e3, self.settings.shadow_max_answer_bytes
        self._free = [
            Client(self._target, seconds, most, resolver)
            for _ in range(self.settings.shadow_concurrency)
        ]
        self._asked: dict[Client, Pair] = {}
        self._ended: deque[Pair] = deque()  # what is left is to be judged, and recorded
        self._answered = Event()
        self._greenlet: gevent.Greenlet[..., None] | None = None

    @property
    def under_way(self) -> int:
        return len(self._asked) + len(self._ended)

    def start(self) -> None:
        self._greenlet = gevent.spawn(self._run)

    def stop(self) -> None:
        if self._greenlet is not None:
            self._greenlet.kill(block=False)
        for client in [*self._free, *self._asked]:
            client.close()

    def judge(self, pause: Callable[[], object]) -> None:
        """Compare the answers that have come, and make the one entry in the record that a copy has.

        `pause`: called before every few.
        """
        while self._ended:
            pause()
            for _ in range(min(IN_A_ROW, len(self._ended))):
                pair = self._ended[0]  # it may take turns with others, and not come to an end
                try:
                    self._judge(pair)
                except Exception:
                    self._fault(pair)
                self._ended.popleft()
                self.record.pair(pair)

    def _run(self) -> None:
        while True:
            try:
                self._wait()
                quiet = self.rest(READ_SECONDS)
                for client in list(self._asked):
                    self._go_on(client)
                self._expire()
                for _ in range(IN_A_ROW):
                    if quiet and self._ready and self.queue:
                        self._begin(self._free.pop(), Pair(self.queue.get()))
            except Exception:
                self.faults.note()
                gevent.sleep(LOOK_SECONDS)  # a fault that comes at once must not spin

    @property
    def _ready(self) -> bool:
        few = len(self._ended) < self.settings.shadow_queue
        return bool(self._free) and few and not self.governor.lagging

    def _wait(self) -> None:
        """Return when there is something to send or to look at."""
        ready = self._ready
        if ready and self.queue:
            return
        event = self.queue.arrived if ready else self._answered
        event.clear()
        try:
            due = [client.watch(event.set) for client in self._asked]
            if not ready:
                due.append(time.monotonic() + LOOK_SECONDS)
            event.wait(max(0.0, min(due) - time.monotonic()) if due else None)
        finally:
            for client in self._asked:
                client.unwatch()

    def _expire(self) -> None:
        now = time.monotonic()
        while self.queue and (age := now - self.queue.oldest.made) > MAX_AGE:
            self._ended.append(Pair(self.queue.get(), waited=age, verdict="expired"))

    def _begin(self, client: Client, pair: Pair) -> None:
        """Send a copy, unless there is something against it."""
        self._asked[client] = pair
        try:
            pair.waited = time.monotonic() - pair.copy.made
            if self.switch.off or self.breaker.holds:
                pair.result = "switched_off" if self.switch.off else "breaker"
            else:
                client.ask(self._request(pair))
                pair.copy.body = b""
                return
        except Failed as failed:
            self._failed(pair, failed)
        except Exception:
            self._fault(pair)
        self._end(client)

    def _go_on(self, client: Client) -> None:
        """Look whether an answer has come."""
        pair = self._asked[client]
        try:
            if (answer := client.look()) is None:
                return
            pair.answer = answer
            pair.verdict, pair.result = "candidate_error", _result(answer.status)
            self._tell_breaker(pair.result)
        except Failed as failed:
            self._failed(pair, failed)
        except Exception:
            self._fault(pair)
        self._end(client)

    def _end(self, client: Client) -> None:
        self._ended.append(self._asked.pop(client))
        self._free.append(client)

    def _judge(self, pair: Pair) -> None:
        if pair.answer and pair.result == "ok":
            try:
                pair.comparison = self.comparator.compare(pair.copy.answer, pair.answer.body)
                pair.verdict = pair.comparison.verdict
            except NotJson:
                pair.result = "not_json"
            except ValueError:
                pair.verdict, pair.result = "not_compared", "live_not_json"

    def _failed(self, pair: Pair, failed: Failed) -> None:
        pair.verdict, pair.result = "candidate_error", str(failed)
        self._tell_breaker(pair.result)

    def _fault(self, pair: Pair) -> None:
        self.faults.note()
        pair.verdict, pair.result = "not_compared", "fault"

    def _tell_breaker(self, result: str) -> None:
        if result in ILL:
            self.breaker.failed()
        else:
            self.breaker.succeeded()

    def _request(self, pair: Pair) -> bytes:
        copy, lines = pair.copy, ""
        for name, value in zip(self._names, copy.values, strict=True):
            if value and _SAFE.fullmatch(value):
                lines += f"{name}: {value}\r\n"
        return (
            f"POST {self._target.path}{copy.route} HTTP/1.1\r\n{self._head}{lines}"
            f"X-Shadow-Id: {pair.pair_id}\r\nContent-Length: {len(copy.body)}\r\n\r\n"
        ).encode("latin-1") + copy.body


def _result(status: int) -> str:
    return "ok" if status < 300 else "redirect" if status < 400 else f"{status // 100}xx"
