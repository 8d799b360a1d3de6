"""Settings come from the environment; one that does not parse is refused, with its name."""

from __future__ import annotations

import re
from dataclasses import fields
from pathlib import Path

import pytest

from service.errors import Refusal
from service.settings import Settings
from service.shadow.settings import ShadowSettings


def test_reads_the_environment_and_keeps_defaults_for_the_rest() -> None:
    settings = Settings.from_env({"PORT": "9000", "BODY_TIMEOUT": "2.5", "MAX_INSTANCES": ""})
    assert (settings.port, settings.body_timeout, settings.max_instances) == (9000, 2.5, 1000)
    assert settings.bind_host == "127.0.0.1"


@pytest.mark.parametrize(
    ("name", "text", "expected"),
    [
        ("PORT", "http", "a whole number"),
        ("PORT", "80.5", "a whole number"),
        ("PORT", "65536", "between 0 and 65535"),
        ("WEB_CONCURRENCY", "-1", "between 0 and 64"),
        ("MAX_BODY_BYTES", "1e6", "a whole number"),
        ("MAX_INSTANCES", "0", "at least 1"),
        ("GRACEFUL_TIMEOUT", "-1", "at least 1"),
        ("BODY_TIMEOUT", "nan", "at least 0.1"),
        ("BODY_TIMEOUT", "0", "at least 0.1"),
        ("LOG_FORMAT", "xml", "one of auto, json, text"),
        ("LOG_SAMPLE", "1.1", "between 0 and 1"),
    ],
)
def test_refuses_what_does_not_fit_naming_variable_and_value(
    name: str, text: str, expected: str
) -> None:
    with pytest.raises(Refusal, match=f"^{name}='{re.escape(text)}': expected {expected}$"):
        Settings.from_env({name: text})


def test_the_readme_documents_every_setting_with_its_default() -> None:
    readme = (Path(__file__).parent.parent / "README.md").read_text()
    documented = re.findall(r"^\| `([A-Z_]+)` \| `(.*?)` \| (.+?) \|$", readme, re.M)
    assert documented == [
        (item.name.upper(), str(item.default), item.metadata["about"])
        for item in [*fields(Settings), *fields(ShadowSettings)]
    ]
