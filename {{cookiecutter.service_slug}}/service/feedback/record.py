"""What is counted of the truth and told of it: to Datadog as metrics, to the log as events."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from datetime import UTC, datetime

import msgspec

from service.artifact import Manifest
from service.drift import MOST_CLASSES
from service.errors import overloaded
from service.feedback.items import Item, comparison
from service.log_writer import LogWriter, stdout
from service.logs import timestamp
from service.metrics import Metrics, tag
from service.turns import take_turns

# Truths of older versions come for weeks after a rollout, and of a candidate. What a worker meets
# beyond so many shares the tag `other`: callers could make up any.
MOST_VERSIONS = 10
ITEMS_IN_A_ROW = 100  # before other connections have a turn

_HEAD = {"level": "INFO", "logger": "service.feedback", "message": "feedback", "event": "feedback"}
_encode = msgspec.json.encode


class Record:
    def __init__(
        self, manifest: Manifest, metrics: Callable[[], Metrics | None], log: LogWriter = stdout
    ) -> None:
        """`metrics`: returns where to count, None for nowhere."""
        self._metrics = metrics
        self._log = log
        self._compared = comparison(manifest.outputs)
        self._versions: dict[str, str] = {}
        self._version_tag(manifest.version)
        classes = manifest.outputs.classes[:MOST_CLASSES]
        self._true = {value: tag("class", value) for value in classes}
        self._said = {value: tag("predicted", value) for value in classes}

    def take(self, items: Sequence[Item]) -> None:
        """Log and count items.

        Raises RequestError, 503, if the log has no room: then none is logged, and none counted.
        """
        head = {"timestamp": timestamp(time.time()), **_HEAD}
        beginning = _encode(head).removesuffix(b"}") + b","
        lines = []
        for i, item in enumerate(items):
            if i % ITEMS_IN_A_ROW == 0:
                take_turns()
            lines.append(beginning + _encode(item).removeprefix(b"{") + b"\n")
        if not self._log.put(*lines):
            raise overloaded(1, "log")
        if metrics := self._metrics():
            now = datetime.now(UTC)
            for item in items:
                self._measure(metrics, item, now)

    def _measure(self, to: Metrics, item: Item, now: datetime) -> None:
        version = self._version_tag(item.version)
        to.count("feedback.truths", 1, version, f"outcome:{self._outcome(item)}")
        if isinstance(item.answered_at, datetime):
            # A caller's clock may be ahead.
            to.observe(
                "feedback.delay", max(0.0, (now - item.answered_at).total_seconds()), version
            )
        if self._compared == "number" and item.prediction is not None:
            error = item.prediction - item.truth
            to.observe("feedback.error", error, version)
            to.count("feedback.absolute_error", abs(error), version)
            to.count("feedback.squared_error", error * error, version)
        elif self._true:
            true = self._true.get(item.truth, "class:other")
            to.count(
                "feedback.confusion", 1, true, self._said.get(item.prediction, "predicted:other")
            )

    def _outcome(self, item: Item) -> str:
        if self._compared == "none":
            return "unjudged"
        if self._compared == "number":
            return "measured" if item.prediction is not None else "unjudged"
        return "right" if item.prediction == item.truth else "wrong"

    def _version_tag(self, version: str) -> str:
        found = self._versions.get(version)
        if found is None:
            if len(self._versions) >= MOST_VERSIONS:
                return "model_version:other"
            found = self._versions[version] = tag("model_version", version)
        return found
