"""The tool that brings `datadog/` to Datadog, against a server with its routes."""

from __future__ import annotations

import json
import re
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml
from datadog_api_client import Configuration
from datadog_server import Datadog, serving
from retraining import keep

from tools.datadog import __main__ as tool
from tools.datadog import definitions as files
from tools.datadog.changes import changes
from tools.datadog.client import configured
from tools.datadog.definitions import Invalid, definitions, fill, values


@pytest.fixture
def datadog() -> Iterator[Datadog]:
    server = Datadog()
    with serving(server):
        yield server


def run(command: str, server: Datadog, api_key: str = "api") -> int:
    keys = {"apiKeyAuth": api_key, "appKeyAuth": "app"}
    host = f"http://127.0.0.1:{server.server_port}"
    return tool.main([command], Configuration(host=host, api_key=keys))


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A copy of datadog/ to change, with few widgets: the client takes 10 ms for each."""
    copy = Path(shutil.copytree(files.FOLDER, tmp_path / "datadog"))
    (copy / "dashboard.yaml").write_text(yaml.safe_dump(SMALL))
    monkeypatch.setattr(tool, "definitions", lambda: definitions(copy))
    monkeypatch.setattr(tool, "values", lambda: values(copy))
    return copy


def small() -> dict[str, Any]:
    dashboard = yaml.safe_load((files.FOLDER / "dashboard.yaml").read_text())
    group = dashboard["main"]["widgets"][0]
    group["definition"]["widgets"] = group["definition"]["widgets"][:3]
    dashboard["main"]["widgets"] = [group]
    return {"main": dashboard["main"]}


SMALL = small()


def edit(path: Path, old: str, new: str) -> None:
    assert old in path.read_text()
    path.write_text(path.read_text().replace(old, new, 1))


# A mistake in a definition, and what counts as a change


@pytest.mark.parametrize(
    ("file", "old", "new", "says"),
    [
        ("monitors.yaml", "${p99_seconds}", "${p99}", "nothing is called ${p99}"),
        (
            "monitors.yaml",
            "priority: 1",
            "prioritty: 1",
            "monitor burn-fast: nothing is called 'pr",
        ),
        (
            "monitors.yaml",
            "type: slo alert",
            "type: slow alert",
            "burn-fast.type: Datadog knows nothing 's",
        ),
        ("dashboard.yaml", "type: timeseries", "type: timesries", "dashboard main.widgets[0]."),
        (
            "dashboard.yaml",
            "display_type: bars",
            "display_typ: bars",
            "nothing is called 'display_t",
        ),
        ("slo.yaml", "thresholds:\n", "thresholds: [\n", "slo.yaml: while parsing"),
        (
            "thresholds.toml",
            "burn_fast = 14.4",
            "burn_fast = 1e6",
            "burn_fast = 1000000.0 can never",
        ),
    ],
)
def test_a_mistake_is_named_before_anything_is_written(
    file: str,
    old: str,
    new: str,
    says: str,
    folder: Path,
    datadog: Datadog,
    capsys: pytest.CaptureFixture[str],
) -> None:
    edit(folder / file, old, new)
    assert run("apply", datadog) == 2
    err = capsys.readouterr().err
    assert says in err and err.count("\n") == 1
    assert datadog.writes == []


def test_fill_keeps_types_and_what_is_not_ours() -> None:
    filled = fill({"a": "${x}", "b": ["up to ${x} $env"], "c": 1}, {"x": 0.5}, "here")
    assert filled == {"a": 0.5, "b": ["up to 0.5 $env"], "c": 1}
    with pytest.raises(Invalid, match=r"here.a\[0\]: nothing is called \$\{y\}"):
        fill({"a": ["${y}"]}, {"x": 1}, "here")


def test_changes_shows_the_line_that_changed_and_ignores_what_datadog_added() -> None:
    ours = {"message": "one\ntwo\nthree", "tags": ["a", "b"], "n": 1, "list": [{"x": 1}]}
    theirs = {"list": [{"id": 7, "x": 1.0}], "tags": ["b", "a"], "n": 1.0, "created": "yesterday"}
    assert changes(ours, theirs | {"message": "one\ntwo\nthree"}) == []
    lines = changes(ours, theirs | {"message": "one\n2\nthree"})
    assert [line for line in lines if line[0] in "+-"][2:] == ["-  2", "+  two"]


def test_the_truth_is_held_against_the_gates_that_there_are(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def monitors(*gates: str) -> dict[str, Any]:
        monkeypatch.setattr("model.GATES", gates)
        found = {one.name: one.body for one in definitions(folder) if one.kind == "monitor"}
        return {
            name.removeprefix("live-"): body["options"]["thresholds"]["critical"]
            for name, body in found.items()
            if name.startswith("live-")
        }

    assert monitors("accuracy >= 0.955", "roc_auc >= 0.9") == {"accuracy": 95.5}
    assert monitors("mae <= 40", "rmse <= 0.1") == {"mae": 40, "rmse": 0.01}
    assert monitors() == monitors("accuracy <= 0.5", "rmse >= 1") == {}
    with pytest.raises(Invalid, match="model.py: GATES: 'accuracy > 0.9' is not of the form"):
        monitors("accuracy > 0.9")


# Plan and apply


def test_plan_apply_and_apply_again(
    datadog: Datadog, folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    defined = definitions(folder)
    assert run("plan", datadog) == 0
    assert datadog.writes == []
    assert f"{len(defined)} to create, 0 to update, 0 as they" in capsys.readouterr().out

    assert run("apply", datadog) == 0
    assert len(datadog.writes) == len(defined)
    assert f"{len(defined)} created, 0 updated, 0 as they" in capsys.readouterr().out
    (slo,) = datadog.objects["slo"].values()
    assert f'burn_rate("{slo["id"]}")' in str(datadog.objects["monitor"])
    assert f"'slo_id': '{slo['id']}'" in str(datadog.objects["dashboard"])
    assert "${" not in str(datadog.objects)

    datadog.writes.clear()
    assert run("apply", datadog) == 0
    assert datadog.writes == []
    assert f"0 created, 0 updated, {len(defined)} as they" in capsys.readouterr().out


def test_a_changed_definition_is_shown_and_only_that_is_updated(
    datadog: Datadog, folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run("apply", datadog) == 0
    datadog.writes.clear()
    capsys.readouterr()
    edit(folder / "thresholds.toml", "shed_percent = 1", "shed_percent = 3")
    edit(folder / "entity.datadog.yaml", 'tier: "2"', 'tier: "1"')
    edit(folder / "slo.yaml", "properly.\n", "rightly.\n")
    # A line taken out, which no comparison with what Datadog holds could show.
    edit(folder / "monitors.yaml", "    renotify_interval: 60\n", "")

    assert run("plan", datadog) == 0
    out = capsys.readouterr().out
    assert datadog.writes == []
    changed = re.findall(r"^~ (.*)$", out, re.M)
    assert changed == ["slo answered", "monitor burn-fast", "monitor shed", "entity service"]
    assert re.search(r"^    -  *critical: 1.0$\n    \+  *critical: 3.0$", out, re.M)

    assert run("apply", datadog) == 0
    assert [route.split()[0] for route in datadog.writes] == ["PUT", "PUT", "PUT", "POST"]
    assert "renotify_interval" not in str(datadog.objects["monitor"])
    datadog.writes.clear()
    assert run("apply", datadog) == 0
    assert datadog.writes == []


def test_a_change_made_by_hand_in_datadog_is_undone(datadog: Datadog, folder: Path) -> None:
    assert run("apply", datadog) == 0
    datadog.writes.clear()
    (dashboard,) = datadog.objects["dashboard"].values()
    del dashboard["widgets"][0]["definition"]["widgets"][1]
    metric = next(iter(datadog.objects["tags"]))
    datadog.objects["tags"][metric] = {"include_percentiles": False, "tags": ["route"]}
    assert run("apply", datadog) == 0
    assert [route.split()[0] for route in datadog.writes] == ["PUT", "PATCH"]
    # The tags of the metric stay as others chose them.
    assert datadog.objects["tags"][metric] == {"include_percentiles": True, "tags": ["route"]}


def test_what_is_not_ours_stays_as_it_is(
    datadog: Datadog, folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run("apply", datadog) == 0
    (dashboard,) = datadog.objects["dashboard"].values()
    monitor = next(iter(datadog.objects["monitor"].values()))
    service = values()["service"]
    foreign = [
        # Objects of another service of the template, objects made by hand for ours, copies of ours.
        ("monitor", monitor | {"tags": [t.replace(service, "other") for t in monitor["tags"]]}),
        ("monitor", monitor | {"tags": [f"service:{service}"], "query": "theirs"}),
        ("monitor", monitor | {"query": "a copy"}),
        ("dashboard", dashboard | {"title": "a copy"}),
        ("dashboard", {"title": "theirs", "description": None, "widgets": []}),
        ("slo", {"name": "theirs", "tags": [f"service:{service}"]}),
    ]
    for kind, body in foreign:
        datadog.write(kind, str(900 + datadog.id()), {**body, "created_at": "2026-02-02"})
    # Objects older than ours, so that only their tags tell them apart.
    other = dashboard | {"description": dashboard["description"].replace(service, "other")}
    datadog.write("dashboard", "d1", {**other, "created_at": "2020-01-01"})
    unmanaged = [tag for tag in monitor["tags"] if not tag.startswith("managed_by:")]
    datadog.write("monitor", "1", monitor | {"tags": unmanaged, "query": "theirs"})
    before = json.dumps(datadog.objects)
    datadog.writes.clear()
    capsys.readouterr()
    assert run("apply", datadog) == 0
    assert datadog.writes == []
    assert json.dumps(datadog.objects) == before
    assert "?" not in capsys.readouterr().out


def test_somebody_elses_catalog_entry_is_not_overwritten(
    datadog: Datadog, folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    service = values()["service"]
    theirs = {"kind": "service", "metadata": {"name": service, "tags": ["team:other"]}}
    datadog.objects["entity"][service] = theirs
    assert run("apply", datadog) == 2
    assert "is in the software catalog, and not by us" in capsys.readouterr().err
    assert datadog.objects["entity"][service] == theirs


def test_what_is_no_longer_defined_is_named_and_left(
    datadog: Datadog, folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run("apply", datadog) == 0
    monitors = yaml.safe_load((folder / "monitors.yaml").read_text())
    del monitors["shed"]
    (folder / "monitors.yaml").write_text(yaml.safe_dump(monitors))
    datadog.writes.clear()
    assert run("apply", datadog) == 0
    assert "? monitor shed\n    in Datadog, and no longer in datadog/" in capsys.readouterr().out
    assert datadog.writes == []


def test_dashboards_are_looked_for_on_every_page(datadog: Datadog, folder: Path) -> None:
    for number in range(250):
        datadog.objects["dashboard"][f"x{number}"] = {"id": f"x{number}", "created_at": "2020"}
    assert run("apply", datadog) == 0
    datadog.writes.clear()
    assert run("apply", datadog) == 0
    assert datadog.writes == []


# The webhook that starts a training


def ask_for_the_webhook(folder: Path, ci: str) -> str:
    """Let drift call it, and return the name that the service has for Datadog's variables."""
    service = values()["service"]
    keep(ci, folder)
    notify = f'notify_drift = "@slack-ml @webhook-retrain-{service}"'
    edit(folder / "thresholds.toml", 'notify_drift = ""', notify)
    return str(service.upper().replace("-", "_"))


