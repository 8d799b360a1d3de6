"""What becomes of more small requests than a core can read and answer: HTTP is the work here.

    python -m loadtests.flood               4 minutes; writes results/flood.{md,json}
    python -m loadtests.flood --rounds 1    a look

An open loop offers one and a half times and three times what the service answers 64 clients who
wait (its capacity), over as many connections as a proxy keeps: 1,024, which is what Envoy has
unless told otherwise, and 9,000, almost all that the service takes. Who finds no connection free is
turned away there. Who has no answer after two seconds gives up. Beside it, as many clients who wait
for each answer (a closed loop, by wrk).
"""

from __future__ import annotations

import json
import os
import random
import select
import socket
import sys
from collections import Counter
from dataclasses import asdict, dataclass
from pathlib import Path
from statistics import median
from time import perf_counter

from loadtests import measure, outcome
from loadtests.environments import ROWS, install
from loadtests.openloop import LENGTH, post, quantile
from loadtests.running import Running, allow_files, running
from loadtests.servers import OURS
from loadtests.turns import bodies

MULTIPLES = (1.5, 3.0)
CONNECTIONS = (1024, 9000)
CLIENTS_OF_CAPACITY = 64
PATIENCE_SECONDS = 2.0
LEAST_GOODPUT = {1.5: 0.75, 3.0: 0.60}


@dataclass(frozen=True)
class Found:
    """One load. `share`: of the capacity, that was answered. Times in seconds, rates per second:

    what was offered and turned away while it was offered, all else until the last answer.

    `multiple`: of the capacity that was offered; 0: clients who wait.
    """

    connections: int
    multiple: float
    offered: float
    answered: float
    share: float
    refused: float
    gave_up: float
    turned_away: float
    p50: float
    p99: float
    cpu_ms_per_answer: float


class Connections:
    """Keeps connections to a port of this machine, and asks on each at most once at a time."""

    def __init__(self, port: int, number: int) -> None:
        self.idle: list[int] = []
        # Since when each waits for its answer, the longest wait first.
        self.asked: dict[int, float] = {}
        self._port = port
        self._sockets: dict[int, socket.socket] = {}
        self._received: dict[int, bytes] = {}
        self._poll = select.epoll()
        for _ in range(number):
            self._open()

    def ask(self, request: bytes, due: float) -> None:
        """Send a request on a connection that is idle."""
        descriptor = self.idle.pop()
        self.asked[descriptor] = due
        if self._sockets[descriptor].send(request) < len(request):
            raise RuntimeError("the server does not even read what fits into a socket's buffer")

    def answers(self, seconds: float) -> list[tuple[int, float]]:
        """Return the status of what has come, and since when it was waited for; 0: broken off."""
        found = []
        for descriptor, _ in self._poll.poll(seconds):
            try:
                part = self._sockets[descriptor].recv(65536)
            except ConnectionError:
                part = b""
            self._received[descriptor] = received = self._received.get(descriptor, b"") + part
            head, ended, body = received.partition(b"\r\n\r\n")
            length = LENGTH.search(head)
            whole = ended and length and len(body) >= int(length[1])
            if part and not whole:
                continue
            due = self.asked.pop(descriptor, None)
            if due is not None:
                found.append((int(head[9:12]) if whole else 0, due))
            self._received[descriptor] = b""
            if part and b"\r\nconnection: close" not in head.lower():
                self.idle.append(descriptor)
            else:
                self._reopen(descriptor)
        return found

    def give_up(self, before: float) -> int:
        """Close the connections that have waited since before that time; return how many."""
        late = []
        for descriptor, due in self.asked.items():
            if due > before:
                break
            late.append(descriptor)
        for descriptor in late:
            del self.asked[descriptor]
            self._reopen(descriptor)
        return len(late)

    def close(self) -> None:
        for each in self._sockets.values():
            each.close()
        self._poll.close()

    def _open(self) -> None:
        made = socket.create_connection(("127.0.0.1", self._port))
        made.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self._sockets[made.fileno()] = made
        self._poll.register(made, select.EPOLLIN)
        self.idle.append(made.fileno())

    def _reopen(self, descriptor: int) -> None:
        self._received.pop(descriptor, None)
        if descriptor in self.idle:
            self.idle.remove(descriptor)
        self._sockets.pop(descriptor).close()
        self._open()


