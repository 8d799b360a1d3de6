from __future__ import annotations

import json
import logging
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from service import log_writer
from service.log_writer import LogWriter
from service.logs import LINES_PER_SECOND, QUIET, AccessLog, Handler, Json, Text


def record(message: str, fields: dict[str, Any], error: Exception | None = None) -> Any:
    info = None
    if error:
        try:
            raise error
        except Exception:
            info = sys.exc_info()
    made = logging.LogRecord("service", logging.INFO, "file.py", 1, message, (), info)
    made.fields = fields
    return made


def test_a_record_is_one_json_line_whatever_is_in_it() -> None:
    error = RuntimeError('two\nlines and a "quote"')
    line = Json().format(record("up\nand down", {"status": 500, "odd": {1, 2}}, error))
    assert "\n" not in line
    found = json.loads(line)
    assert found["message"] == "up\nand down"
    assert found["status"] == 500
    assert found["error.kind"] == "RuntimeError"
    assert found["error.message"] == str(error)
    assert "test_logs.py" in found["error.stack"]


def test_ids_of_a_trace_are_there_only_if_there_is_one() -> None:
    traced = record("hello", {})
    traced.__dict__.update({"dd.trace_id": "abc", "dd.span_id": "0", "dd.env": ""})
    found = json.loads(Json().format(traced))
    assert {key: value for key, value in found.items() if key.startswith("dd.")} == {
        "dd.trace_id": "abc"
    }


def test_text_is_for_reading() -> None:
    text = Text().format(record("POST /predict 500", {"status": 500}, ValueError("why")))
    first, rest = text.split("\n", 1)
    assert first.endswith(
        "INFO service: POST /predict 500 status=500 error.kind=ValueError error.message=why"
    )
    assert rest.startswith("  Traceback")


FORGED = "2026-01-01T00:00:00.000Z INFO service: all is well"
BREAKS = "\n \r \v \f \x1c \x1d \x1e \x85 \u2028 \u2029".split(" ")


@pytest.mark.parametrize("format", [Json(), Text()])
def test_nothing_said_makes_a_line_or_commands_a_terminal(format: logging.Formatter) -> None:
    said = "".join(f"{mark}{FORGED}" for mark in BREAKS) + "\x1b[2J\x9b2J\u202e\ud800"
    line = format.format(record(said, {"body": said}, ValueError(said)))
    first, *more = line.splitlines()
    assert len(more) == 0 or isinstance(format, Text)
    assert all(part.startswith("  ") for part in more)
    assert all(char.isprintable() for char in line.replace("\n", ""))
    if isinstance(format, Json):
        assert json.loads(line)["message"] == said


def test_a_line_is_not_endless() -> None:
    found = json.loads(Json().format(record("x" * 10**6, {}, ValueError("y" * 10**6))))
    for name in "message", "error.message", "error.stack":
        assert 20_000 <= len(found[name]) < 20_100
    assert found["error.stack"].startswith("Traceback")


def test_failures_and_slow_requests_have_a_line_whatever_the_sample() -> None:
    log = AccessLog(sample=0.0, slow_ms=100)
    assert [log.wants(200, 0.01), log.wants(200, 0.2)] == [False, True]
    assert all(log.wants(status, 0.01) for status in (400, 404, 500, 503, 504))
    assert AccessLog(sample=1.0, slow_ms=100).wants(200, 0.01)


def test_a_flood_is_cut_and_the_next_line_says_how_much(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    clock = [1000.0]
    monkeypatch.setattr("service.logs.time.monotonic", lambda: clock[0])
    log = AccessLog(sample=0.0, slow_ms=100)
    assert sum(log.wants(503, 0.01) for _ in range(5000)) == LINES_PER_SECOND
    clock[0] += 1
    assert log.wants(503, 0.01)
    with caplog.at_level(logging.INFO):
        log.write(503, "POST /predict 503", {}, None)
    assert vars(caplog.records[-1])["fields"] == {"omitted": 5000 - LINES_PER_SECOND}


@pytest.mark.parametrize(
    ("name", "lines", "seconds"), [(QUIET[0], 1, 60), ("py.warnings", LINES_PER_SECOND, 1)]
)
def test_a_library_repeats_itself_so_often(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, name: str, lines: int, seconds: int
) -> None:
    clock = [1000.0]
    monkeypatch.setattr("service.logs.time.monotonic", lambda: clock[0])
    file = tmp_path / "lines"
    writer = LogWriter(os.open(file, os.O_WRONLY | os.O_CREAT))
    monkeypatch.setattr("service.logs.stdout", writer)
    handler = Handler()
    handler.setFormatter(Json())
    for moment in 1000, 1000, 1000 + seconds:
        clock[0] = moment
        for _ in range(lines):
            handler.handle(logging.LogRecord(name, logging.INFO, "", 0, "again", (), None))
    writer.flush()
    found = [json.loads(line).get("omitted") for line in file.read_text().splitlines()]
    assert len(found) == 2 * lines
    assert [(i, omitted) for i, omitted in enumerate(found) if omitted] == [(lines, lines)]


def test_what_nobody_reads_is_lost_and_told_when_it_goes_on(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    reader, descriptor = os.pipe()
    os.set_blocking(descriptor, False)  # as another program may have left it
    writer = LogWriter(descriptor)
    told: list[int] = []
    monkeypatch.setattr(log_writer.log, "warning", lambda message, lost: told.append(lost))
    lines = [b"%06d %s\n" % (i, b"x" * 100 * (i % 100)) for i in range(2000)]
    taken = [line for line in lines if writer.put(line)]
    assert 100 < len(taken) < len(lines)
    assert not told
    with os.fdopen(reader, "rb") as stream:
        assert [stream.readline() for _ in taken] == taken
        writer.flush()
    assert told == [len(lines) - len(taken)]


def test_lines_are_taken_together_or_not_at_all() -> None:
    reader, descriptor = os.pipe()
    writer = LogWriter(descriptor)
    line = b"x" * (log_writer.MOST_BYTES // 2 - 1) + b"\n"
    assert not writer.put(line, line, line)
    with os.fdopen(reader, "rb") as stream:
        assert writer.put(line, b"y\n")
        assert (stream.readline(), stream.readline()) == (line, b"y\n")
    os.close(descriptor)


def test_a_child_does_not_repeat_what_its_parent_has_to_say() -> None:
    script = """
import os
from service.log_writer import stdout
for i in range(1000):
    stdout.put(b"parent %d\\n" % i)
if not (child := os.fork()):
    stdout.put(b"child\\n")
    stdout.flush()
    os._exit(0)
os.waitpid(child, 0)
"""
    done = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, check=True
    )
    lines = done.stdout.splitlines()
    assert len(lines) == len(set(lines)) == 1001
