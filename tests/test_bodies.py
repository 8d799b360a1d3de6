"""Bodies of any content, compressed or not: no more memory or time than their size warrants."""

from __future__ import annotations

import gzip
import json
import select
import socket
import threading
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

import pytest
import requests
from harness import Service, copied, extend_model, serve, vouched
from kinds import Kind

LIMIT = 2**20  # MAX_BODY_BYTES by default
MEMORY = 20 * 2**20
# Of the event loop's CPU, of which most bodies take a twentieth; a busy neighbour makes it slower.
SECONDS = 0.2
# That a probe may take: as in test_hostile.py.
CALM = 0.25

ROW = '"plan":"pro","country":"de","age":40,"active":true'
START = '{"instances":[{' + ROW
DEEP = '{"' + "k" * 100 + '":'


def filled(start: str, piece: str, end: str = "") -> bytes:
    """Return a body of the largest size that is allowed, filled with a piece again and again."""
    room = LIMIT - len((start + end).encode())
    return (start + piece * (room // len(piece.encode())) + end).encode()


def distinct(start: str) -> bytes:
    return (start + ",".join(f'"{i:x}":1' for i in range(LIMIT // 11)) + "}").encode()


def nested(zeros: int) -> bytes:
    inner = DEEP * 277 + "[" + ",".join(["0"] * zeros) + "]" + "}" * 277
    return ('{"instances":NaN,"x":' + inner + "}").encode()


BODIES: dict[str, tuple[bytes, str]] = {
    "58 KB of nested objects": (nested(14_500), "instances: NaN"),
    "294 KB of nested objects": (nested(132_000), "instances: NaN"),
    "NaN, then empty arrays": (
        filled('{"instances":NaN,"x":[', "[],", "[]]}"),
        "instances: NaN is not a JSON number (byte 13)",
    ),
    "NaN, then empty objects": (filled('{"instances":NaN,"x":[', '{"a":{}},', "0]}"), "NaN is not"),
    "arrays in arrays": (filled('{"instances":', "["), "instances[0][0]: expected a string"),
    "objects in objects": (filled("", DEEP), "unknown field"),
    "empty arrays": (filled('{"instances":[', "[],"), "instances[0]: expected 8 values"),
    "empty objects": (filled('{"instances":[', "{},"), "missing"),
    "empty arrays by themselves": (filled("[", "[],"), "got an array"),
    "objects in an unknown field": (filled('{"x":[', '{"a":{}},'), "x: unknown field"),
    "a million digits": (filled(START + ',"income, k€":', "9"), "income, k€: number out of range"),
    "digits of a whole number": (filled('{"instances":[{"age":', "9"), "integer value out of"),
    "digits after the point": (filled(START + ',"income, k€":0.', "3", "}]}"), ""),
    "an exponent": (filled(START + ',"income, k€":1e', "9", "}]}"), "number out of range"),
    "a long string": (filled(START + ',"channel":"', "a", '"}]}'), ""),
    "a long string, of four bytes": (filled(START + ',"channel":"😀', "a", '"}]}'), ""),
    "a long key": (filled(START + ',"😀', "a", '":1}]}'), "unknown field"),
    "a long key by itself": (filled('{"😀', "a", '":1}'), "instances: missing"),
    "escaped quotes": (filled(START + ',"channel":"', '\\"', '"}]}'), ""),
    "escapes, then NaN": (filled('{"instances":[{"plan":"', '\\"', '","age":NaN}]}'), "age: NaN"),
    "escapes, then half a pair": (
        filled('{"instances":[{"plan":"', '\\"', '\\ud800"}]}'),
        "instances[0].plan: half a surrogate pair is no character",
    ),
    "backslashes": (filled(START + ',"channel":"', "\\"), "truncated"),
    "keys by themselves": (distinct("{"), "instances: missing"),
    "keys of an instance": (distinct(START + ","), "0: unknown field"),
    "a key again and again": (filled(START, ',"visits":1', "}]}"), "[0].visits: duplicate key"),
    "a string again and again": (
        filled(START, ',"channel":""', ',"channel":"[{"}]}'),
        "instances[0].channel: duplicate key",
    ),
    "parameters again and again": (
        filled("{", '"parameters":null,', '"instances":[{' + ROW + "}]}"),
        "parameters: duplicate key",
    ),
    "instances again and again": (
        filled("{", '"instances":[{' + ROW + "}],", '"parameters":{}}'),
        "at most 1000 instances",
    ),
    "blanks": (filled("", " "), "truncated"),
    "blanks within": (filled(START + "}", " ", "]}"), ""),
    "byte order marks": (filled("\ufeff", "\ufeff"), "malformed JSON"),
    "UTF-8 no more": (
        filled(START + ',"channel":"😀', "a", '?"}]}').replace(b"?", b"\xff"),
        "instances[0].channel: not UTF-8",
    ),
}

TWICE = '{"gene 1999":0,"gene 1999":0}'
ZEROS = "[" + ",".join(["0"] * 2000) + "]"
FIELDS = "{" + ",".join(f'"gene {i}":0' for i in range(2000))
REVERSED = "{" + ",".join(f'"gene {i}":0' for i in reversed(range(2000)))
WIDE: dict[str, tuple[bytes, str]] = {
    "empty objects, then a key twice": (
        ('{"instances":[' + "{}," * 999 + TWICE + "]}").encode(),
        "instances[999].gene 1999: duplicate key",
    ),
    "a null each, then a key twice": (
        ('{"instances":[' + '{"gene 7":null},' * 999 + TWICE + "]}").encode(),
        "instances[999].gene 1999: duplicate key",
    ),
    "objects, then NaN": (
        filled('{"instances":[', FIELDS + "},", FIELDS + ',"gene 0":NaN}]}'),
        "].gene 0: NaN is not a JSON number",
    ),
    "fields in reverse, then NaN": (
        filled('{"instances":[', REVERSED + "},", REVERSED + ',"gene 0":NaN}]}'),
        "].gene 0: NaN is not a JSON number",
    ),
    "fields in reverse, then an unknown one": (
        filled('{"instances":[', REVERSED + "},", REVERSED + ',"gene":0}]}'),
        "].gene: unknown field",
    ),
    "fields in reverse, then a key twice": (
        filled('{"instances":[', REVERSED + "},", REVERSED + ',"gene 0":0}]}'),
        "].gene 0: duplicate key",
    ),
    "a key again and again": (
        filled('{"instances":[{"gene 1999":0', ',"gene 1999":0', "}]}"),
        "instances[0].gene 1999: duplicate key",
    ),
    "arrays, then NaN": (
        filled('{"instances":[', ZEROS + ",", "[0,0,NaN]]}"),
        "][2]: NaN is not a JSON number",
    ),
}


@pytest.fixture(scope="module")
def mixed(baked: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Service]:
    with serve(Kind("mixed").trained(baked, tmp_path_factory.mktemp("mixed"))) as service:
        yield service
        assert "Traceback" not in service.logged


@pytest.fixture(scope="module")
def wide(baked: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Service]:
    """Two thousand inputs, none of them required."""
    with serve(Kind("wide").trained(baked, tmp_path_factory.mktemp("wide"))) as service:
        yield service
        assert "Traceback" not in service.logged


def status_of(pid: int) -> dict[str, int]:
    """Return a process's memory, in bytes."""
    lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    return {line.split(":")[0]: int(line.split()[1]) * 1024 for line in lines if " kB" in line}


def seconds_of(pid: int) -> float:
    """Return the CPU time of a process's main thread, which is the event loop's."""
    return int(Path(f"/proc/{pid}/task/{pid}/schedstat").read_text().split()[0]) / 1e9


@contextmanager
def bounded(service: Service) -> Iterator[None]:
    """What is sent in this context costs the worker little, and probes are answered meanwhile."""
    [worker] = service.workers
    probes: list[float] = []
    over = threading.Event()

    def probe() -> None:
        with requests.Session() as session:
            while not over.wait(0.002):
                started = time.perf_counter()
                assert session.get(f"{service.url}/healthz", timeout=10).ok
                probes.append(time.perf_counter() - started)

    prober = threading.Thread(target=probe)
    prober.start()
    while not probes and prober.is_alive():
        time.sleep(0.001)
    Path(f"/proc/{worker}/clear_refs").write_text("5")  # the peak of memory begins anew
    before = status_of(worker)["VmRSS"]
    try:
        yield
    finally:
        over.set()
        prober.join(20)
    added = status_of(worker)["VmHWM"] - before
    print(f"{added / 2**20:.1f} MiB, slowest of {len(probes)} probes {max(probes) * 1e3:.1f} ms")
    assert service.workers == [worker]
    assert added < MEMORY and max(probes) < CALM


@pytest.mark.parametrize("name", BODIES)
def test_a_body_of_any_content_costs_no_more_than_its_size(name: str, mixed: Service) -> None:
    check_cost(mixed, *BODIES[name])


@pytest.mark.parametrize("name", WIDE)
def test_a_body_costs_no_more_where_inputs_are_many(name: str, wide: Service) -> None:
    check_cost(wide, *WIDE[name])


def check_cost(service: Service, body: bytes, message: str) -> None:
    """A body takes little of the event loop, whether it is answered or, with a message, refused."""
    assert len(body) <= LIMIT
    [worker] = service.workers
    spent = []
    with bounded(service):
        for _ in range(3):
            before = seconds_of(worker)
            response = service.post(body)
            spent.append(seconds_of(worker) - before)
            if message:
                assert response.status_code in (400, 413) and message in response.json()["error"]
                assert len(response.content) < 1000
            else:
                assert response.status_code == 200, response.text
    print(f"{min(spent) * 1e3:.1f} ms of the event loop")
    assert min(spent) < SECONDS


def test_large_bodies_on_their_way_take_a_bounded_amount_of_memory(mixed: Service) -> None:
    [worker] = mixed.workers
    row = json.loads(START + "}]}")
    lines = ["POST /predict HTTP/1.1", "Host: test", "Content-Type: application/json"]
    head = "\r\n".join([*lines, f"Content-Length: {LIMIT}", "", ""]).encode()
    before = status_of(worker)["VmRSS"]
    with ExitStack() as stack:
        senders = [stack.enter_context(mixed.connect()) for _ in range(200)]
        for sender in senders:
            sender.sendall(head + b" " * (LIMIT - 1))
        refused: list[socket.socket] = []
        while len(refused) < 100:  # as long as it takes the worker to receive all that
            refused = select.select(senders, [], [], 1)[0]
        assert all(sender.recv(12) == b"HTTP/1.1 503" for sender in refused)
        assert mixed.post(row).status_code == 200, "small ones are let in"
        assert status_of(worker)["VmRSS"] - before < 64 * LIMIT + 2 * MEMORY
    response = mixed.post(filled(START + "}", " ", "]}"))
    while response.status_code == 503:  # until it is noticed that they have gone
        time.sleep(0.05)
        response = mixed.post(filled(START + "}", " ", "]}"))
    assert response.status_code == 200


def gzipped(service: Service, body: bytes, **headers: str) -> requests.Response:
    return service.post(body, **{"Content-Encoding": "gzip"} | headers)


@pytest.mark.parametrize("coding", ["gzip", "GZip", "x-gzip"])
def test_a_gzipped_body_is_read(coding: str, live: Service) -> None:
    found = live.post(live.body).json()
    compressed = gzip.compress(live.body)
    assert gzipped(live, compressed, **{"Content-Encoding": coding}).json() == found
    in_chunks = requests.post(
        f"{live.url}/predict",
        iter([compressed[:50], compressed[50:]]),
        headers={"Content-Type": "application/json", "Content-Encoding": coding},
        timeout=30,
    )
    assert in_chunks.json() == found


def test_a_gzipped_body_may_have_several_members(live: Service) -> None:
    found = live.post(live.body).json()
    cuts = range(0, len(live.body), 7)
    members = b"".join(gzip.compress(live.body[cut : cut + 7]) for cut in cuts)
    assert gzipped(live, members).json() == found
    assert gzipped(live, gzip.compress(b"") + members + gzip.compress(b"")).json() == found


@pytest.mark.parametrize("coding", ["identity", "Identity", ""])
@pytest.mark.parametrize("mark", [b"", b"\xef\xbb\xbf"])
def test_identity_and_a_byte_order_mark_are_no_errors(
    coding: str, mark: bytes, live: Service
) -> None:
    assert live.post(mark + live.body, **{"Content-Encoding": coding}).status_code == 200
    assert gzipped(live, gzip.compress(mark + live.body)).status_code == 200


def test_another_coding_is_a_415_that_says_which_is_taken(live: Service) -> None:
    for coding in "br", "deflate", "gzip, gzip", "x" * 1000:
        response = gzipped(live, live.body, **{"Content-Encoding": coding})
        assert response.status_code == 415
        assert response.headers["Accept-Encoding"] == "gzip"
        expected = f"send Content-Encoding: gzip, or none, not {coding[:100]}"
        assert response.json()["error"] == expected


def test_the_limit_of_a_gzipped_body_is_on_what_is_in_it(live: Service) -> None:
    whole = live.body + b" " * (LIMIT - len(live.body))
    assert gzipped(live, gzip.compress(whole)).status_code == 200
    two = gzip.compress(whole[:1000]) + gzip.compress(whole[1000:] + b" ")
    for over in gzip.compress(whole + b" "), two:
        response = gzipped(live, over)
        assert response.status_code == 413
        assert response.json()["error"] == f"the body is larger than {LIMIT} bytes"


EMPTY = gzip.compress(b"")
HOSTILE: dict[str, tuple[bytes, int, str]] = {
    "a bomb": (gzip.compress(bytes(900_000_000)), 413, f"larger than {LIMIT} bytes"),
    "empty members": (EMPTY * (LIMIT // len(EMPTY)), 400, "more than 1000 gzip members"),
    "many members": (gzip.compress(b" ") * 999 + gzip.compress(b"{}"), 400, "instances: missing"),
    "what compresses to more": (gzip.compress(b" " * LIMIT, 0)[: LIMIT - 1], 400, "ends before"),
    "a long name": (EMPTY[:3] + b"\x08" + EMPTY[4:10] + b"n" * (LIMIT - 10), 400, "ends before"),
    "nothing": (b"", 400, "ends before"),
    "no gzip": (b"{}", 400, "the body is not gzip"),
    "rubbish behind": (gzip.compress(b"{}") + b"rubbish" * 9, 400, "the body is not gzip"),
    "zeros behind": (gzip.compress(b"{}") + bytes(512), 400, "the body is not gzip"),
    "a wrong checksum": (gzip.compress(b"{}")[:-8] + bytes(8), 400, "the body is not gzip"),
    "a cut end": (gzip.compress(b"{}")[:-1], 400, "ends before its gzip stream"),
    "a cut beginning": (gzip.compress(b"{}")[:5], 400, "ends before its gzip stream"),
}


@pytest.mark.parametrize("name", HOSTILE)
def test_a_hostile_gzip_stream_costs_no_more_than_the_limit(name: str, live: Service) -> None:
    body, status, message = HOSTILE[name]
    assert len(body) <= LIMIT
    with bounded(live):
        response = gzipped(live, body)
    assert response.status_code == status and message in response.json()["error"]
    assert "\n" not in response.json()["error"]


# What a model of somebody's may raise, by the first row's first value.
FAULTS = """

class Mute(Exception):
    def __str__(self):
        raise RuntimeError("it cannot say what is wrong")


class MuteValueError(Mute, ValueError):
    pass


def fault(code):
    from service.errors import RequestError

    if code == 1:
        raise MuteValueError
    if code == 2:
        raise Mute
    if code == 3:
        raise ValueError("half a pair: \\ud800")
    if code == 4:
        raise RuntimeError("half a pair: \\ud800")
    if code == 5:
        raise ValueError("a line\\nand another")
    if code == 6:
        raise RequestError(599, "half a pair: \\udfff")


_predict = predict


def predict(model, frame):
    fault(frame.iloc[0, 0])
    return _predict(model, frame)
"""


def test_an_error_whatever_its_text_is_an_error_of_one_line(baked: Path, tmp_path: Path) -> None:
    folder = copied(baked, tmp_path)
    extend_model(folder, FAULTS)
    wanted: list[tuple[int, str]] = [
        (400, "the model cannot answer this: MuteValueError"),
        (500, "internal error"),
        (400, r"the model cannot answer this: half a pair: \ud800"),
        (500, "internal error"),
        (400, "the model cannot answer this: a line and another"),
        (599, r"half a pair: \udfff"),
    ]
    with serve(vouched(folder), LOG_FORMAT="json") as service:
        first = next(iter(service.instance))
        ids = []
        for code, (status, error) in enumerate(wanted, start=1):
            response = service.post({"instances": [service.instance | {first: code}]})
            assert response.status_code == status and response.json()["error"] == error
            ids.append(response.headers["X-Request-Id"])
        padded = json.dumps({"instances": [service.instance | {first: 5}]}).ljust(LIMIT).encode()
        [worker] = service.workers
        before = status_of(worker)["VmRSS"]
        assert [service.post(padded).status_code for _ in range(60)] == [400] * 60
        assert status_of(worker)["VmRSS"] - before < MEMORY, "what failed is freed at once"
        assert service.predict([service.instance])
        lines: list[dict[str, Any]] = [json.loads(line) for line in service.logged.splitlines()]
    told = [line for line in lines if line.get("request_id") in ids]
    assert [line["request_id"] for line in told] == ids, "each failure has its line"
    assert [line.get("error.message") for line in told[1:4:2]] == ["Mute", "half a pair: \ud800"]
    assert not [line for line in lines if line["logger"] == "gunicorn.error" and "error" in line]
