"""`make fuzz`: requests that no client should send, against a running service.

    python tests/fuzz.py                  100,000 bodies and 20,000 connections, under 10 minutes
    python tests/fuzz.py --replay FILE    what differed in an earlier run, again

Bodies: instances that were tampered with, as JSON and as bytes. Each gets an answer that is true:
200 only for what is JSON, with a prediction for each instance; never a 5xx.

Connections: requests in a row with tampered heads, cut into pieces. The same bytes go to the same
application with no short way beside gunicorn's parser (machinery/reference.py); both must
see the same requests and end the same way. Each case follows from the seed and its number.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import random
import re
import socket
import sys
import tempfile
import time
import zlib
from collections import Counter
from collections.abc import Callable, Coroutine, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from harness import ROOT, Service, bake, manifest, serve, train

BODIES, CONNECTIONS = 100_000, 20_000
CLIENTS = 24
GROWTH_MB = 32
# What differs is tried again, alone: a busy machine may have cut one of the two short.
TRIES = 3
END_SECONDS = 20
HERE = Path(__file__).parent
FAILURES = ROOT / "build" / "fuzz"
# Nothing that takes long may be a reason to differ.
SETTINGS = {"KEEPALIVE_SECONDS": 1, "BODY_TIMEOUT_SECONDS": 1, "MAX_QUEUE_MS": 60_000}
SETTINGS |= {"LOG_SAMPLE": 0}
BROKEN = {500, 502, 503, 504}  # gunicorn refuses with 501 and 505
LAST = b"GET /healthz HTTP/1.1\r\nHost: test\r\nX-Request-Id: last\r\nConnection: close\r\n\r\n"

VALUES = "NaN -Infinity 1e999 -0 0.1e-400 1e400 true null [] {} [[]] [1] [{}] 00 +1 .5 1. 0x1 1_0 "
VALUES += r'"" "NaN" "\ud800" "\u0000" "\x" "a" "' + "é" * 9 + '" -9223372036854775809 '
VALUES += "18446744073709551616 " + "9" * 400 + " " + "[" * 600 + "]" * 600 + ' {"a":' * 90
JUNK = [b"", b" ", b"\0", b"\xff", b"\xc3", b"\xef\xbb\xbf", b"{", b"}", b"[", b"]", b",", b":"]
JUNK += [b'"', b"\\", b"\n", b"e", b"-", b"0", b"//", b"\xed\xa0\x80", b"\xf4\x90\x80\x80"]
LENGTHS = ["+{}", "0{}", "-{}", " {} ", "{0}, {0}", "{}_0", "0x{:x}", "{}.0", "{}\t", "", "1{}"]
LINES = """Transfer-Encoding: chunked|transfer-encoding:chunked|Transfer-Encoding : chunked
Transfer-Encoding: chunked, chunked|Transfer-Encoding: gzip, chunked|Transfer-Encoding: identity
Transfer-Encoding: xchunked|Transfer-Encoding: \vchunked|Transfer-Encoding:|TE: trailers
Transfer_Encoding: chunked|Content_Length: 3|Content-Length: 0|content-length:5|Expect: 100-continue
Expect: x|Connection: close|Connection: keep-alive|Connection: Keep-Alive, Upgrade|Connection:
Upgrade: h2c|Upgrade: websocket|Host: a b|Host:|Host: test:80|Host: [::1]|Host: test, test|Host: é
X-Forwarded-Proto: https|X-Forwarded-Ssl: off|X-Forwarded-For: 1.2.3.4|Script-Name: /x|X_Y: z|:
no colon| folded|\tfolded|X-A:\x00|X-A: a\rb|X-A: a\nb|X-A: \x7f|X A: b|X-A : b|(x): y|X-A: é
Content-Type: text/plain|Content-Encoding: x|Trailer: X|Keep-Alive: timeout=9|Proxy: x|Cookie: a=b
X-Request-Timeout-Ms: x|X-Request-Timeout-Ms: -1|Content-Length: 99999999|Forwarded: for=x"""
STARTS = """GET /predict HTTP/1.1|POST //predict HTTP/1.1|POST /predict HTTP/1.0
POST /predict HTTP/1.2
POST /predict HTTP/2.0|POST /predict HTTP/0.9|POST /predict|POST  /predict HTTP/1.1
POST /predict  HTTP/1.1|post /predict HTTP/1.1|POST /predict?a=b HTTP/1.1|POST /predict# HTTP/1.1
POST /predict/ HTTP/1.1|POST /%70redict HTTP/1.1|POST http://test/predict HTTP/1.1
POST predict HTTP/1.1|POST * HTTP/1.1|OPTIONS * HTTP/1.1|PUT /predict HTTP/1.1
POST /predict\tHTTP/1.1|P\x00ST /predict HTTP/1.1|POST /pr\x80edict HTTP/1.1
POST /predict HTTP/1.1 |POST /predict http/1.1|POST /predict HTTP/1.1x|POST /../predict HTTP/1.1
PRI * HTTP/2.0|CONNECT test:80 HTTP/1.1|POST /nowhere HTTP/1.1|DELETE /healthz HTTP/1.1"""

Answer = tuple[int, str, str]
Client = Callable[[Iterator[int]], Coroutine[Any, Any, None]]


class Found(Exception):
    """The service did what it must not; the message says what, and where the bytes are."""


def tampered_body(draw: random.Random, instances: list[dict[str, Any]]) -> bytes:
    """Return a body that may still be right: of each kind of change, a few or none."""
    chosen = [dict(draw.choice(instances)) for _ in range(draw.choice((1, 1, 1, 2, 9)))]
    marks: dict[str, str] = {}
    for _ in range(draw.choice((0, 1, 1, 2))):
        instance = draw.choice(chosen)
        name = draw.choice([*instance, "unknown"])
        if draw.random() < 0.2:
            instance.pop(name, None)
        else:  # JSON that Python would not write
            mark = f"\x01{len(marks)}"
            instance[name], marks[json.dumps(mark)] = mark, draw.choice(VALUES.split(" "))
    shapes = [chosen] * 9 + [chosen[0], [list(chosen[0].values())], [chosen], [[]], "x", 7]
    whole = {draw.choice(["instances"] * 19 + ["Instances"]): draw.choice(shapes)}
    if draw.random() < 0.05:
        whole["parameters"] = draw.choice([{}, {"a": 1}, None, []])
    text = json.dumps(whole, separators=draw.choice([(",", ":"), (", ", ": ")]))
    for mark, value in marks.items():
        text = text.replace(mark, value)
    if draw.random() < 0.05:  # a key twice
        text = text.replace('{"', f'{{"{draw.choice([*chosen[0], "instances"])}":0,"', 1)
    return tampered_bytes(draw, text.encode(), draw.choice((0, 0, 0, 1, 2)))


def tampered_bytes(draw: random.Random, content: bytes, times: int) -> bytes:
    for _ in range(times):
        start = draw.randrange(len(content) + 1)
        end = min(len(content), start + draw.choice((0, 0, 1, 1, 3, 50)))
        middle = draw.choice([*JUNK, bytes([draw.randrange(256)]), content[start:end] * 2])
        content = content[:start] + middle + content[end:]
    return content


def tampered_stream(draw: random.Random, instances: list[dict[str, Any]]) -> list[bytes]:
    """Return what goes over a connection, in the pieces that it is sent in."""
    stream = b"".join(
        _request(draw, instances, f"r{number}") for number in range(draw.choice((1, 1, 2, 4)))
    )
    stream += LAST
    cuts = sorted(draw.randrange(len(stream)) for _ in range(draw.choice((0, 0, 1, 2, 5))))
    return [stream[a:b] for a, b in zip([0, *cuts], [*cuts, len(stream)], strict=True) if a < b]


def _request(draw: random.Random, instances: list[dict[str, Any]], name: str) -> bytes:
    rows = [draw.choice(instances)] * draw.choice((1, 1, 2, 40))
    body = draw.choice([json.dumps({"instances": rows}).encode()] * 4 + [b"{}", b"", b"GET / "])
    start = draw.choice(["POST /predict HTTP/1.1"] * 5 + ["GET /healthz HTTP/1.1"])
    lines = ["Host: test", "Content-Type: application/json", f"X-Request-Id: {name}"]
    length = str(len(body))
    if draw.random() < 0.5:
        kind = draw.randrange(5)
        if kind == 0:
            start = draw.choice(re.split(r"[|\n]", STARTS))
        elif kind == 1:
            length = draw.choice([*LENGTHS, "{}"]).format(draw.choice((-1, 0, 1)) + len(body))
        elif kind == 2:
            lines += draw.choices(lines, k=draw.choice((1, 1, 40, 110)))
        elif kind == 3:
            lines.append("X-Long: " + "x" * draw.choice((3900, 4100, 8100, 8200, 70_000)))
        for _ in range(draw.choice((0, 1, 1, 2)) if kind < 4 else 2):
            lines.insert(draw.randrange(len(lines) + 1), draw.choice(re.split(r"[|\n]", LINES)))
    if start.startswith("GET"):
        body = b""
    elif draw.random() < 0.15:
        lines.append("Transfer-Encoding: chunked")
        body = _chunks(draw, body)
    else:
        lines.insert(draw.randrange(len(lines)), f"Content-Length: {length}")
    end = draw.choice(["\r\n"] * 60 + ["\n", "\r", "\r\r\n"])
    head = end.join([start, *lines, "", ""]).encode("latin-1")
    return tampered_bytes(draw, head, draw.random() < 0.1) + body


def _chunks(draw: random.Random, body: bytes) -> bytes:
    at = draw.randrange(len(body) + 1)
    sizes = ["{:x}"] * 9 + [
        "0{:X}",
        "{:x};a=b",
        " {:x}",
        "{:x} ",
        "+{:x}",
        "0x{:x}",
        "-{:x}",
        "{:x}\t",
    ]
    parts = [part for part in (body[:at], body[at:]) if part]
    ends = draw.choice(
        [b"0\r\n\r\n"] * 9 + [b"00\r\n\r\n", b"0\r\nX: y\r\n\r\n", b"0\r\n", b"0\n\n"]
    )
    size = draw.choice(sizes)
    crlf = draw.choice([b"\r\n"] * 15 + [b"\n", b""])
    return b"".join(size.format(len(p)).encode() + b"\r\n" + p + crlf for p in parts) + ends


def answers(received: bytes) -> Iterator[Answer]:
    """Yield the status of each answer, the id of the request that it is for, and its predictions.

    A refusal counts as its class, without its text: the two may put it in other words.
    """
    while received:
        head, _, rest = received.partition(b"\r\n\r\n")
        if not re.match(rb"HTTP/\d\.\d \d{3} ", head):
            yield 0, "", repr(received[:200])
            return
        status = int(head[9:12])
        lines = (line.partition(":") for line in head.decode("latin-1").split("\r\n"))
        headers = {name.lower(): value.strip() for name, _, value in lines}
        length = int(headers.get("content-length", 0))
        name = re.sub("^[0-9a-f]{32}$", "made up", headers.get("x-request-id", ""))
        content, received = rest[:length], rest[length:]
        if status in BROKEN or status < 400:
            yield status, name, summary(content) if b'"predictions"' in content else ""
        else:
            yield status // 100, "", ""


def summary(content: bytes) -> str:
    """Return how many predictions an answer has, and a checksum; the last digits may differ."""
    found = json.loads(content)["predictions"]
    rounded = [(one["label"], round(one["score"], 6)) for one in found]
    return f"{len(found)} predictions {zlib.crc32(repr(rounded).encode()):08x}"


async def exchange(port: int, pieces: list[bytes]) -> list[Answer]:
    """Send a connection's bytes and return all answers, once the server has closed it.

    Bare sockets: asyncio's streams forget what was received when they can send no more.
    """
    loop, received = asyncio.get_running_loop(), b""
    with socket.socket() as client:
        client.setblocking(False)
        await loop.sock_connect(client, ("127.0.0.1", port))
        sending = asyncio.create_task(send(client, pieces))
        with suppress(OSError):
            async with asyncio.timeout(END_SECONDS):
                while part := await loop.sock_recv(client, 65536):
                    received += part
        sending.cancel()
        await asyncio.wait([sending])
    return list(answers(received))


async def send(client: socket.socket, pieces: list[bytes]) -> None:
    with suppress(OSError):  # refused, and closed
        for piece in pieces:
            await asyncio.get_running_loop().sock_sendall(client, piece)
            await asyncio.sleep(0.001)


class Fuzz:
    """A run against a service and its reference."""

    def __init__(self, service: Service, reference: Service, seed: int) -> None:
        self.service, self.reference, self.seed = service, reference, seed
        self.instances = manifest(service.folder)["golden"]["instances"]
        self.statuses: Counter[int] = Counter()

    def draw(self, kind: str, number: int) -> random.Random:
        return random.Random(f"{self.seed} {kind} {number}")

    async def bodies(self, numbers: Iterator[int]) -> None:
        """Send bodies on one connection, until the numbers are used up."""
        reader, writer = await asyncio.open_connection("127.0.0.1", self.service.port)
        for number in numbers:
            body = tampered_body(self.draw("body", number), self.instances)
            head = "POST /predict HTTP/1.1\r\nHost: test\r\nContent-Type: application/json\r\n"
            writer.write(f"{head}Content-Length: {len(body)}\r\n\r\n".encode() + body)
            try:
                answer = await asyncio.wait_for(reader.readuntil(b"\r\n\r\n"), 30)
                length = re.search(rb"\r\ncontent-length: (\d+)", answer, re.I)
                content = await reader.readexactly(int(length[1]) if length else 0)
            except (OSError, EOFError, TimeoutError) as error:
                raise self.found(f"body-{number}", [body], f"no answer: {error!r}") from None
            self.statuses[status := int(answer[9:12])] += 1
            if reason := wrong(status, body, content):
                raise self.found(f"body-{number}", [body], reason)
            if b"\r\nconnection: close" in answer.lower():
                writer.close()
                reader, writer = await asyncio.open_connection("127.0.0.1", self.service.port)
        writer.close()

    async def connections(self, numbers: Iterator[int]) -> None:
        for number in numbers:
            pieces = tampered_stream(self.draw("connection", number), self.instances)
            await self.connection(f"connection-{number}", pieces)

    async def connection(self, name: str, pieces: list[bytes]) -> None:
        for _ in range(TRIES):
            ours, theirs = await asyncio.gather(
                exchange(self.service.port, pieces), exchange(self.reference.port, pieces)
            )
            if ours == theirs:
                break
        else:
            reason = f"the service answers {ours}\ngunicorn's own worker   {theirs}"
            raise self.found(name, pieces, reason)
        self.statuses.update(status for status, *_ in ours)
        if broken := {status for status, *_ in ours} & BROKEN:
            raise self.found(name, pieces, f"answered with {broken}")

    def found(self, name: str, pieces: list[bytes], reason: str) -> Found:
        FAILURES.mkdir(parents=True, exist_ok=True)
        path = FAILURES / f"seed-{self.seed}-{name}.json"
        path.write_text(json.dumps([piece.decode("latin-1") for piece in pieces]))
        first = b"".join(pieces)[:300]
        return Found(f'{reason}\n{first!r}\nagain: make fuzz ARGS="--replay {path}"')

    def run(self, client: Client, count: int, quietly: bool = False) -> None:
        """Send `count` cases by clients that take turns, and say how far it is."""
        kind = client.__name__
        started, self.statuses = time.monotonic(), Counter()

        def counted() -> Iterator[int]:
            for number in range(count):
                if number and number % max(1, count // 10) == 0 and not quietly:
                    seconds = time.monotonic() - started
                    print(f"    {kind} {number:7,} of {count:,}  {seconds:4.0f} s", flush=True)
                yield number

        async def clients() -> None:
            numbers = counted()
            async with asyncio.TaskGroup() as group:
                for _ in range(CLIENTS):
                    group.create_task(client(numbers))

        try:
            asyncio.run(clients())
        except* Found as found:
            raise found.exceptions[0] from None
        if quietly:
            return
        seen = ", ".join(f"{n:,} x {status}" for status, n in sorted(self.statuses.items()))
        print(f"==> {count:,} {kind} in {time.monotonic() - started:.0f} s: {seen}", flush=True)


def wrong(status: int, body: bytes, content: bytes) -> str:
    """Return what is wrong with an answer to a body, nothing if it is true."""
    if status >= 500 or status not in (200, 400, 413):
        return f"answered with {status}: {content[:200]!r}"
    answer = json.loads(content)
    if status != 200:
        return "" if answer["error"] else "an error that says nothing"
    try:
        instances = json.loads(body)["instances"]
    except ValueError as error:
        return f"200 for what is no JSON: {error}"
    return "" if len(answer["predictions"]) == len(instances) else "not one answer an instance"


@contextmanager
def unharmed(service: Service) -> Iterator[None]:
    """Raises Found if the service is not as it was: other workers, a traceback, more memory."""
    workers, before = service.workers, memory_mb(service)
    yield
    service.wait_ready()
    after = memory_mb(service)
    print(f"==> a worker's own memory: {before:.0f} MB before, {after:.0f} MB after")
    if service.workers != workers:
        raise Found(f"workers were {workers}, are {service.workers}\n{service.logged[-2000:]}")
    if raised := [line for line in service.logged.splitlines() if "Traceback" in line]:
        raise Found(f"{len(raised)} tracebacks, the first: {raised[0][:1500]}")
    if after > before + GROWTH_MB:
        raise Found(f"memory grew from {before:.0f} to {after:.0f} MB")


def memory_mb(service: Service) -> float:
    (worker,) = service.workers
    found = re.search(r"Private_Dirty: +(\d+)", Path(f"/proc/{worker}/smaps_rollup").read_text())
    assert found
    return int(found[1]) / 1024


def fuzz(folder: Path, bodies: int, connections: int, seed: int = 0, replay: str = "") -> None:
    """Run against the service of a folder; raises Found."""
    worker = {
        "GUNICORN_CMD_ARGS": "--worker-class=reference.Worker",
        "PYTHONPATH": str(HERE / "machinery"),
    }
    with serve(folder, **SETTINGS) as service, serve(folder, **SETTINGS, **worker) as other:
        run = Fuzz(service, other, seed)
        if replay:
            pieces = [piece.encode("latin-1") for piece in json.loads(Path(replay).read_text())]
            asyncio.run(run.connection("replay", pieces))
            return
        for client, count in ((run.bodies, bodies), (run.connections, connections)):
            # First a few, to load and cache what is needed: memory is measured from there.
            run.run(client, count // 10, quietly=True)
            with unharmed(service):
                run.run(client, count)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--bodies", type=int, default=BODIES)
    parser.add_argument("--connections", type=int, default=CONNECTIONS)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--replay", default="", metavar="FILE")
    given = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="fuzz-") as into:
        folder = bake(Path(into))
        train(folder).check_returncode()
        try:
            fuzz(folder, given.bodies, given.connections, given.seed, given.replay)
        except Found as found:
            sys.exit(f"\nfound: {found}")


if __name__ == "__main__":
    main()
