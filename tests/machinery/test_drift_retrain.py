"""Drift starts a training: what each CI system is asked for, and what it may answer."""

from __future__ import annotations

import json
import re
import shutil
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs

import pytest
from datadog_api_client import Configuration
from datadog_server import serving
from player import Player
from retraining import ALL, keep

from tools.datadog.definitions import FOLDER, values
from tools.drift import Found, monitors
from tools.drift import __main__ as tool

TOKEN = "t0ken+/="
PATH = "/runs?api-version=7.1&x=%20y"
DRIFT = Found(("monitor", "state"), [("out-of-range", "Alert")], drift=True)


class System(ThreadingHTTPServer):
    """A CI system: it notes requests, and answers as it is told."""

    daemon_threads = True

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), Handler)
        self.requests: list[tuple[str, dict[str, str], bytes]] = []
        self.status, self.headers, self.said = 201, {"X": "y"}, b'{"id": 7}'


class Handler(BaseHTTPRequestHandler):
    server: System

    def log_message(self, format: str, *args: Any) -> None:
        pass

    def do_GET(self) -> None:
        body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
        request = f"{self.command} {self.path}", dict(self.headers.items()), body
        self.server.requests.append(request)
        self.send_response(self.server.status)
        for name, value in self.server.headers.items():
            self.send_header(name, value)
        self.end_headers()
        if self.server.status != 204:
            self.wfile.write(self.server.said)

    do_POST = do_GET


@pytest.fixture
def system() -> Iterator[System]:
    server = System()
    with serving(server):
        yield server


@pytest.fixture(autouse=True)
def drifting(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tool, "REPORT", tmp_path / "report" / "drift.md")
    monkeypatch.setattr(monitors, "ask", lambda configuration: DRIFT)


def definitions_of(ci: str, into: Path) -> Path:
    folder = Path(shutil.copytree(FOLDER, into / "datadog"))
    keep(ci, folder)
    return folder


def run(folder: Path, system: System | None = None, **environ: str) -> int:
    url = f"http://127.0.0.1:{system.server_port}{PATH}" if system else "http://127.0.0.1:1"
    environ = {"ON_DRIFT": "retrain", "RETRAIN_URL": url, "RETRAIN_TOKEN": TOKEN} | environ
    return tool.main([], environ, Configuration(), folder)


# By CI system: the header Authorization, and the body.
REQUESTS: dict[str, tuple[str | None, Any]] = {
    "github": (f"Bearer {TOKEN}", {"ref": "main"}),
    "gitlab": (None, {"token": [TOKEN], "ref": ["main"]}),
    "jenkins": (f"Basic {TOKEN}", {"WHAT": ["retrain"]}),
    "azure": (
        f"Basic {TOKEN}",
        {"resources": {"repositories": {"self": {"refName": "refs/heads/main"}}}},
    ),
}


