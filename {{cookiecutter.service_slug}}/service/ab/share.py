"""Decides for each request who answers it, and has live answer whatever the candidate does not."""

from __future__ import annotations

import time
from typing import Any

import gevent

from service.ab.assignment import Assignment, Groups
from service.ab.contract import Contract
from service.ab.hop import Hop
from service.ab.record import Record
from service.ab.settings import AbSettings
from service.artifact import Manifest
from service.metrics import Metrics
from service.record import RequestRecord
from service.request_id import request_id
from service.shadow.breaker import Breaker
from service.shadow.client import Answer, Failed
from service.shadow.faults import note_fault, repeat
from service.shadow.guard import SWITCH_SECONDS, UNHEALTHY, KillSwitch
from service.shadow.record import COUNTS_SECONDS
from service.shadow.settings import Target

GAUGES_SECONDS = 1.0
PATIENCE_SECONDS = 1.0  # longest that the start of a worker waits for the switch file
# A candidate of which this comes is of no use to anybody. A 4xx may be the request's fault.
UNFIT = UNHEALTHY | {"not_json", "shape", "redirect"}
OURS = {"busy", "fault"}  # which say nothing of it


class Share:
    """One a process; hands nothing over before `start`, which belongs in the worker."""

    def __init__(self, settings: AbSettings, target: Target, manifest: Manifest) -> None:
        self._settings, self._target, self._manifest = settings, target, manifest
        self._contract = Contract(manifest.outputs)
        self._key = "HTTP_" + settings.ab_key_header.upper().replace("-", "_")
        self._percent, self._groups = 0.0, Groups(settings.ab_experiment, 0.0)
        self._greenlets: list[gevent.Greenlet[..., None]] = []

    def start(self, metrics: Metrics | None, worker_index: int) -> None:
        """Begin, after the fork."""
        settings = self._settings
        self._record = Record(metrics, self._manifest.version, settings.ab_experiment, worker_index)
        self._hop = Hop(self._target, settings.ab_budget_ms / 1e3)
        self._breaker = Breaker()
        self._switch = KillSwitch(settings.ab_percent, settings.ab_switch_file, "users")
        with gevent.Timeout(PATIENCE_SECONDS, False):  # type: ignore[arg-type]
            self._look()
        for seconds, step in (
            (SWITCH_SECONDS, self._look),
            (GAUGES_SECONDS, lambda: self._record.gauges(self._percent, self._breaker.open)),
            (COUNTS_SECONDS, lambda: self._record.counts(self._percent)),
        ):
            self._greenlets.append(gevent.spawn(repeat, seconds, step))

    def stop(self) -> None:
        """End, when there are no requests any more."""
        if not self._greenlets:
            return
        gevent.killall(self._greenlets, block=False)
        self._greenlets.clear()
        self._hop.close()
        self._record.gauges(self._percent, self._breaker.open)
        self._record.counts(self._percent)

    def assign(self, environ: dict[str, Any], record: RequestRecord) -> None:
        """Note in the record of a request whose it is."""
        # Copies of shadow traffic are no users, whatever they say.
        if not self._percent or "HTTP_X_SHADOW_REQUEST" in environ:
            return
        if not (key := environ.get(self._key, "").strip()):
            self._record.groups["no_key"] += 1
            return
        record.assignment = found = self._groups.of(key)
        self._record.groups[found.group if found else "others"] += 1

    def ask(
        self, environ: dict[str, Any], record: RequestRecord, assignment: Assignment, timeout: float
    ) -> bytes | None:
        """Return the candidate's answer, for a request of its users; None: live has to answer.

        `timeout`: seconds that the request may take yet; half of them are left for live.
        """
        if assignment.group == "control":
            return None
        if not self._breaker.admits():
            assignment.fallback = "breaker"
            return None
        started = time.perf_counter()
        try:
            answer = self._answer(environ, record, timeout / 2)
        except Failed as failed:
            assignment.fallback = str(failed)
        except Exception:
            note_fault()
            assignment.fallback = "fault"
        assignment.candidate_seconds = time.perf_counter() - started
        if assignment.fallback not in OURS:
            self._breaker.learn(failed=assignment.fallback in UNFIT)
        if assignment.fallback:
            return None
        record.arm, record.version = "candidate", answer.headers["x-model-version"]
        environ["service.arm"] = record.arm
        return answer.body

    def note(self, record: RequestRecord, assignment: Assignment) -> None:
        """Tell of a request of the experiment, once it is answered."""
        self._record.answer(record, assignment)

    def _answer(self, environ: dict[str, Any], record: RequestRecord, seconds: float) -> Answer:
        answer = self._hop.ask(environ["service.body"], request_id(environ), seconds)
        self._contract.check(answer, record.row_count)
        return answer

    def _look(self) -> None:
        self._switch.read()
        if self._switch.percent != self._percent:
            self._percent = self._switch.percent
            self._groups = Groups(self._settings.ab_experiment, self._percent)
