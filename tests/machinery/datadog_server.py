"""A server with the routes of Datadog's API that tools/datadog uses."""

from __future__ import annotations

import base64
import json
import re
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import parse_qs, urlsplit

SINCE = "2026-11-20T07:15:00.123456+00:00"


class Datadog(ThreadingHTTPServer):
    """The routes the tool uses. Like Datadog, it adds ids, dates and defaults to what it gets."""

    daemon_threads = True

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), Handler)
        self.objects: dict[str, dict[str, Any]] = {
            kind: {} for kind in ("slo", "monitor", "dashboard", "entity", "tags", "webhook")
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
            kept = {"overall_state": "OK", "overall_state_modified": SINCE} | kept
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
            case [method, "integration", "webhooks", "configuration", "webhooks", *names]:
                name = names[0] if names else body["name"]
                if method != "POST" and name not in objects["webhook"]:
                    return self.answer(404, {"errors": ["Not found"]})
                if write:
                    objects["webhook"][name] = body
                self.answer(200, objects["webhook"][name])
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


@contextmanager
def serving(server: ThreadingHTTPServer) -> Iterator[str]:
    """Run a server in a thread, and yield its address."""
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    yield f"http://127.0.0.1:{server.server_port}"
    server.shutdown()
    thread.join()
    server.server_close()
