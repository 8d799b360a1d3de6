"""make drift asks Datadog, a server with its routes, for the monitors that tell of drift."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from datadog_api_client import Configuration
from datadog_server import Datadog, serving

from tools.datadog.definitions import definitions, values
from tools.drift import __main__ as tool
from tools.drift import monitors


@pytest.fixture(autouse=True)
def page(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    path = tmp_path / "report" / "drift.md"
    monkeypatch.setattr(tool, "REPORT", path)
    return path


@pytest.fixture
def datadog() -> Iterator[Datadog]:
    """With all monitors applied, and calm."""
    server = Datadog()
    for one in definitions():
        if one.kind == "monitor":
            server.write("monitor", str(server.id()), one.body)
    with serving(server):
        yield server


def run(server: Datadog, api_key: str = "api", **environ: str) -> int:
    keys = {"apiKeyAuth": api_key, "appKeyAuth": "app"}
    host = f"http://127.0.0.1:{server.server_port}"
    return tool.main([], environ, Configuration(host=host, api_key=keys, retry_policy=False))


def monitor(server: Datadog, name: str) -> dict[str, Any]:
    tag = f"object:monitor.{name}"
    (found,) = [one for one in server.objects["monitor"].values() if tag in one["tags"]]
    return dict(found)


def becomes(server: Datadog, name: str, state: str) -> None:
    found = monitor(server, name)
    server.objects["monitor"][str(found["id"])] = found | {"overall_state": state}


def test_calm(datadog: Datadog, page: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(datadog) == 0
    link = f"https://app.datadoghq.com/monitors/{monitor(datadog, 'out-of-range')['id']}"
    head, row, said = capsys.readouterr().out.splitlines()
    assert re.split(r"  +", head) == ["monitor", "env", "state", "since (UTC)", "link"]
    assert re.split(r"  +", row) == ["out-of-range", "production", "OK", "2026-11-20 07:15", link]
    assert said == "no drift" and page.read_text().startswith("## No drift\n\n| monitor | env |")
    assert datadog.writes == []


def test_an_alert_is_drift(
    datadog: Datadog, page: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    becomes(datadog, "out-of-range", "Alert")
    assert run(datadog) == 3
    assert "Alert" in capsys.readouterr().out
    assert "## Drift" in page.read_text() and "| out-of-range | production | Alert |" in (
        page.read_text()
    )


@pytest.mark.parametrize("state", ["Warn", "No Data", "Ignored", "Skipped", "Unknown"])
def test_no_other_state_is_drift(datadog: Datadog, state: str) -> None:
    becomes(datadog, "out-of-range", state)
    assert run(datadog) == 0


def test_alerts_that_are_not_of_drift_or_not_ours_are_none(datadog: Datadog) -> None:
    for name in ("burn-fast", "p99", "no-data"):
        becomes(datadog, name, "Alert")
    ours, service = monitor(datadog, "out-of-range"), values()["service"]
    tags = [tag.replace(service, "other") for tag in ours["tags"]]
    for foreign in (ours | {"tags": tags}, ours):  # another service's, and a copy of ours
        id = str(900 + datadog.id())
        datadog.objects["monitor"][id] = foreign | {"id": int(id), "overall_state": "Alert"}
    assert run(datadog) == 0


def test_monitors_have_to_be_there(
    datadog: Datadog, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    datadog.objects["monitor"].clear()
    assert run(datadog) == 2
    assert capsys.readouterr().err == (
        "drift: Datadog has no monitor out-of-range of ours: run make datadog-apply\n"
    )
    monkeypatch.setattr(monitors, "TAG", "retrain:no")
    assert run(datadog) == 2
    assert "no monitor in datadog/monitors.yaml has the tag" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("status", "code"), [(400, 2), (401, 2), (403, 2), (429, 75), (500, 75), (503, 75)]
)
def test_datadog_says_no(
    datadog: Datadog, status: int, code: int, page: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    datadog.refusal = "GET .*/monitor", status, {"errors": ["oh"]}
    assert run(datadog) == code
    err = capsys.readouterr().err
    assert re.fullmatch(f"drift: monitors: Datadog answered {status}.*oh.*\n", err)
    assert not page.exists()


def test_wrong_keys_and_a_closed_port(datadog: Datadog, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(datadog, api_key="wrong") == 2
    assert re.fullmatch("drift: monitors: .*403 Forbidden.*\n", capsys.readouterr().err)
    configuration = Configuration(host="http://127.0.0.1:1", api_key={}, retry_policy=False)
    assert tool.main([], {}, configuration) == 75
    assert re.fullmatch("drift: .*no answer from Datadog.*\n", capsys.readouterr().err)


@pytest.mark.parametrize(
    ("environ", "says"),
    [
        ({}, "set DD_API_KEY and DD_APP_KEY "),
        ({"DD_API_KEY": "k", "DD_APP_KEY": "k", "DD_SITE": "nowhere"}, "DD_SITE: .*nowhere"),
        ({"ON_DRIFT": "train"}, "ON_DRIFT=train: expected retrain, or nothing"),
    ],
)
def test_used_wrongly(
    environ: dict[str, str], says: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert tool.main([], environ) == 2
    assert re.fullmatch(f"drift: {says}.*\n", capsys.readouterr().err)


@pytest.mark.parametrize(
    ("site", "host"),
    [
        ("datadoghq.com", "app.datadoghq.com"),
        ("datadoghq.eu", "app.datadoghq.eu"),
        ("us5.datadoghq.com", "us5.datadoghq.com"),
    ],
)
def test_links_go_to_the_site(datadog: Datadog, site: str, host: str) -> None:
    keys = {"apiKeyAuth": "api", "appKeyAuth": "app"}
    configuration = Configuration(host=f"http://127.0.0.1:{datadog.server_port}", api_key=keys)
    configuration.server_variables["site"] = site
    ((*_, link),) = monitors.ask(configuration).rows
    assert link.startswith(f"https://{host}/monitors/")
