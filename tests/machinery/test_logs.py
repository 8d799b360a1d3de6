from __future__ import annotations

import json
import logging
import sys
from typing import Any

import pytest

from service.logs import LINES_PER_SECOND, AccessLog, Json, Seldom, Text


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
    assert rest.startswith("Traceback")


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


def test_a_library_repeats_itself_once_a_minute(monkeypatch: pytest.MonkeyPatch) -> None:
    clock = [1000.0]
    monkeypatch.setattr("service.logs.time.monotonic", lambda: clock[0])
    seldom = Seldom()
    one = record("no agent", {})
    assert [seldom.filter(one), seldom.filter(one)] == [True, False]
    clock[0] += 61
    assert seldom.filter(one)
