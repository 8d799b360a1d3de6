"""Who is told of the calls of the model."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import AbstractContextManager, nullcontext

from service.record import Answer, RequestRecord, Row


class Observer:
    """Is told of every call of the model; this one makes nothing of it."""

    def call(self, records: Sequence[RequestRecord], rows: int) -> AbstractContextManager[object]:
        """Return the context in which the model is called, in its thread."""
        return nullcontext()

    def called(self, rows: Sequence[Row], answers: Sequence[Answer], seconds: float) -> None:
        """Take note of a call that gave answers; not in the model's thread."""