@pytest.mark.parametrize("ci", ["github", "gitlab", "jenkins", "azure"])
def test_the_webhook_is_brought_if_drift_calls_it(
    ci: str, datadog: Datadog, folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run("apply", datadog) == 0
    assert datadog.objects["webhook"] == {} and "@webhook" not in str(datadog.objects["monitor"])
    name = ask_for_the_webhook(folder, ci)
    assert run("apply", datadog) == 0
    ((called, webhook),) = datadog.objects["webhook"].items()
    alerting = [one for one in datadog.objects["monitor"].values() if "@webhook" in one["message"]]
    assert all("retrain:yes" in one["tags"] for one in alerting)
    assert f"@webhook-{called}\n{{{{/is_alert}}}}" in alerting[0]["message"]
    assert webhook["url"] == f"${name}_RETRAIN_URL"
    assert str(webhook).count(f"${name}_RETRAIN_TOKEN") == 1 and "$RETRAIN" not in str(webhook)

    datadog.writes.clear()
    assert run("apply", datadog) == 0
    assert datadog.writes == []
    webhook["url"] = "https://elsewhere.example.com"
    assert run("apply", datadog) == 0
    assert [route.split()[0] for route in datadog.writes] == ["PUT"]


def test_aws_has_no_webhook(
    datadog: Datadog, folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    ask_for_the_webhook(folder, "aws")
    assert run("apply", datadog) == 2
    assert "no webhook for this CI system" in capsys.readouterr().err and datadog.writes == []


def test_thresholds_of_an_older_service_call_nobody(folder: Path) -> None:
    edit(folder / "thresholds.toml", 'notify_drift = ""', "")
    assert values(folder)["notify_drift"] == ""
    assert not [one for one in definitions(folder) if one.kind == "webhook"]


# When Datadog says no


@pytest.mark.parametrize(
    ("route", "status", "body", "says"),
    [
        ("POST .*/monitor", 403, {"errors": ["Forbidden"]}, "monitor burn-fast: .*403.*DD_APP_KEY"),
        ("POST .*/slo", 429, {"errors": ["Rate limit"]}, "slo answered: .*429.*try again"),
        ("GET .*/dashboard", 500, {"errors": [{"detail": "o\nh"}]}, "dashboard: .*500.*: o h"),
        ("POST .*/dashboard", 502, "<html>\nbad gateway", "dashboard main: .*502.*bad gateway"),
        ("POST .*/monitor", 400, {"errors": ["The value is invalid"]}, "400.*The value is invalid"),
    ],
)
def test_an_error_is_one_line_and_an_exit_code(
    route: str,
    status: int,
    body: Any,
    says: str,
    folder: Path,
    datadog: Datadog,
    capsys: pytest.CaptureFixture[str],
) -> None:
    datadog.refusal = route, status, body
    assert run("apply", datadog) == 1
    err = capsys.readouterr().err
    assert re.match(f"datadog: .*{says}", err) and err.count("\n") == 1


def test_after_an_error_apply_goes_on_where_it_stopped(datadog: Datadog, folder: Path) -> None:
    datadog.refusal = "POST .*/dashboard", 500, {"errors": ["oh"]}
    assert run("apply", datadog) == 1
    datadog.refusal = None
    assert run("apply", datadog) == 0
    assert len(datadog.writes) == len(definitions(folder))


def test_a_wrong_key_and_a_closed_port_are_one_line_each(
    datadog: Datadog, folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run("plan", datadog, api_key="wrong") == 1
    assert re.fullmatch("datadog: .*403 Forbidden.*\n", capsys.readouterr().err)
    configuration = Configuration(host="http://127.0.0.1:1", api_key={}, retry_policy=False)
    assert tool.main(["plan"], configuration) == 1
    assert re.fullmatch("datadog: .*no answer from Datadog.*\n", capsys.readouterr().err)


def test_a_metric_that_datadog_has_not_seen_yet_can_wait(
    datadog: Datadog, folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    datadog.unknown_metrics = {"inference.latency"}
    assert run("apply", datadog) == 0
    assert "? percentiles inference.latency" in capsys.readouterr().out
    datadog.unknown_metrics = set()
    assert run("apply", datadog) == 0
    assert "+ percentiles inference.latency" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("environ", "says"),
    [
        ({}, "set DD_API_KEY and DD_APP_KEY "),
        ({"DD_API_KEY": "k", "DD_APP_KEY": ""}, "set DD_APP_KEY "),
        ({"DD_API_KEY": "k", "DD_APP_KEY": "k", "DD_SITE": "nowhere"}, "DD_SITE: .*nowhere"),
    ],
)
def test_missing_keys_are_one_line(
    environ: dict[str, str],
    says: str,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    for name in ("DD_API_KEY", "DD_APP_KEY", "DD_SITE"):
        monkeypatch.delenv(name, raising=False)
    for name, text in environ.items():
        monkeypatch.setenv(name, text)
    assert tool.main(["plan"]) == 2
    assert re.fullmatch(f"datadog: {says}.*\n", capsys.readouterr().err)


def test_the_site_is_where_requests_go() -> None:
    environ = {"DD_API_KEY": "k", "DD_APP_KEY": "k", "DD_SITE": "datadoghq.eu"}
    configuration = configured(environ)
    variables = configuration.server_variables
    assert configuration.get_host_from_settings(0, variables) == "https://api.datadoghq.eu"
