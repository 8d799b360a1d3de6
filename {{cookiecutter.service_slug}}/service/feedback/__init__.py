"""The truth that comes later: callers send back what they were told, and what came to be true.

    items.py        what they send, decoded
    record.py       counts it, and tells: metrics, and lines of the log for tools/accuracy

Pods keep nothing of it: which version answered what is in what the caller sends.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from flask import request

from service.artifact import Manifest
from service.body import Bodies
from service.feedback.items import Items
from service.feedback.record import Record
from service.settings import Settings
from service.telemetry import Telemetry


def feedback(
    manifest: Manifest, settings: Settings, telemetry: Telemetry, bodies: Bodies
) -> Callable[[], dict[str, Any]]:
    """Return the view of POST /feedback, which raises RequestError for what it does not take."""
    items = Items(manifest, settings.max_instances)
    record = Record(manifest, lambda: telemetry.metrics)

    def view() -> dict[str, Any]:
        try:
            request.environ["service.body"] = body = bodies.read(request.environ)
            found = items.decode(body)
            record.take(found)
        finally:
            bodies.release(request.environ)
        return {"accepted": len(found)}

    return view
