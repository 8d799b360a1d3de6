"""What the other files here share: the service's names, and the way to fail."""

from __future__ import annotations

import json
import tomllib
from dataclasses import dataclass
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parents[2]


class DeployError(Exception):
    """Something did not work; the message says what, and what to do, in plain words."""


@dataclass(frozen=True)
class Service:
    name: str
    image_registry: str

    @classmethod
    def read(cls) -> Service:
        found = tomllib.loads((ROOT / "service.toml").read_text())
        return cls(found["name"], found["image_registry"])

    @property
    def repository(self) -> str:
        return f"{self.image_registry}/{self.name}"


def manifest() -> dict[str, Any]:
    """Return the artifact's manifest; raises DeployError if there is none."""
    path = ROOT / "artifact" / "manifest.json"
    try:
        found: dict[str, Any] = json.loads(path.read_text())
    except OSError:
        raise DeployError("there is no artifact to put into an image; run `make train`") from None
    return found
