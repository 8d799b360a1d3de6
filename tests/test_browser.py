"""What a person sees: the documentation's try-it button and the model card, in a real browser."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from urllib.parse import urlsplit

import pytest
import requests
from harness import ROOT, Service, serve
from playwright.sync_api import Page, sync_playwright

SCREENS = ROOT / "build" / "screens"
# As root in a container there is no sandbox; without the rest it calls its maker's hosts at start.
ARGUMENTS = """
    --no-sandbox --disable-gpu --disable-quic --no-first-run
    --disable-background-networking --disable-component-update --disable-sync
""".split()
# Not localhost, for which Swagger UI makes exceptions.
HOST = "service.test"
ARGUMENTS.append(f"--host-resolver-rules=MAP {HOST} 127.0.0.1")
ROOT_PATH = "/models/tumour"


@pytest.fixture
def page(chromium: str) -> Iterator[Page]:
    """A page that fails the test if it asks another host for anything, or logs an error."""
    hosts, problems = set(), []
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=chromium, args=ARGUMENTS)
        page = browser.new_page(viewport={"width": 1200, "height": 900})
        page.on("request", lambda request: hosts.add(urlsplit(request.url).hostname))
        page.on("pageerror", lambda error: problems.append(str(error)))
        page.on(
            "console",
            lambda message: problems.append(message.text) if message.type == "error" else None,
        )
        yield page
        browser.close()
    assert hosts - {None} == {HOST}  # None: data URIs
    assert problems == []


@contextmanager
def proxy(service: Service, strips: bool) -> Iterator[int]:
    """A proxy that shows a service below ROOT_PATH, and nothing else; yields its port."""

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            assert self.path.startswith(ROOT_PATH), self.path
            path = self.path.removeprefix(ROOT_PATH) if strips else self.path
            body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
            answer = requests.request(
                self.command,
                service.url + path,
                data=body,
                headers=dict(self.headers),
                allow_redirects=False,
            )
            self.send_response(answer.status_code)
            for name, value in answer.headers.items():
                self.send_header(name, value)
            self.end_headers()
            self.wfile.write(answer.content)

        do_POST = do_GET

        def log_message(self, *_: object) -> None:
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield server.server_port
        server.shutdown()


@pytest.fixture(scope="module", params=["directly", "prefix kept", "prefix stripped"])
def site(request: pytest.FixtureRequest, live: Service, baked: Path) -> Iterator[str]:
    """Where a browser finds the service: itself, or behind a proxy, below a path."""
    if request.param == "directly":
        yield f"http://{HOST}:{live.port}"
        return
    strips = request.param == "prefix stripped"
    with serve(baked, ROOT_PATH=ROOT_PATH) as service, proxy(service, strips) as port:
        yield f"http://{HOST}:{port}{ROOT_PATH}"


def screenshot(page: Page, name: str) -> None:
    SCREENS.mkdir(parents=True, exist_ok=True)
    page.screenshot(path=SCREENS / f"{name}.png", full_page=True)


def test_docs_try_it_out(page: Page, site: str) -> None:
    page.goto(f"{site}/docs")
    predict = page.locator(".opblock.is-open", has_text="/predict")
    predict.get_by_role("button", name="Execute").wait_for()
    screenshot(page, "docs")
    predict.get_by_role("button", name="Execute").click()
    answer = predict.locator(".live-responses-table")
    answer.wait_for()
    screenshot(page, "docs-answer")
    assert answer.locator("tbody .response-col_status").first.inner_text().startswith("200")
    shown = answer.locator("tbody .response-col_description").first.inner_text()
    assert '"predictions"' in shown and '"malignant"' in shown


def test_card_shows_its_pictures_and_links(page: Page, site: str) -> None:
    page.goto(site)
    screenshot(page, "card")
    widths = page.eval_on_selector_all("img", "images => images.map(i => i.naturalWidth)")
    assert len(widths) > 5 and all(width > 0 for width in widths)
    assert "tumour-classifier" in page.inner_text("h1")
    links = page.eval_on_selector_all("nav a", "links => links.map(link => link.href)")
    assert links == [f"{site}/{name}" for name in ("docs", "metadata", "openapi.json")]
    fetched = "links => Promise.all(links.map(link => fetch(link).then(found => found.status)))"
    assert page.evaluate(fetched, links) == [200] * 3


def test_a_page_of_another_origin_may_predict_if_it_is_named(
    page: Page, live: Service, baked: Path
) -> None:
    page.route("**/favicon.ico", lambda route: route.fulfill(status=204))
    with serve(baked, CORS_ORIGINS=f"http://{HOST}:{live.port}") as service:
        page.goto(f"http://{HOST}:{live.port}/healthz")
        found = page.evaluate(
            """async ([url, body]) => {
                const headers = {"Content-Type": "application/json", "X-Request-Id": "mine"};
                const answer = await fetch(url, {method: "POST", body, headers});
                return [answer.status, answer.headers.get("X-Request-Id")];
            }""",
            [f"http://{HOST}:{service.port}/predict", service.body.decode()],
        )
    assert found == [200, "mine"]


def test_card_fits_a_phone(page: Page, live: Service) -> None:
    page.set_viewport_size({"width": 390, "height": 800})
    page.goto(f"http://{HOST}:{live.port}/")
    screenshot(page, "card-phone")
    assert page.evaluate("document.documentElement.scrollWidth") <= 390
