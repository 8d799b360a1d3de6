"""Settings come from the environment; one that does not parse is refused, with its name."""

from __future__ import annotations

import re

import pytest

from service.errors import Refusal
from service.settings import Settings


def test_reads_the_environment_and_keeps_defaults_for_the_rest() -> None:
    environ = {"PORT": "9000", "BODY_TIMEOUT_SECONDS": "2.5", "MAX_INSTANCES": ""}
    settings = Settings.from_env(environ)
    assert (settings.port, settings.body_timeout_seconds) == (9000, 2.5)
    assert settings.max_instances == 1000  # empty counts as absent
    assert settings.bind_host == "127.0.0.1"


PATH = "a path like /models/tumour, with no slash at its end"
ORIGINS = "origins like https://app.example.com, separated by commas, or *"


@pytest.mark.parametrize(
    ("name", "text", "expected"),
    [
        ("PORT", "http", "a whole number"),
        ("PORT", "80.5", "a whole number"),
        ("PORT", "65536", "between 0 and 65535"),
        ("WEB_CONCURRENCY", "-1", "between 0 and 1024"),
        ("MAX_INSTANCES", "0", "between 1 and 1000000000"),
        ("GRACEFUL_TIMEOUT_SECONDS", "-1", "between 1 and 1000000000"),
        ("BODY_TIMEOUT_SECONDS", "nan", "between 0.1 and 1000000000"),
        ("BODY_TIMEOUT_SECONDS", "inf", "between 0.1 and 1000000000"),
        ("LOG_FORMAT", "xml", "one of auto, json, text"),
        ("LOG_SAMPLE", "1.1", "between 0 and 1"),
        ("ROOT_PATH", "/", PATH),
        ("ROOT_PATH", "models", PATH),
        ("ROOT_PATH", "/models/", PATH),
        ("ROOT_PATH", "/a/../b", PATH),
        ("ROOT_PATH", "/a//b", PATH),
        ("ROOT_PATH", "/a b", PATH),
        ("ROOT_PATH", "/a\n", PATH),
        ("CORS_ORIGINS", "app.example.com", ORIGINS),
        ("CORS_ORIGINS", "https://app.example.com/", ORIGINS),
        ("CORS_ORIGINS", "https://App.example.com", ORIGINS),
        ("CORS_ORIGINS", "https://a.com https://b.com", ORIGINS),
    ],
)
def test_refuses_what_does_not_fit_naming_variable_and_value(
    name: str, text: str, expected: str
) -> None:
    message = f"{name}={text!r}: expected {expected}"
    with pytest.raises(Refusal, match=f"^{re.escape(message)}$"):
        Settings.from_env({name: text})


def test_paths_and_origins_that_are_right() -> None:
    for path in ("/models/tumour", "/v1.2", "/~me/a_b-c"):
        assert Settings.from_env({"ROOT_PATH": path}).root_path == path
    origins = "https://a.com, http://localhost:3000,http://[::1]:80"
    assert Settings.from_env({"CORS_ORIGINS": origins}).origins == {
        "https://a.com",
        "http://localhost:3000",
        "http://[::1]:80",
    }
    assert Settings.from_env({"CORS_ORIGINS": "*"}).origins == {"*"}


def test_an_old_name_is_refused_with_the_new_one() -> None:
    with pytest.raises(Refusal, match="^KEEPALIVE is now called KEEPALIVE_SECONDS$"):
        Settings.from_env({"KEEPALIVE": "60"})
