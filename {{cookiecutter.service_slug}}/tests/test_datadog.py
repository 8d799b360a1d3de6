"""`datadog/` and the tool that brings it to Datadog, against a server with its routes."""

from __future__ import annotations

import base64
import json
import re
import shutil
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlsplit

import pytest
import yaml
from datadog_api_client import ApiClient, Configuration
from datadog_api_client.v1.model.dashboard import Dashboard

from loadtests.slo import Slo
from service.metrics import METRICS
from tools.datadog import __main__ as tool
from tools.datadog import definitions as files
from tools.datadog.api import kinds, typed
from tools.datadog.changes import changes
from tools.datadog.definitions import Definition, Invalid, definitions, fill, queries, values

# Ghost mode's, until they stand in METRICS.
KNOWN = {metric.name: metric.tags for metric in METRICS}
KINDS = {metric.name: metric.kind for metric in METRICS}
# What the client and the Agent add.
UNIFIED = {"service", "env", "version"}
METRIC = re.compile(r"(?:(\w+):)?([a-z]\w*(?:\.\w+)+)\{(.*?)\}(?: by \{(.*?)\})?(\.as_\w+\(\))?")
CLUSTER = ("kubernetes.", "kubernetes_state.")


class Datadog(ThreadingHTTPServer):
    """The routes the tool uses. Like Datadog, it adds ids, dates and defaults to what it gets."""

    daemon_threads = True

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), Handler)
        self.objects: dict[str, dict[str, Any]] = {
            kind: {} for kind in ("slo", "monitor", "dashboard", "entity", "tags")
        }
        self.writes: list[str] = []
        self.refusal: tuple[str, int, Any] | None = None
        self.unknown_metrics: set[str] = set()
        self._last = 100

    def id(self) -> int:
        self._last += 1
        return self._last

    def write(self, kind: str, id: str, body: dict[str, Any]) -> dict[str, Any]:
        created = self.objects[kind].get(id, {}).get("created_at", f"2026-01-01T00:00:{self.id()}Z")
        kept: dict[str, Any] = {"created_at": created} | json.loads(json.dumps(body)) | {"id": id}
        if "tags" in kept:
            kept["tags"] = kept["tags"][::-1]
        if kind == "monitor":
            kept["id"] = int(id)
            kept["type"] = {"query alert": "metric alert"}.get(kept["type"], kept["type"])
            kept["options"] = {"notify_audit": False, "new_host_delay": 300} | kept["options"]
        for index, widget in enumerate(kept.get("widgets", [])):
            widget["id"] = index
        self.objects[kind][id] = kept
        return kept


