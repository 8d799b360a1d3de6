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


@pytest.mark.parametrize(
    ("name", "text", "expected"),
    [
        ("PORT", "http", "a whole number"),
        ("PORT", "80.5", "a whole number"),
        ("PORT", "65536", "between 0 and 65535"),
        ("WEB_CONCURRENCY", "-1", "between 0 and 64"),
        ("MAX_INSTANCES", "0", "at least 1"),
        ("GRACEFUL_TIMEOUT_SECONDS", "-1", "at least 1"),
        ("BODY_TIMEOUT_SECONDS", "nan", "at least 0.1"),
        ("BODY_TIMEOUT_SECONDS", "0", "at least 0.1"),
        ("LOG_FORMAT", "xml", "one of auto, json, text"),
        ("LOG_SAMPLE", "1.1", "between 0 and 1"),
    ],
)
def test_refuses_what_does_not_fit_naming_variable_and_value(
    name: str, text: str, expected: str
) -> None:
    with pytest.raises(Refusal, match=f"^{name}='{re.escape(text)}': expected {expected}$"):
        Settings.from_env({name: text})


def test_an_old_name_is_refused_with_the_new_one() -> None:
    with pytest.raises(Refusal, match="^KEEPALIVE is now called KEEPALIVE_SECONDS$"):
        Settings.from_env({"KEEPALIVE": "60"})
