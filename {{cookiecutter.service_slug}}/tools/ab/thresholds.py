"""What the owner asks of a candidate that has users: `ab-gate.toml`, read strictly."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

import msgspec
from msgspec import Meta

PATH = Path(__file__).parents[2] / "ab-gate.toml"

Margin = Annotated[float, Meta(ge=0, lt=1)]
NotNegative = Annotated[float, Meta(ge=0)]


class Evidence(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    alpha: Annotated[float, Meta(gt=0, le=0.5)]
    min_customers: Annotated[int, Meta(ge=0)]
    min_coverage: Annotated[float, Meta(ge=0, le=1)]
    min_hours: NotNegative


class Customers(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    hours: NotNegative


class Errors(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    margin: Margin


class Latency(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    slow_ms: Annotated[float, Meta(gt=0)]
    margin: Margin


class Labels(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    margin: Margin
    within: NotNegative


class Value(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    low: float
    high: float
    better: Literal["higher", "lower"]
    margin: NotNegative

    def __post_init__(self) -> None:
        if not 0 <= self.margin < self.high - self.low:
            raise ValueError("value: expected low < high, and a margin less than between them")

    def score(self, value: float) -> float:
        """Return how good a number is: 0 worst, 1 best."""
        share = (min(max(value, self.low), self.high) - self.low) / (self.high - self.low)
        return share if self.better == "higher" else 1 - share


class Thresholds(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """The keys of ab-gate.toml, where each is explained."""

    decide_by: list[Literal["labels", "value"]]
    evidence: Evidence
    customers: Customers
    errors: Errors
    latency: Latency
    labels: Labels
    value: Value

    def margin(self, measure: str) -> float:
        """Return by how much a measure may be worse, of a whole of 1."""
        if measure == "value":
            return self.value.margin / (self.value.high - self.value.low)
        found: float = getattr(self, measure).margin
        return found


def read(path: Path = PATH) -> Thresholds:
    """Return the thresholds of a file; raises ValueError for one that is not right."""
    try:
        return msgspec.toml.decode(path.read_bytes(), type=Thresholds)
    except (OSError, msgspec.DecodeError) as error:
        raise ValueError(f"{path}: {error}") from None
