from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Sequence
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from rich.console import Console

from loadtests.serving import free_port, ready
from service.artifact import read_manifest
from tools.observe import BAR_SECONDS, MOST_ROWS, History, Sample, parse, readable, table

ROOT = Path.cwd()  # the service
# Runs a command in a terminal, and writes what comes out of that.
IN_TERMINAL = [sys.executable, "-c", "import pty, sys; sys.exit(pty.spawn(sys.argv[1:]) >> 8)"]


def screen(datagram: bytes, width: int = 120) -> list[str]:
    """Return the lines of the table after one bar with a datagram and one with nothing."""
    history = History()
    for sample in parse(datagram):
        history.add(sample)
    history.close_bar()
    history.close_bar()
    console = Console(width=width)
    with console.capture() as capture:
        console.print(table(history, "http://there", width))
    return capture.get().splitlines()


def test_a_datagram_as_the_service_sends_it() -> None:
    datagram = (
        b"inference.requests:12|c|#route:/predict,status:200,env:local|c:in-4026531\n"
        b"model.value:0.25:1e-05:-3|d|#field:score|T1700000000\n"
        b"_e{5,7}:started|on host|#env:local\n"
        b"inference.in_flight:0|g|#worker:1\n"
        b"sampled:2:1|c|@0.5\n"
        b"sampled:0.002|ms|@0.5"
    )
    tags = {"route": "/predict", "status": "200", "env": "local"}
    assert list(parse(datagram)) == [
        Sample("inference.requests", "c", [12], tags),
        Sample("model.value", "d", [0.25, 1e-5, -3], {"field": "score"}),
        Sample("inference.in_flight", "g", [0], {"worker": "1"}),
        Sample("sampled", "c", [4, 2], {}),
        Sample("sampled", "d", [0.002], {}),
    ]


PIECES = st.sampled_from(["m", "_e{1,1}", "c", "g", "d", "@0", "@1e-320", "#a:b,:,c", "[/bold]"])
NUMBERS = (st.floats() | st.integers()).map(str)
LINES = st.lists(PIECES | NUMBERS | st.text(max_size=3) | st.sampled_from([":", "|", "\n"]))


@settings(deadline=None, max_examples=50)
@given(st.binary() | LINES.map(lambda parts: "".join(parts).encode(errors="replace")))
def test_garbage_is_passed_over(garbage: bytes) -> None:
    screen(garbage)
    assert list(parse(garbage + b"\nb:1|c"))[-1] == Sample("b", "c", [1], {})


@settings(deadline=None, max_examples=50)
@given(st.lists(NUMBERS, min_size=1), st.sampled_from("cgd"), st.sampled_from(["m", "a.wait"]))
def test_any_number_can_be_shown(numbers: list[str], kind: str, name: str) -> None:
    screen(f"{name}:{':'.join(numbers)}|{kind}".encode())


def test_rows_are_of_what_matters_of_the_tags() -> None:
    name, title, *lines = screen(
        b"worker.rss:1048576|g|#worker:0,service:here,version:12ab\n"
        b"worker.rss:3145728|g|#worker:1,service:here,version:12ab\n"
        b"inference.shed:30|c|#reason:[/bold],service:here,version:12ab\n"
        b"inference.latency:0.25:0.001:0.002|d|#service:here,version:12ab"
    )
    assert (name + title).split() == ["here", "12ab", "http://there"]
    header, _, *rows = (line.split() for line in lines if line.strip())
    assert header == ["metric", "tags", "last", f"{30 * BAR_SECONDS}", "s", "now", "p50", "p99"]
    # A bar for each of the two; a gauge holds its value, and the highest worker's counts.
    assert rows[:3] == [
        ["inference.latency", "▇", "2", "ms", "250", "ms"],
        ["inference.shed", "reason:[/bold]", "▇", "0/s"],
        ["worker.rss", "▇▇", "3", "MiB"],
    ]