def offer(
    pid: int,
    port: int,
    asked: list[bytes],
    multiple: float,
    capacity: float,
    number: int,
    seconds: float,
) -> Found:
    """Send so many times `capacity` requests a second, at random intervals; say what they became.

    `pid`, `port`: the server's. `number`: of connections.
    """
    rate = multiple * capacity
    connections = Connections(port, number)
    statuses: Counter[int] = Counter()
    waits: list[float] = []
    offered = gave_up = turned_away = 0
    cpu = measure.tree_cpu_seconds(pid)
    due = started = perf_counter()
    end = started + seconds
    while (now := perf_counter()) < end or connections.asked:
        for _ in range(64):  # behind or not, answers are read in between
            if due > min(now, end):
                break
            offered += 1
            if connections.idle:
                connections.ask(asked[offered % len(asked)], due)
            else:
                turned_away += 1
            due += random.expovariate(rate)
        behind = due <= min(now, end)
        for status, since in connections.answers(0 if behind else 0.001):
            statuses[status] += 1
            if status == 200:
                waits.append(perf_counter() - since)
        gave_up += connections.give_up(perf_counter() - PATIENCE_SECONDS)
    elapsed = perf_counter() - started
    connections.close()
    if others := {status: n for status, n in statuses.items() if status not in (200, 503)}:
        raise RuntimeError(f"answers that are neither 200 nor 503: {others}")
    answered = statuses[200] / elapsed
    cpu = measure.tree_cpu_seconds(pid) - cpu
    return Found(
        connections=number,
        multiple=multiple,
        offered=offered / seconds,
        answered=answered,
        share=answered / capacity,
        refused=statuses[503] / elapsed,
        gave_up=gave_up / elapsed,
        turned_away=turned_away / seconds,
        p50=quantile(waits, 0.5),
        p99=quantile(waits, 0.99),
        cpu_ms_per_answer=1e3 * cpu / max(1, statuses[200]),
    )


def wait_for_each(
    server: Running, bodies: Path, clients: int, seconds: int, capacity: float | None = None
) -> Found:
    sample = measure.measure(server.pid, server.url, bodies, clients, seconds)
    return Found(
        connections=clients,
        multiple=0.0,
        offered=sample.requests_per_second,
        answered=sample.requests_per_second,
        share=sample.requests_per_second / (capacity or sample.requests_per_second),
        refused=0.0,
        gave_up=sample.errors / seconds,
        turned_away=0.0,
        p50=sample.p50_ms / 1e3,
        p99=sample.p99_ms / 1e3,
        cpu_ms_per_answer=sample.cpu_ms_per_request,
    )


def main() -> int:
    parser = outcome.parser(__doc__)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--seconds", type=int, default=4)
    arguments = parser.parse_args()
    os.sched_setaffinity(0, {measure.LOAD_CORE})
    allow_files()
    installed = install(OURS, "lr")
    rows = json.loads(ROWS.read_text())
    file = bodies(installed, rows, 1)
    asked = [post("/predict", line.encode()) for line in file.read_text().splitlines()]
    found: list[Found] = []
    with running(installed, rows) as server:
        for _ in range(arguments.rounds):
            best = wait_for_each(server, file, CLIENTS_OF_CAPACITY, arguments.seconds)
            capacity = best.answered
            round_: list[Found] = [best]
            for number in CONNECTIONS:
                round_.append(wait_for_each(server, file, number, arguments.seconds, capacity))
                round_ += [
                    offer(
                        server.pid,
                        server.port,
                        asked,
                        multiple,
                        capacity,
                        number,
                        arguments.seconds,
                    )
                    for multiple in MULTIPLES
                ]
            for each in round_:
                print(
                    f"{each.connections:5,} connections, {each.multiple:g}x: "
                    f"{each.answered:,.0f}/s ({each.share:.0%}), p50 {each.p50 * 1e3:.0f} ms",
                    flush=True,
                )
            found += round_
    return write(arguments.out, found, arguments.rounds, arguments.seconds)


def write(folder: Path, found: list[Found], rounds: int, seconds: int) -> int:
    lines = [
        "| connections | offered | offered/s | no connection free/s | answered/s "
        "| of the capacity | 503/s | gave up/s | p50 | p99 | CPU an answer |",
        "|---|---|---|---|---|---|---|---|---|---|---|",
    ]
    failures = []
    for key in dict.fromkeys((each.connections, each.multiple) for each in found):
        those = [each for each in found if (each.connections, each.multiple) == key]
        number, multiple = key
        shares = [each.share for each in those]
        offered, turned_away, answered, refused, gave_up, p50, p99, cpu = (
            median(getattr(each, name) for each in those)
            for name in (
                *("offered", "turned_away", "answered", "refused", "gave_up", "p50", "p99"),
                "cpu_ms_per_answer",
            )
        )
        spread = f"{median(shares):.0%} ({min(shares):.0%} to {max(shares):.0%})"
        lines.append(
            f"| {number:,} | {f'{multiple:g}x' if multiple else 'as answered'} | {offered:,.0f} "
            f"| {turned_away:,.0f} | {answered:,.0f} | {spread} | {refused:,.0f} "
            f"| {gave_up:,.0f} | {p50 * 1e3:.0f} ms | {p99 * 1e3:.0f} ms | {cpu * 1e3:.0f} us |"
        )
        least = LEAST_GOODPUT.get(multiple, 0.0)
        if median(shares) < least:
            failures.append(
                f"{number:,} connections, {multiple:g}x: {median(shares):.0%}, not {least:.0%}"
            )
    lines += [
        "",
        f"Medians of {rounds} rounds, with the least and the greatest share. What was offered and "
        "found no connection: per second of offering; all else: per second until the last answer.",
    ]
    return outcome.leave(
        folder,
        "flood",
        lines,
        {"loads": [asdict(each) for each in found]},
        failures=failures,
        kept="what the core can do is done, whatever more is offered.",
        options=f"--rounds {rounds} --seconds {seconds}",
    )


if __name__ == "__main__":
    sys.exit(main())
