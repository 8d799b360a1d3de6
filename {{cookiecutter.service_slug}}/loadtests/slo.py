"""The promise in slo.toml, and the load it is checked under."""

from __future__ import annotations

import tomllib
from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True)
class Slo:
    p99_ms: float
    error_ratio: float
    requests_per_user: float
    steps: list[tuple[int, float]]

    @classmethod
    def read(cls) -> Slo:
        values = tomllib.loads(Path(__file__).with_name("slo.toml").read_text())
        return cls(**values | {"steps": [(users, seconds) for users, seconds in values["steps"]]})
