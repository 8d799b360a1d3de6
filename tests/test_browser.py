"""What a person sees: the documentation's try-it button and the model card, in a real browser."""

from __future__ import annotations

from collections.abc import Iterator
from urllib.parse import urlsplit

import pytest
from harness import ROOT, Service
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


def screenshot(page: Page, name: str) -> None:
    SCREENS.mkdir(parents=True, exist_ok=True)
    page.screenshot(path=SCREENS / f"{name}.png", full_page=True)


def test_docs_try_it_out(page: Page, live: Service) -> None:
    page.goto(f"http://{HOST}:{live.port}/docs")
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


def test_card_shows_its_pictures(page: Page, live: Service) -> None:
    page.goto(f"http://{HOST}:{live.port}/")
    screenshot(page, "card")
    widths = page.eval_on_selector_all("img", "images => images.map(i => i.naturalWidth)")
    assert len(widths) > 5 and all(width > 0 for width in widths)
    assert "tumour-classifier" in page.inner_text("h1")


def test_card_fits_a_phone(page: Page, live: Service) -> None:
    page.set_viewport_size({"width": 390, "height": 800})
    page.goto(f"http://{HOST}:{live.port}/")
    screenshot(page, "card-phone")
    assert page.evaluate("document.documentElement.scrollWidth") <= 390
