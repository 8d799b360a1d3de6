"""Behind a proxy that adds a path, and asked by pages of other origins."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
import requests
from harness import Service, serve, start_refused

ROOT_PATH = "/models/tumour"
ORIGIN = "https://app.example.com"


@pytest.fixture(scope="module")
def mounted(baked: Path) -> Iterator[Service]:
    origins = f"http://localhost:3000, {ORIGIN}"
    with serve(baked, ROOT_PATH=ROOT_PATH, CORS_ORIGINS=origins) as service:
        yield service


@pytest.mark.parametrize(
    "path", ["/", "/docs/", "/docs/start.js", "/openapi.json", "/metadata", "/healthz", "/readyz"]
)
def test_each_route_is_there_with_the_path_and_without_it(mounted: Service, path: str) -> None:
    without, within = (requests.get(f"{mounted.url}{root}{path}") for root in ("", ROOT_PATH))
    assert (without.status_code, within.status_code) == (200, 200)
    assert without.content == within.content


@pytest.mark.parametrize("root", ["", ROOT_PATH, "//models//tumour/", "/models%2Ftumour"])
def test_predictions_with_the_path_and_without_it(mounted: Service, root: str) -> None:
    for padding in (b"", b" " * 70_000):  # more than what goes the quick way
        response = requests.post(
            f"{mounted.url}{root}/predict",
            mounted.body + padding,
            headers={"Content-Type": "application/json"},
        )
        assert response.status_code == 200, response.text


@pytest.mark.parametrize("root", ["/models", "/models/tumour2", "/other", ROOT_PATH * 2])
def test_other_paths_are_none_of_the_service(mounted: Service, root: str) -> None:
    assert requests.post(f"{mounted.url}{root}/predict", b"{}").status_code == 404
    assert requests.get(f"{mounted.url}{root}/healthz").status_code == 404


def test_the_path_is_in_the_openapi_document_and_in_the_card(mounted: Service) -> None:
    document = requests.get(f"{mounted.url}/openapi.json").json()
    assert document["servers"] == [{"url": ROOT_PATH}]
    assert f"({ROOT_PATH}/)" in document["info"]["description"]
    for path in ("", "/"):
        page = requests.get(f"{mounted.url}{ROOT_PATH}{path}").text
        assert f'<base href="{ROOT_PATH}/">' in page


@pytest.mark.parametrize("root", ["", ROOT_PATH])
def test_redirects_name_no_host(mounted: Service, root: str) -> None:
    response = requests.get(
        f"{mounted.url}{root}/docs", headers={"Host": "made.up"}, allow_redirects=False
    )
    assert (response.status_code, response.headers["Location"]) == (302, "docs/#/inference/predict")
    assert "made.up" not in requests.get(f"{mounted.url}/docs/", headers={"Host": "made.up"}).text


def of_origin(headers: requests.structures.CaseInsensitiveDict[str]) -> dict[str, str]:
    return {k.lower(): v for k, v in headers.items() if k.lower().startswith("access-control-")}


EXPOSED = {
    "access-control-allow-origin": ORIGIN,
    "access-control-expose-headers": "X-Request-Id, X-Model-Version, Server-Timing, Retry-After",
}


@pytest.mark.parametrize(
    ("method", "path", "body", "status"),
    [
        ("POST", "/predict", None, 200),
        ("POST", "/predict", b"{", 400),
        ("POST", "/predict", b" " * 2_000_000, 413),
        ("GET", "/predict", b"", 405),
        ("GET", "/metadata", b"", 200),
        ("GET", "/nowhere", b"", 404),
    ],
)
def test_pages_of_an_allowed_origin_may_read_answers_and_errors(
    mounted: Service, method: str, path: str, body: bytes | None, status: int
) -> None:
    for origin, expected in ((ORIGIN, EXPOSED), ("https://evil.example", {}), (None, {})):
        headers = {"Content-Type": "application/json"} | ({"Origin": origin} if origin else {})
        content = mounted.body if body is None else body
        response = requests.request(method, f"{mounted.url}{path}", data=content, headers=headers)
        assert response.status_code == status
        assert of_origin(response.headers) == expected
        assert response.headers["Vary"] == "Origin"


@pytest.mark.parametrize("root", ["", ROOT_PATH])
@pytest.mark.parametrize(
    ("path", "allowed"), [("/predict", {"POST"}), ("/metadata", {"GET", "HEAD"})]
)
def test_a_browser_that_asks_first_is_told_methods_and_headers(
    mounted: Service, root: str, path: str, allowed: set[str]
) -> None:
    def asked(origin: str) -> requests.Response:
        headers = {
            "Origin": origin,
            "Access-Control-Request-Method": "POST",
            "Access-Control-Request-Headers": "content-type,x-request-id",
        }
        return requests.options(f"{mounted.url}{root}{path}", headers=headers)

    response = asked(ORIGIN)
    assert (response.status_code, response.content) == (200, b"")
    found = of_origin(response.headers)
    assert set(found.pop("access-control-allow-methods").split(", ")) == allowed | {"OPTIONS"}
    assert found == EXPOSED | {
        "access-control-allow-headers": "content-type,x-request-id",
        "access-control-max-age": "600",
    }
    assert of_origin(asked("https://app.example.com.evil.example").headers) == {}


def test_any_origin_and_none(baked: Path, live: Service) -> None:
    with serve(baked, CORS_ORIGINS="*") as service:
        response = service.post(service.body, Origin="https://anyone.example")
        assert response.headers["Access-Control-Allow-Origin"] == "*"
    response = live.post(live.body, Origin=ORIGIN)
    assert of_origin(response.headers) == {} and "Vary" not in response.headers


def test_wrong_settings_are_refused(baked: Path) -> None:
    assert start_refused(baked, ROOT_PATH="models/") == (
        "refusing to start: ROOT_PATH='models/': "
        "expected a path like /models/tumour, with no slash at its end"
    )
