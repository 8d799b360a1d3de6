from __future__ import annotations

import io
import json
import os
import pty
import re
import signal
import subprocess
import sys
import threading
import time
import urllib.error
import urllib.request
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from rich.console import Console

from loadtests.serving import free_port
from loadtests.slo import Slo
from service.artifact import read_manifest
from tools.observe.dogstatsd import Event, Sample, parse
from tools.observe.facts import Facts
from tools.observe.picture import picture
from tools.observe.sketch import Sketch
from tools.observe.view import View
from tools.observe.windows import HISTORY, STALE, Windows

ROOT = Path.cwd()  # the service


def test_a_datagram_as_the_service_sends_it() -> None:
    datagram = (
        b"inference.requests:12|c|#route:/predict,status:200,outcome:ok,env:local|c:in-4026531\n"
        b"model.value:0.25:1e-05:-3|d|#field:score,env:a|T1700000000\n"
        b"inference.in_flight:0|g|#worker:1\n"
        b"inference.hub_lag:0.002|h|@0.5\n"
    )
    tags = {"route": "/predict", "status": "200", "outcome": "ok", "env": "local"}
    assert list(parse(datagram)) == [
        Sample("inference.requests", "count", (12.0,), tags),
        Sample("model.value", "distribution", (0.25, 1e-5, -3.0), {"field": "score", "env": "a"}),
        Sample("inference.in_flight", "gauge", (0.0,), {"worker": "1"}),
        Sample("inference.hub_lag", "distribution", (0.002,), {}, weight=2.0),
    ]


def test_an_event_whose_lengths_are_of_bytes() -> None:
    title, text = "prüfung 1 started", "on höst|x\\nline"
    head = "_e{" + f"{len(title.encode())},{len(text.encode())}" + "}:"
    event = f"{head}{title}|{text}|d:1700000000|#env:local"
    assert list(parse(event.encode())) == [
        Event("prüfung 1 started", "on höst|x\nline", {"env": "local"})
    ]


@pytest.mark.parametrize(
    "line",
    [
        b"",
        b"a",
        b"a:1",
        b"a:x|c",
        b"a:1|zz",
        b":1|c",
        b"a:1|c|@0",
        b"_e{1}:a|b",
        b"_e{",
        b"\xff:|",
    ]
    + [b"_sc|check|0"],
)
def test_what_cannot_be_read_is_passed_over(line: bytes) -> None:
    assert list(parse(line + b"\nb:1|c")) == [Sample("b", "count", (1.0,))]


@pytest.mark.parametrize("sign", [1, -1])
def test_a_sketch_is_right_to_one_per_cent(sign: int) -> None:
    values = sign * np.random.default_rng(0).lognormal(-5, 2, 5000)
    parts = [Sketch(), Sketch()]
    for at, value in enumerate(values):
        parts[at % 2].add(float(value))
    parts[0].merge(parts[1])
    for q in (0.01, 0.5, 0.9, 0.99, 1.0):
        exact = float(np.quantile(values, q, method="inverted_cdf"))
        assert parts[0].quantile(q) == pytest.approx(exact, rel=0.0101)


def test_a_sketch_as_a_histogram() -> None:
    sketch = Sketch()
    for value in (-5.0, 0.0, 0.1, 0.6, 0.7, 1.0, 99.0, float("nan")):
        sketch.add(value)
    # Ends take what is beyond them; the exact extremes are known.
    assert sketch.histogram([0.0, 0.5, 1.0]) == [3, 4]
    assert (sketch.count, sketch.minimum, sketch.maximum) == (7, -5.0, 99.0)


def filled(*lines: str, at: float) -> Windows:
    windows = Windows()
    windows.advance(at)
    for line in lines:
        for item in parse(line.encode()):
            windows.add(item, at)
    return windows


def test_only_whole_seconds_count() -> None:
    windows = filled("r:5|c|#outcome:ok", "r:2|c|#outcome:shed", "t:1:2:3|d", at=100.2)
    assert windows.sums("r", "outcome", 10) == {}
    windows.advance(101.0)
    assert windows.sums("r", "outcome", 10) == {"ok": 5, "shed": 2}
    assert windows.total("r", 10) == 7
    assert windows.sketches("t", "", 10)[""].count == 3
    assert windows.each_sum("r", "outcome", 3) == [{}, {}, {"ok": 5, "shed": 2}]
    windows.advance(112.0)
    assert windows.sums("r", "outcome", 10) == {}


def test_rates_are_of_the_time_there_has_been() -> None:
    windows = filled("r:5|c", at=100.2)
    ages = []
    for now in (100.3, 103.5, 150.0):
        windows.advance(now)
        ages.append(windows.age(10))
    assert ages == [1, 3, 10]


def test_the_past_is_forgotten() -> None:
    windows = filled("m:7|g|#worker:0", "r:1|c", at=50.0)
    assert windows.gauges("m", "worker") == {"0": 7}
    windows.advance(50.0 + STALE + 1)
    assert windows.gauges("m", "worker") == {}
    assert windows.total("r", HISTORY) == 1
    windows.advance(52.0 + HISTORY)
    assert windows.total("r", HISTORY + 10) == 0


@pytest.fixture
def facts(trained: Path, tmp_path: Path) -> Facts:
    log = tmp_path / "log"
    log.write_text("2026-01-02T03:04:05.678Z ERROR service: broken " + "x" * 500 + "\n")
    url = "http://127.0.0.1:8000"
    return Facts(url, url, log, f"curl -s {url}/predict", read_manifest(trained), Slo.read())


