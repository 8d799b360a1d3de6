"""Datadog's tags of the environment: which service this is, which model answers, and DD_TAGS."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping, MutableMapping
from pathlib import Path

UNIFIED = ("env", "service", "version")


def tags(environ: Mapping[str, str] = os.environ) -> dict[str, str]:
    """Return the tags of DD_TAGS as ddtrace reads them: "a:b,c:d" or "a:b c:d"; "a" is "a:"."""
    text = environ.get("DD_TAGS", "")
    pairs = (tag.partition(":") for tag in text.split("," if "," in text else " "))
    return {key.strip(): value.strip() for key, _, value in pairs if key.strip()}


def complete(environ: MutableMapping[str, str] = os.environ) -> None:
    """Set DD_ENV, DD_SERVICE and DD_VERSION, where absent, from DD_TAGS or else the artifact.

    Before anything reads them, and so with nothing but the standard library.
    """
    given = tags(environ)
    for key in UNIFIED:
        if value := given.get(key):
            environ.setdefault(f"DD_{key.upper()}", value)
    manifest = Path(environ.get("ARTIFACT_DIR") or "artifact") / "manifest.json"
    try:
        found = json.loads(manifest.read_bytes())
        environ.setdefault("DD_SERVICE", found["name"])
        environ.setdefault("DD_VERSION", found["version"])
    except (OSError, ValueError, LookupError, TypeError):
        pass  # the service will refuse to start, and say why
