"""Datadog's unified tags: which service this is, and which version of its model answers."""

from __future__ import annotations

import json
import os
from collections.abc import MutableMapping
from pathlib import Path


def complete(environ: MutableMapping[str, str] = os.environ) -> None:
    """Set DD_SERVICE and DD_VERSION to the artifact's name and version, where they are absent.

    Before anything reads them, and so with nothing but the standard library.
    """
    manifest = Path(environ.get("ARTIFACT_DIR") or "artifact") / "manifest.json"
    try:
        found = json.loads(manifest.read_bytes())
        environ.setdefault("DD_SERVICE", found["name"])
        environ.setdefault("DD_VERSION", found["version"])
    except (OSError, ValueError, LookupError, TypeError):
        pass  # the service will refuse to start, and say why
