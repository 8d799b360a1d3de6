"""How many rows the load tests' larger requests have."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any

from service.settings import Settings

MANY = 50
FRAME = len('{"instances": []}')
COMMA = len(", ")


def many(instances: Sequence[dict[str, Any]]) -> int:
    """Return 50, or as many as MAX_BODY_BYTES and MAX_INSTANCES let through of the longest."""
    settings = Settings.from_env()
    longest = max(len(json.dumps(instance)) for instance in instances)
    fit = (settings.max_body_bytes - FRAME) // (longest + COMMA)
    return max(1, min(MANY, settings.max_instances, fit))
