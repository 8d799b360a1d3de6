"""Fuzzers find no 5xx and no hang: one reads the OpenAPI document, one tampers with bytes."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import fuzz
import pytest
from harness import Service, serve
from kinds import Kind


@pytest.fixture
def mixed(baked: Path, tmp_path: Path) -> Iterator[Service]:
    with serve(Kind("mixed").trained(baked, tmp_path)) as service:
        yield service


@pytest.mark.parametrize("name", ["live", "mixed"])
def test_fuzzed_service_keeps_its_word(
    name: str, request: pytest.FixtureRequest, tmp_path: Path
) -> None:
    service: Service = request.getfixturevalue(name)
    command = [f"{Path(sys.executable).parent}/schemathesis", "run", f"{service.url}/openapi.json"]
    command += ["--max-examples=60", "--max-time=15", "--seed=1", "--request-timeout=5"]
    command += ["--phases=examples,coverage,fuzzing", "--no-color", "--checks=all"]
    # Too many instances are 413 here, which it does not count as a refusal of its own accord.
    (tmp_path / "schemathesis.toml").write_text(
        "[checks.negative_data_rejection]\n"
        'expected-statuses = ["4xx"]\n'
        # Whoever asks for an answer within 1 ms gets it late, or is told at once that it would be.
        "[checks.not_a_server_error]\n"
        'expected-statuses = ["2xx", "4xx", "503", "504"]\n'
    )
    # Numbers near the largest there is fit the document, yet a model may decline them.
    command += ["--exclude-checks=positive_data_acceptance"]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "Traceback" not in service.logged
    assert service.predict([service.instance]), "who is in no hurry is not refused"


def test_tampered_requests_are_read_as_gunicorn_reads_them(baked: Path) -> None:
    # A tenth of `make fuzz`.
    fuzz.fuzz(baked, fuzz.BODIES // 10, fuzz.CONNECTIONS // 10)
