"""Ghost mode: live requests are copied to a candidate, whose answers are compared, never used.

    middleware.py   takes the copy as request and answer pass
    admission.py    decides what is copied: share, rate, kill switch, a calm loop
    copies.py       where copies wait, bounded
    sender.py       sends them (client.py), unless the candidate is in trouble (breaker.py)
    comparison.py   compares the answers
    record.py       tells: metrics, and events that the report and the gate read
    candidate.py    is what runs at the other end

There is nothing of it in a request's way unless SHADOW_URL or SHADOW_ROLE is set.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping

import gevent

from service.artifact import Manifest
from service.errors import Refusal
from service.metrics import Metrics
from service.settings import Settings
from service.shadow.admission import LOOK_SECONDS, SWITCH_SECONDS, Admission, Governor, Switch
from service.shadow.breaker import Breaker
from service.shadow.candidate import Candidate
from service.shadow.comparison import Comparator, Rule, read_rules
from service.shadow.copies import Queue
from service.shadow.middleware import ShadowMiddleware, Wsgi
from service.shadow.record import COUNTS_SECONDS, PATIENCE_SECONDS, Events, Faults, Record, log
from service.shadow.sender import Sender
from service.shadow.settings import ShadowSettings

JUDGE_SECONDS, FLUSH_SECONDS, GAUGES_SECONDS = 0.1, 0.2, 1.0

__all__ = ["Shadow", "shadow"]


def shadow(manifest: Manifest, service: Settings) -> Shadow | Candidate | None:
    """Return ghost mode as the environment says; None if it is off, or said wrongly."""
    try:
        settings = ShadowSettings.from_env()
        if settings.shadow_role == "candidate":  # whose copies nobody copies on
            return Candidate(manifest.version)
        if not settings.shadow_url:
            return None
        if settings.target.is_this(service):
            raise Refusal(f"SHADOW_URL={settings.shadow_url!r} is this service itself")
        return Shadow(settings, manifest, read_rules(settings.shadow_rules))
    except Refusal as refusal:
        log.error("ghost mode is off: %s", refusal)
        return None


def _idle(seconds: float) -> bool:
    gevent.idle()
    return True


class Shadow:
    """Ghost mode of a process: `wrap` when the application is made, the rest in the worker."""

    def __init__(
        self, settings: ShadowSettings, manifest: Manifest, rules: Mapping[str, Rule]
    ) -> None:
        self._settings = settings
        self._comparator = Comparator(manifest.outputs, rules)
        self._middleware: ShadowMiddleware | None = None
        self._greenlets: list[gevent.Greenlet[..., None]] = []

    def wrap(self, app: Wsgi) -> ShadowMiddleware:
        self._middleware = ShadowMiddleware(app, self._settings)
        return self._middleware

    def start(
        self,
        metrics: Metrics | None = None,
        worker: int = 0,
        rest: Callable[[float], bool] = _idle,
        descriptor: int = 1,
    ) -> None:
        """Begin to copy; in the worker, after the fork.

        `rest`: returns when the worker has nothing better to do, or after so many seconds; says
        which.
        `descriptor`: where events are written.
        """
        settings = self._settings
        faults = self._faults = Faults()
        self._events = Events(descriptor)
        record = self._record = Record(metrics, self._events, faults, worker)
        queue = self._queue = Queue(settings.shadow_queue, settings.shadow_queue_bytes)
        breaker = self._breaker = Breaker()
        switch = self._switch = Switch(settings.shadow_percent, settings.shadow_switch_file)
        governor = Governor()
        self._sender = Sender(
            settings, queue, breaker, switch, governor, self._comparator, record, faults, rest
        )
        with gevent.Timeout(PATIENCE_SECONDS, False):  # type: ignore[arg-type]
            switch.look()  # or copies would begin a moment before they are switched off
        self._sender.start()
        for seconds, step in (
            (LOOK_SECONDS, governor.look),
            (JUDGE_SECONDS, lambda: self._sender.judge(lambda: rest(JUDGE_SECONDS))),
            (FLUSH_SECONDS, self._events.flush),
            (GAUGES_SECONDS, self._gauges),
            (SWITCH_SECONDS, switch.look),
            (COUNTS_SECONDS, self._counts),
        ):
            self._greenlets.append(gevent.spawn(self._every, seconds, step))
        if self._middleware:
            self._middleware.admission = Admission(
                settings, queue, breaker, switch, governor, record, faults
            )

    def stop(self) -> None:
        """End without waiting for copies; what is lost is counted."""
        greenlets, self._greenlets = self._greenlets, []
        if not greenlets:
            return
        if self._middleware:
            self._middleware.admission = None
        self._sender.stop()
        gevent.killall(greenlets, block=False)
        self._sender.judge(pause=lambda: None)
        lost = len(self._queue) + self._sender.under_way
        self._record.counts(queued=0, lost_at_exit=lost)
        with gevent.Timeout(PATIENCE_SECONDS, False):  # type: ignore[arg-type]
            self._events.flush()

    def _every(self, seconds: float, step: Callable[[], None]) -> None:
        while True:
            try:
                step()
            except Exception:
                self._faults.note()
            gevent.sleep(seconds)

    def _gauges(self) -> None:
        self._record.gauges(
            len(self._queue), self._queue.bytes, self._breaker.open, self._switch.percent
        )

    def _counts(self) -> None:
        self._record.counts(len(self._queue) + self._sender.under_way)
