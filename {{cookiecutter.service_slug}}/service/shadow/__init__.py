"""Shadow traffic: live requests are copied to a candidate, whose answers are compared, never used.

    middleware.py   decides what is copied, once it is answered
    guard.py        says whether that may be now: share, kill switch, lag, and breaker.py
    copies.py       is what a copy consists of, and where copies wait
    sender.py       sends them by client.py, in the worker's idle moments
    judge.py        compares the answers by comparison.py
    record.py       counts, and tells: metrics, and lines of the log by events.py
    candidate.py    runs at the other end

Nothing of all this is in a request's way unless SHADOW_URL or SHADOW_ROLE is set.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from wsgiref.types import WSGIApplication

import gevent

from service.artifact import Manifest
from service.errors import Refusal
from service.metrics import Metrics
from service.settings import Settings
from service.shadow.candidate import Candidate
from service.shadow.comparison import Comparator, read_rules
from service.shadow.copies import Queue
from service.shadow.events import Events
from service.shadow.faults import log, repeat
from service.shadow.guard import LAG_CHECK_SECONDS, SWITCH_SECONDS, Guard
from service.shadow.judge import Judge
from service.shadow.middleware import Admission, ShadowMiddleware
from service.shadow.record import COUNTS_SECONDS, Record
from service.shadow.sender import Sender
from service.shadow.settings import ShadowSettings

RULES = Path("shadow-rules.toml")
JUDGE_SECONDS, GAUGES_SECONDS = 0.1, 1.0
PATIENCE_SECONDS = 1.0  # longest that the start of a worker waits for the switch file


def shadow(manifest: Manifest, service: Settings) -> Shadow | Candidate | None:
    """Return shadow traffic as the environment says; None if it is off, or said wrongly."""
    try:
        settings = ShadowSettings.from_env()
        if settings.shadow_role == "candidate":  # which copies nothing on
            return Candidate(manifest.version)
        if not settings.shadow_url:
            return None
        if settings.target.is_this(service):
            raise Refusal(f"SHADOW_URL={settings.shadow_url!r} is this service itself")
        return Shadow(settings, manifest)
    except Refusal as refusal:
        log.error("shadow traffic is off: %s", refusal)
        return None


class Shadow:
    """Shadow traffic of a live service: `wrap` its application, then `start` in the worker."""

    def __init__(self, settings: ShadowSettings, manifest: Manifest) -> None:
        """Raises Refusal for rules that it does not understand."""
        self._settings = settings
        self._version = manifest.version
        self._comparator = Comparator(manifest.outputs, read_rules(RULES))
        self._greenlets: list[gevent.Greenlet[..., None]] = []

    def wrap(self, app: WSGIApplication) -> ShadowMiddleware:
        """Return the application, of which nothing is copied before `start`."""
        self._middleware = ShadowMiddleware(app)
        return self._middleware

    def start(
        self, metrics: Metrics | None, worker_index: int, wait_until_idle: Callable[[float], bool]
    ) -> None:
        """Begin to copy, after the fork. `wait_until_idle`: as in sender.py."""
        settings = self._settings
        self._events, self._queue, self._guard = Events(), Queue(), Guard(settings)
        self._record = Record(metrics, self._events, self._version, worker_index)
        self._judge = Judge(self._comparator, self._record)
        self._sender = Sender(settings, self._queue, self._guard, self._judge, wait_until_idle)
        with gevent.Timeout(PATIENCE_SECONDS, False):  # type: ignore[arg-type]
            self._guard.switch.read()  # or copies would begin before they are switched off
        self._sender.start()
        for seconds, step in (
            (LAG_CHECK_SECONDS, self._guard.lag.check),
            (JUDGE_SECONDS, lambda: self._judge.judge(lambda: wait_until_idle(JUDGE_SECONDS))),
            (GAUGES_SECONDS, self._gauges),
            (SWITCH_SECONDS, self._guard.switch.read),
            (COUNTS_SECONDS, lambda: self._record.counts(queued=self._left)),
        ):
            self._greenlets.append(gevent.spawn(repeat, seconds, step))
        self._middleware.admission = Admission(
            settings.shadow_max_body_bytes, self._guard, self._queue, self._record
        )

    def stop(self) -> None:
        """End without waiting for copies; what is lost is counted."""
        if not self._greenlets:
            return
        self._middleware.admission = None
        self._sender.stop()
        gevent.killall(self._greenlets, block=False)
        self._greenlets.clear()
        self._judge.judge(pause=lambda: None)
        self._record.counts(queued=0, lost_at_exit=self._left)

    @property
    def _left(self) -> int:
        return len(self._queue) + len(self._sender.under_way) + len(self._judge.waiting)

    def _gauges(self) -> None:
        self._record.gauge("shadow.queue.depth", len(self._queue))
        self._record.gauge("shadow.queue.bytes", self._queue.bytes)
        self._record.gauge("shadow.breaker.open", int(self._guard.breaker.open))
        self._record.gauge("shadow.percent", self._guard.switch.percent)