class Handler(BaseHTTPRequestHandler):
    server: Datadog
    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True  # else each answer's body waits 40 ms for its head's receipt

    def log_message(self, format: str, *args: Any) -> None:
        pass

    def answer(self, status: int, body: Any) -> None:
        data = json.dumps(body).encode()
        self.send_response(status)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(data)))
        self.end_headers()
        self.wfile.write(data)

    def handle_request(self) -> None:
        url, objects = urlsplit(self.path), self.server.objects
        length = int(self.headers.get("Content-Length") or 0)
        body = json.loads(self.rfile.read(length) or "null")
        query = {key: found[0] for key, found in parse_qs(url.query).items()}
        route, write = f"{self.command} {url.path}", self.command != "GET"
        if (self.headers["DD-API-KEY"], self.headers["DD-APPLICATION-KEY"]) != ("api", "app"):
            return self.answer(403, {"errors": ["Forbidden"]})
        if self.server.refusal and re.search(self.server.refusal[0], route):
            return self.answer(*self.server.refusal[1:])
        if write:
            self.server.writes.append(route)
        match [self.command, *url.path.strip("/").split("/")[2:]]:
            case ["GET", "slo"]:
                tagged = [
                    one for one in objects["slo"].values() if query["tags_query"] in one["tags"]
                ]
                self.answer(200, {"data": tagged})
            case ["POST", "slo"]:
                self.answer(200, {"data": [self.server.write("slo", f"s{self.server.id()}", body)]})
            case ["PUT", "slo", id]:
                self.answer(200, {"data": [self.server.write("slo", id, body)]})
            case ["GET", "monitor"]:
                every = objects["monitor"].values()
                self.answer(200, [one for one in every if query["monitor_tags"] in one["tags"]])
            case ["POST", "monitor"]:
                self.answer(200, self.server.write("monitor", str(self.server.id()), body))
            case ["PUT", "monitor", id]:
                self.answer(200, self.server.write("monitor", id, body))
            case ["GET", "dashboard"]:
                start, count = int(query["start"]), int(query["count"])
                page = [*objects["dashboard"].values()][start : start + count]
                keys = ("id", "title", "description", "created_at")
                summaries = [{key: one.get(key) for key in keys} for one in page]
                self.answer(200, {"dashboards": summaries})
            case ["GET", "dashboard", id]:
                self.answer(200, objects["dashboard"][id])
            case ["POST", "dashboard"]:
                self.answer(200, self.server.write("dashboard", f"d{self.server.id()}", body))
            case ["PUT", "dashboard", id]:
                self.answer(200, self.server.write("dashboard", id, body))
            case ["GET", "catalog", "entity"]:
                found = objects["entity"].get(query["filter[name]"])
                raw = base64.b64encode(json.dumps(found).encode()).decode()
                included = {"id": "r", "type": "raw_schema", "attributes": {"rawSchema": raw}}
                some = {"data": [{"id": "e"}], "included": [included]}
                self.answer(200, some if found else {"data": [], "included": []})
            case ["POST", "catalog", "entity"]:
                objects["entity"][body["metadata"]["name"]] = body
                self.answer(202, {"data": [{"id": "e"}]})
            case [method, "metrics", metric, "tags"]:
                there = metric in objects["tags"]
                if metric in self.server.unknown_metrics or (method != "POST" and not there):
                    return self.answer(404, {"errors": ["Not found"]})
                if write:
                    held = objects["tags"].get(metric, {})
                    objects["tags"][metric] = held | body["data"]["attributes"]
                self.answer(200, {"data": {"id": metric, "attributes": objects["tags"][metric]}})
            case _:
                self.answer(404, {"errors": [f"no route {route}"]})

    do_GET = do_POST = do_PUT = do_PATCH = handle_request


@pytest.fixture
def datadog() -> Iterator[Datadog]:
    server = Datadog()
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    yield server
    server.shutdown()
    thread.join()
    server.server_close()


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


@pytest.fixture(scope="module")
def defined() -> list[Definition]:
    return definitions()


def edit(path: Path, old: str, new: str) -> None:
    assert old in path.read_text()
    path.write_text(path.read_text().replace(old, new, 1))


# The definitions


def test_datadog_would_understand_every_object(defined: list[Definition]) -> None:
    with ApiClient(Configuration()) as client:
        held_by = kinds(client, values())
        for one in defined:
            if one.kind == "dashboard":  # and what the client sends is what is written here
                sent = typed(client, Dashboard, one.body, one.name)
                assert sent.to_dict() == one.body
            else:
                held_by[one.kind].check(one.name, one.body)
    assert {one.kind for one in defined} == set(held_by)


def test_every_metric_and_tag_asked_for_is_one_that_the_code_sends(
    defined: list[Definition],
) -> None:
    seen = set()
    for one in defined:
        for query in queries(one.body):
            for aggregate, name, scope, groups, counted in METRIC.findall(query):
                if name.startswith(CLUSTER):
                    continue
                where = f"{one.kind} {one.name}: {query}"
                assert name in KNOWN, where
                seen.add(name)
                tags = {part.lstrip("!").split(":")[0].lstrip("$") for part in scope.split(",")}
                assert tags | set(filter(None, groups.split(","))) <= UNIFIED | set(KNOWN[name]), (
                    where
                )
                kind = KINDS.get(name)
                if re.fullmatch(r"p\d+", aggregate) and kind:
                    assert kind == "distribution", where
                if counted and kind:
                    assert kind == "count", where
    assert set(KNOWN) == seen, "nobody looks at the rest"