@pytest.mark.parametrize("ci", REQUESTS)
def test_drift_starts_a_training(
    ci: str, system: System, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(definitions_of(ci, tmp_path), system) == 0
    ((line, headers, body),) = system.requests
    authorization, sent = REQUESTS[ci]
    assert line == f"POST {PATH}" and headers.get("Authorization") == authorization
    if headers["Content-Type"] == "application/json":
        assert json.loads(body) == sent
    else:
        assert headers["Content-Type"] == "application/x-www-form-urlencoded"
        assert parse_qs(body.decode(), strict_parsing=True) == sent
    if ci == "github":
        assert headers["Accept"] == "application/vnd.github+json"
    out = capsys.readouterr().out.splitlines()
    assert re.fullmatch(r"started a training: POST http://127.0.0.1:\d+/runs.*: 201", out[-1])
    assert TOKEN not in "".join(out)


@pytest.mark.parametrize("token", ['"}', "a&ref=other", "$RETRAIN_URL", "';id;'"])
@pytest.mark.parametrize("ci", ["gitlab", "github"])
def test_a_token_stays_one_value(ci: str, token: str, system: System, tmp_path: Path) -> None:
    assert run(definitions_of(ci, tmp_path), system, RETRAIN_TOKEN=token) == 0
    ((_, headers, body),) = system.requests
    if ci == "gitlab":
        assert parse_qs(body.decode()) == {"token": [token], "ref": ["main"]}
    else:
        assert headers["Authorization"] == f"Bearer {token}"


def test_aws_is_asked_by_its_command(
    tmp_path: Path, player: Player, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = definitions_of("aws", tmp_path)
    player.plays(codepipeline_start=[{"pipelineExecutionId": "1-2"}])
    environ = {"ON_DRIFT": "retrain"}
    assert tool.main([], environ, Configuration(), folder) == 0
    words = ["codepipeline", "start-pipeline-execution", "--name", values()["service"]]
    assert player.calls("codepipeline") == [(words, "")]
    assert capsys.readouterr().out.endswith(f"started a training: aws {' '.join(words)}\n")
    player.plays(codepipeline_start=["!An error occurred (PipelineNotFoundException)"])
    assert tool.main([], environ, Configuration(), folder) == 2
    assert re.fullmatch(
        "drift: no training started: .*PipelineNotFound.*\n", capsys.readouterr().err
    )


@pytest.mark.parametrize("status", [200, 202, 204])
def test_other_answers_say_yes_too(status: int, system: System, tmp_path: Path) -> None:
    system.status = status
    assert run(definitions_of("github", tmp_path), system) == 0


@pytest.mark.parametrize(
    ("status", "code"), [(203, 2), (400, 2), (401, 2), (404, 2), (429, 75), (500, 75), (503, 75)]
)
def test_a_refusal_is_one_line(
    status: int, code: int, system: System, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    system.status, system.said = status, b"<html>\nno"
    assert run(definitions_of("azure", tmp_path), system) == code
    line = f"drift: no training started: POST http://.*/runs.*: {status} <html> no\n"
    assert re.fullmatch(line, capsys.readouterr().err)


def test_a_token_does_not_follow_a_redirect(system: System, tmp_path: Path) -> None:
    system.status = 302
    system.headers = {"Location": f"http://127.0.0.1:{system.server_port}/elsewhere"}
    assert run(definitions_of("jenkins", tmp_path), system) == 2
    assert [line for line, *_ in system.requests] == [f"POST {PATH}"]


def test_no_answer_is_for_later(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(definitions_of("github", tmp_path)) == 75
    assert re.fullmatch("drift: no training started: .*refused.*\n", capsys.readouterr().err)


@pytest.mark.parametrize(
    ("environ", "says"),
    [
        ({"RETRAIN_TOKEN": ""}, "RETRAIN_TOKEN: not set"),
        ({"RETRAIN_URL": ""}, "RETRAIN_URL: not set"),
        ({"RETRAIN_TOKEN": "a b"}, "RETRAIN_TOKEN: "),
        ({"RETRAIN_TOKEN": "a\nX-Other: b"}, "RETRAIN_TOKEN: "),
        ({"RETRAIN_TOKEN": "é"}, "RETRAIN_TOKEN: "),
        ({"RETRAIN_URL": "file:///etc/passwd"}, "RETRAIN_URL: expected an address"),
        ({"RETRAIN_URL": "example.com"}, "RETRAIN_URL: expected an address"),
    ],
)
def test_variables_are_checked(
    environ: dict[str, str], says: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(definitions_of("github", tmp_path), None, **environ) == 2
    err = capsys.readouterr().err
    assert err.startswith(f"drift: {says}") and err.count("\n") == 1


@pytest.mark.parametrize(
    ("ci", "says"),
    [
        ("none", "no CI system is told in datadog/retrain: run make retrain"),
        ("aws", "keep that of"),
    ],
)
def test_there_is_one_definition(
    ci: str, says: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = definitions_of(ci, tmp_path)
    if ci != "none":
        shutil.copytree(ALL, folder / "retrain", dirs_exist_ok=True)
    assert run(folder) == 2
    assert says in capsys.readouterr().err


def test_calm_starts_nothing(
    system: System, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    calm = Found(DRIFT.head, [("out-of-range", "OK")], drift=False)
    monkeypatch.setattr(monitors, "ask", lambda configuration: calm)
    assert run(definitions_of("github", tmp_path), system) == 0
    assert system.requests == []