HOSTILE = (
    *(f"worker.{kind}:1e308|g|#worker:{n}" for n in range(99) for kind in ("rss", "cpu")),
    *(f"model.predictions:{n}|c|#class:分類{n * 'x'}" for n in range(30)),
    *(f"model.out_of_range:9999999|c|#input:[/bold]{n * 'y'}" for n in range(60)),
    *(f"inference.latency:{value}|d|#outcome:ok" for value in ("nan", "inf", "-1", "0", "1e-300")),
    "inference.requests:99999999|c|#outcome:ok\ninference.requests:1|c|#outcome:new",
    "inference.shed:3|c|#reason:wait\nmodel.rows:5|c\nmodel.value:7:7|d|#field:score",
    "shadow.compare:3|c|#verdict:match\nshadow.compare:1|c|#verdict:mismatch",
    "shadow.compare:9|c|#verdict:not_compared\nshadow.percent:5|g|#worker:0",
    "shadow.inference:0.1|d|#role:live\nshadow.requests:1|c|#outcome:enqueued",
)


@pytest.mark.parametrize("lines", [(), HOSTILE], ids=["nothing", "hostile"])
@pytest.mark.parametrize("size", [(60, 9), (80, 22), (80, 24), (120, 42), (200, 60)])
def test_it_fits_every_terminal(
    facts: Facts, lines: tuple[str, ...], size: tuple[int, int]
) -> None:
    windows = filled(*lines, at=100.5)
    width, height = size
    console = Console(width=width, height=height, force_terminal=True, file=io.StringIO())
    rows = console.render_lines(View(windows, facts, lambda: 102.0), console.options)
    assert len(rows) <= height
    assert {sum(segment.cell_length for segment in row) for row in rows} == {width}
    text = "".join(segment.text for row in rows for segment in row)
    if lines and height >= 22:
        assert "75.0 %" in text  # of the pairs agree
        assert "[/bold]" in text or height < 34


def test_a_picture_needs_nothing_from_elsewhere(facts: Facts) -> None:
    windows = filled("inference.requests:7|c|#outcome:ok", at=100.5)
    svg = picture(View(windows, facts, lambda: 102.0), "title")
    assert "title</text>" in svg and ">3.5/s<" in svg  # 7 in 2 s
    assert 'url("http' not in svg and "<rect class" in svg


def test_the_service_is_seen_at_work_and_ends_with_the_screen() -> None:
    host = f"http://127.0.0.1:{(number := free_port())}"
    ours, theirs = pty.openpty()
    tool = subprocess.Popen(
        [sys.executable, "-m", "tools.observe", "--no-traces"],
        cwd=ROOT,
        env=os.environ
        | {"PORT": str(number), "WEB_CONCURRENCY": "1"}
        | {"TERM": "xterm", "COLUMNS": "110", "LINES": "40"},
        stdin=theirs,
        stdout=theirs,
        stderr=theirs,
    )
    os.close(theirs)
    written: list[bytes] = []

    def read() -> None:
        try:
            while chunk := os.read(ours, 65536):
                written.append(chunk)
        except OSError:  # nobody has the other end any more
            pass

    reader = threading.Thread(target=read)
    reader.start()

    def shown() -> str:
        text = b"".join(written[-40:]).decode(errors="replace")
        return re.sub(r"\x1b\[[0-9;?]*[A-Za-z]", "", text)

    def wait_for(pattern: str, wanted: Callable[[str, str], bool]) -> None:
        deadline = time.monotonic() + 30
        while not any(wanted(*found) for found in re.findall(pattern, shown(), re.DOTALL)):
            assert tool.poll() is None and time.monotonic() < deadline, shown()[-5000:]
            time.sleep(0.1)

    try:
        wait_for(r"(try) +(curl)", lambda *_: True)
        instances = read_manifest(ROOT / "artifact").golden.instances
        for body in [{"instances": instances}] * 4 + [{"instances": "none"}]:
            send(host, body)
        # Of the same screen, and rounded to two digits.
        rates = r" ok ([0-9.]+)/s(?:(?! ok ).)*client error ([0-9.]+)/s"
        wait_for(rates, lambda ok, bad: 0 < 3.6 * float(bad) <= float(ok) <= 4.4 * float(bad))
        wait_for(r" 0 [ ━╸]* ([0-9]+)% +([0-9]+) MiB", lambda cpu, memory: int(memory) > 20)
    finally:
        tool.send_signal(signal.SIGINT)
        status = tool.wait(30)
        reader.join()
        os.close(ours)
    assert status == 0
    _, screen, old = b"".join(written).rpartition(b"\x1b[?1049h")
    assert screen and b"\x1b[?1049l" in old
    with pytest.raises(urllib.error.URLError):
        send(host, {})


def send(host: str, body: object) -> None:
    content = json.dumps(body).encode()
    headers = {"Content-Type": "application/json"}
    request = urllib.request.Request(f"{host}/predict", content, headers)
    try:
        urllib.request.urlopen(request, timeout=10).close()
    except urllib.error.HTTPError as error:
        error.close()


def test_a_service_that_refuses_says_so_in_its_one_line(artifact_dir: Path, tmp_path: Path) -> None:
    next(artifact_dir.glob("model-*")).write_bytes(b"altered")
    done = subprocess.run(
        [sys.executable, "-m", "tools.observe", "--no-traces", "--picture", tmp_path / "a.svg"],
        cwd=ROOT,
        env=os.environ | {"ARTIFACT_DIR": str(artifact_dir), "PORT": "0"},
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert done.returncode == 3
    (line,) = done.stdout.splitlines()
    assert line.startswith("refusing to start: ") and "altered" in line