def test_of_many_tags_those_with_the_highest_peaks_are_shown() -> None:
    counts = "\n".join(f"model.nulls:{n + 1}|c|#input:{n:02}{'分類' * 30}" for n in range(30))
    lines = screen(counts.encode(), width=80)
    assert sum("input:" in line for line in lines) == MOST_ROWS
    assert any(f"and {30 - MOST_ROWS} more" in line for line in lines)
    assert not any("input:00" in line for line in lines)


@pytest.mark.parametrize(
    ("name", "value", "shown"),
    [
        ("inference.latency", 1.5, "1.50 s"),
        ("inference.latency", 0.0123, "12.3 ms"),
        ("inference.decode", 0.00012, "120 µs"),
        ("inference.decode", 0.0, "0 µs"),
        ("worker.rss", 150e6, "143 MiB"),
        ("model.value", -0.01234, "-0.0123"),
        ("model.rows", 12345.6, "12,346"),
    ],
)
def test_values_have_their_units(name: str, value: float, shown: str) -> None:
    assert readable(name, value) == shown


def start(
    *arguments: str, wrapper: Sequence[str] = (), **env: str
) -> tuple[subprocess.Popen[str], str]:
    """Run the tool; returns it, and where its service will be."""
    port = str(free_port())
    tool = subprocess.Popen(
        [*wrapper, sys.executable, "-m", "tools.observe", *arguments],
        cwd=ROOT,
        env=os.environ | {"PORT": port, "WEB_CONCURRENCY": "1", "TERM": "xterm"} | env,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        # As in a script that runs it in the background.
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_IGN),
    )
    return tool, f"http://127.0.0.1:{port}"


def wait_until_ready(tool: subprocess.Popen[str], url: str) -> None:
    deadline = time.monotonic() + 60
    while not ready(url):
        assert tool.poll() is None and time.monotonic() < deadline
        time.sleep(0.1)


def test_the_service_is_seen_at_work_and_drawn(tmp_path: Path) -> None:
    drawing = tmp_path / "picture.svg"
    arguments = ("--load", "--seconds", str(4 * BAR_SECONDS), "--picture", str(drawing))
    tool, url = start(*arguments, wrapper=IN_TERMINAL, COLUMNS="120", LINES="40")
    wait_until_ready(tool, url)
    manifest = read_manifest(ROOT / "artifact")
    with pytest.raises(urllib.error.HTTPError) as refused:
        urllib.request.urlopen(f"{url}/predict", b"{}", timeout=10)
    refused.value.close()
    output, _ = tool.communicate(timeout=60)
    assert tool.returncode == 0 and not ready(url)
    before, final = output.split("\x1b[?1049l")  # the terminal is given back, and then told
    assert "\x1b[?1049h" in before
    svg = drawing.read_text().replace("&#160;", " ")
    assert 'url("http' not in svg
    for text in (re.sub(r"\x1b\[[0-9;]*m", "", final), svg):
        assert manifest.name in text and manifest.version in text
        assert "inference.requests" in text and re.search(r"[0-9.]+ ms.* MiB", text, re.DOTALL)
        assert "route:/predict status:200" in text and "status:4" in text


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_ends_it_and_its_service(number: signal.Signals) -> None:
    tool, url = start()
    wait_until_ready(tool, url)
    tool.send_signal(number)
    output, errors = tool.communicate(timeout=40)
    assert (tool.returncode, errors) == (0, "") and not ready(url)
    assert output.count("metric ") == 1 and "\x1b" not in output


def test_a_service_that_refuses_says_so_in_its_one_line(artifact_dir: Path) -> None:
    next(artifact_dir.glob("model-*")).write_bytes(b"altered")
    tool, _ = start(ARTIFACT_DIR=str(artifact_dir))
    output, errors = tool.communicate(timeout=60)
    assert tool.returncode == 3
    assert errors.startswith("refusing to start: ") and "altered" in errors