def test_no_query_sees_other_services_or_environments(defined: list[Definition]) -> None:
    service, env = values()["service"], values()["env"]
    for one in defined:
        own = {"$env"} if one.kind == "dashboard" else {f"env:{env}"}
        for query in queries(one.body):
            for _, name, scope, _, _ in METRIC.findall(query):
                wanted = own | {f"service:{service}"}
                if one.kind == "dashboard" and not name.startswith("kubernetes_state."):
                    wanted |= {"$version"}
                assert wanted <= set(scope.split(",")), f"{one.kind} {one.name}: {query}"


def test_every_widget_says_what_to_read_from_it(defined: list[Definition]) -> None:
    (dashboard,) = (one.body for one in defined if one.kind == "dashboard")
    variables = {variable["name"] for variable in dashboard["template_variables"]}
    groups = [group["definition"] for group in dashboard["widgets"]]
    for widget in (one["definition"] for group in groups for one in group["widgets"]):
        assert len(widget["title"].split()) >= 5, widget["title"]
        for query in queries(widget):
            assert set(re.findall(r"\$(\w+)", query)) <= variables
        for request in widget.get("requests", []):
            named = {query["name"] for query in request["queries"]}
            for formula in request["formulas"]:
                words = set(re.findall(r"[a-z_]\w*", formula["formula"])) - {"default_zero"}
                assert words and words <= named, formula


def test_every_monitor_says_what_it_means_what_to_do_and_to_whom(
    defined: list[Definition],
) -> None:
    for one in (one for one in defined if one.kind == "monitor"):
        message, query = one.body["message"], one.body["query"]
        assert f"@team-{values()['team']}" in message
        assert "\n1. " in message and "\n2. " in message
        opened = re.findall(r"\{\{#(\w+)\}\}", message)
        assert opened and sorted(opened) == sorted(re.findall(r"\{\{/(\w+)\}\}", message))
        # Datadog refuses a threshold that is not the query's.
        assert float(query.split()[-1]) == one.body["options"]["thresholds"]["critical"]


def test_the_promise_is_that_of_the_load_tests(defined: list[Definition]) -> None:
    slo = Slo.read()
    objective = next(one.body for one in defined if one.kind == "slo")
    assert objective["thresholds"][0]["target"] == pytest.approx(100 * (1 - slo.error_ratio))
    p99 = next(one.body for one in defined if one.name == "p99")
    assert p99["options"]["thresholds"]["critical"] == pytest.approx(slo.p99_ms / 1000)


def test_percentiles_are_switched_on_for_what_they_are_asked_of(
    defined: list[Definition],
) -> None:
    switched = {one.name for one in defined if one.kind == "percentiles"}
    assert "inference.latency" in switched
    assert all(KINDS.get(name, "distribution") == "distribution" for name in switched)


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
    # Taken away, which no comparison with what Datadog holds could show.
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
    # Which tags others chose to keep is theirs to say.
    assert datadog.objects["tags"][metric] == {"include_percentiles": True, "tags": ["route"]}


def test_what_is_not_ours_stays_as_it_is(
    datadog: Datadog, folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run("apply", datadog) == 0
    (dashboard,) = datadog.objects["dashboard"].values()
    monitor = next(iter(datadog.objects["monitor"].values()))
    service = values()["service"]
    foreign = [
        # Another service's, of the same template; made by hand for ours; a copy of one of ours.
        ("monitor", monitor | {"tags": [t.replace(service, "other") for t in monitor["tags"]]}),
        ("monitor", monitor | {"tags": [f"service:{service}"], "query": "theirs"}),
        ("monitor", monitor | {"query": "a copy"}),
        ("dashboard", dashboard | {"title": "a copy"}),
        ("dashboard", {"title": "theirs", "description": None, "widgets": []}),
        ("slo", {"name": "theirs", "tags": [f"service:{service}"]}),
    ]
    for kind, body in foreign:
        datadog.write(kind, str(900 + datadog.id()), {**body, "created_at": "2026-02-02"})
    # Older than ours, so that only their tags tell them apart.
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
    configuration = tool.configured(environ)
    variables = configuration.server_variables
    assert configuration.get_host_from_settings(0, variables) == "https://api.datadoghq.eu"
