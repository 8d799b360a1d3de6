"""What the owner asks of a candidate: `shadow-gate.toml`, read strictly."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

import msgspec
from msgspec import Meta

PATH = Path(__file__).parents[2] / "shadow-gate.toml"

Share = Annotated[float, Meta(gt=0, lt=1)]
NotNegative = Annotated[float, Meta(ge=0)]


class Evidence(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    alpha: Annotated[float, Meta(gt=0, le=0.5)]
    min_pairs: Annotated[int, Meta(ge=0)]
    min_coverage: Annotated[float, Meta(ge=0, le=1)]
    min_hours: NotNegative


class Parity(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    agreement: Share


class Improve(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    margin: Annotated[float, Meta(ge=0, lt=1)]
    agreement: Share


class Latency(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    slo_ms: Annotated[float, Meta(gt=0)]
    times_live: Annotated[float, Meta(ge=1)]
    plus_ms: NotNegative
    slow_share: Share
    warm_up_pairs: Annotated[int, Meta(ge=0)]


class Thresholds(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """The keys of shadow-gate.toml, where each is explained."""

    mode: Literal["parity", "improve"]
    evidence: Evidence
    parity: Parity
    improve: Improve
    latency: Latency

    @property
    def agreement(self) -> float:
        return self.parity.agreement if self.mode == "parity" else self.improve.agreement


def read(path: Path = PATH) -> Thresholds:
    """Return the thresholds of a file; raises ValueError for one that is not right."""
    try:
        return msgspec.toml.decode(path.read_bytes(), type=Thresholds)
    except (OSError, msgspec.DecodeError) as error:
        raise ValueError(f"{path}: {error}") from None
