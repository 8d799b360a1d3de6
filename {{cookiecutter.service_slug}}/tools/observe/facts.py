"""What is known of the service before it says anything."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from loadtests.slo import Slo
from service.artifact import Manifest

RECENT = 10  # seconds that numbers are of
LONGER = 60  # seconds that mixes and histograms are of

ROOT = Path(__file__).parent.parent.parent


@dataclass(frozen=True)
class Facts:
    url: str
    traces: str | None  # the address of their page
    log: Path
    example: str  # a command that makes a request
    manifest: Manifest
    promise: Slo

    @property
    def value(self) -> str:
        """The first field of an answer that is a number; empty if there is none."""
        fields = self.manifest.outputs.fields
        return next((field.name for field in fields if field.type == "float"), "")
