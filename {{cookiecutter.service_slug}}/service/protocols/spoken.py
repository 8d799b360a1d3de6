"""The table of the contracts, by their names in the setting PROTOCOLS."""

from __future__ import annotations

from collections.abc import Callable

from service.engine import Engine
from service.protocols import kserve_v1, sagemaker, v2, vertex
from service.protocols.protocol import Protocol
from service.settings import Settings

_MAKERS: dict[str, Callable[[Engine], Protocol]] = {
    "kserve-v1": kserve_v1.protocol,
    "v2": v2.protocol,
    "sagemaker": sagemaker.protocol,
    "vertex": vertex.protocol,
}


def protocols(engine: Engine, settings: Settings) -> list[Protocol]:
    """Return those that the settings name; raises Refusal for a platform's variables."""
    return [_MAKERS[name](engine) for name in settings.spoken]
