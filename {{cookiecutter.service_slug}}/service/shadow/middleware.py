"""Has requests copied once they are answered, and changes neither request nor answer.

The client waits for its answer meanwhile, so nothing here may wait, or raise.
"""

from __future__ import annotations

import time
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any
from wsgiref.types import WSGIApplication

from service.request_id import request_id
from service.shadow.client import MAX_ANSWER_BYTES
from service.shadow.copies import Pair, Queue
from service.shadow.faults import note_fault
from service.shadow.guard import Guard
from service.shadow.record import Record


class ShadowMiddleware:
    """Offers what was answered at POST /predict to `admission`, once that is set, in the worker."""

    def __init__(self, app: WSGIApplication) -> None:
        self.admission: Admission | None = None
        self._app = app

    def __call__(self, environ: dict[str, Any], start_response: Any) -> Iterable[bytes]:
        route = environ["REQUEST_METHOD"], environ["PATH_INFO"]
        if self.admission is None or route != ("POST", "/predict"):
            return self._app(environ, start_response)
        started = time.perf_counter()
        chunks = self._app(environ, start_response)
        if self.admission:  # the worker may have begun to stop in the meantime
            self.admission.offer(environ, chunks, time.perf_counter() - started)
        return chunks


@dataclass
class Admission:
    """Queues copies of requests, and records each request as `enqueued`, `sampled_out` (not among
    the share that is copied), `skipped` (not to be copied) or `dropped` (for lack of room or time).
    """

    max_body_bytes: int
    guard: Guard
    queue: Queue
    record: Record

    def offer(self, environ: dict[str, Any], chunks: Iterable[bytes], seconds: float) -> None:
        """Queue a request's copy, or record why there is none.

        `environ`: as service.predict leaves it, with the model's time if it answered with 200.
        `chunks`: its answer, a list of one. `seconds`: what that took.
        """
        try:
            outcome, reason = self._offer(environ, chunks, seconds)
        except Exception:
            note_fault()
            outcome, reason = "skipped", "fault"
        self.record.request(outcome, reason)

    def _offer(
        self, environ: dict[str, Any], chunks: Iterable[bytes], seconds: float
    ) -> tuple[str, str]:
        # One hop: a copy is not copied again, whoever says that it is one.
        if "HTTP_X_SHADOW_REQUEST" in environ or "HTTP_X_SHADOW_ID" in environ:
            return "skipped", "copy"
        if refusal := self.guard.refuses_copy(environ):
            return refusal
        if environ.get("service.arm") == "candidate":
            return "skipped", "candidate"  # it has answered already: there is nothing to compare
        if (inference_seconds := environ.get("service.inference_seconds")) is None:
            return "skipped", "status"
        if len(body := environ["service.body"]) > self.max_body_bytes:
            return "skipped", "body_too_large"
        assert isinstance(chunks, list)
        [answer] = chunks
        if len(answer) > MAX_ANSWER_BYTES:
            return "skipped", "answer_too_large"
        # The breaker comes last, because it may let this one through as its trial.
        if not self.guard.breaker.admits():
            return "skipped", "breaker"
        pair = Pair(body, answer, seconds, inference_seconds, request_id(environ))
        full = self.queue.put(pair)
        return ("dropped", full) if full else ("enqueued", "none")
