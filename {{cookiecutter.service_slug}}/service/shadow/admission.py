"""Which requests are copied: by share, rate, kill switch, and by how the live service is doing."""

from __future__ import annotations

import hashlib
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from gevent.threadpool import ThreadPool

from service.request_id import request_id
from service.shadow.breaker import Breaker
from service.shadow.copies import Copy, Queue
from service.shadow.record import Faults, Record, log
from service.shadow.settings import ShadowSettings

SWITCH_SECONDS = 2.0
# The worker's loop is looked at so often; if it wakes later than it should by LAG, copies stop
# until it has been on time for CALM.
LOOK_SECONDS, LAG_SECONDS, CALM_SECONDS = 0.1, 0.02, 1.0


class Refused(Exception):
    """No copy is made. Arguments: what becomes of the request (skipped, dropped), and why."""


class Switch:
    """How many percent are copied now: as set, or as a file says that may change at any time."""

    def __init__(self, percent: float, file: str) -> None:
        self.percent = percent
        self.off = bool(file)  # until it has been read
        self._set = percent
        self._file = Path(file) if file else None
        self._seen: str | None = None
        self._thread = ThreadPool(1)  # a file system may hang

    def look(self) -> None:
        """Read the file; what is neither a percentage nor empty nor missing switches off."""
        if self._file is None:
            return
        text, percent = "", 0.0
        try:
            text = self._thread.apply(_read, (self._file,)).strip()
            percent = self._set if not text else 0.0 if text == "off" else float(text)
            off = text == "off" or not 0 <= percent <= 100  # NaN too
        except (OSError, ValueError) as error:
            text, off = str(error), True
        if text != self._seen:
            log.warning("%s: %s: copies %g %%", self._file, text or "empty", 0 if off else percent)
        self._seen, self.off, self.percent = text, off, 0 if off else percent


class Governor:
    """Notices when the worker's loop is late: then it has better things to do than to copy."""

    def __init__(self) -> None:
        self._last = 0.0
        self._calm = 0.0

    @property
    def lagging(self) -> bool:
        return time.monotonic() < self._calm

    def look(self) -> None:
        """Call it every LOOK_SECONDS."""
        now = time.monotonic()
        if self._last and now - self._last - LOOK_SECONDS > LAG_SECONDS:
            self._calm = now + CALM_SECONDS
        self._last = now


class Rate:
    """At most so many a second, after at most a second's worth at once."""

    def __init__(self, most: float, clock: Callable[[], float] = time.monotonic) -> None:
        self._most = most
        self._clock = clock
        self._left = max(1.0, most)
        self._at = clock()

    def allows(self) -> bool:
        if not self._most:
            return True
        now = self._clock()
        self._left = min(max(1.0, self._most), self._left + (now - self._at) * self._most)
        self._at = now
        if self._left < 1:
            return False
        self._left -= 1
        return True


@dataclass
class Admission:
    settings: ShadowSettings
    queue: Queue
    breaker: Breaker
    switch: Switch
    governor: Governor
    record: Record
    faults: Faults

    def __post_init__(self) -> None:
        self._key = "HTTP_" + self.settings.shadow_key_header.upper().replace("-", "_")
        self._rate = Rate(self.settings.shadow_max_rps)

    def admits(self, environ: dict[str, Any]) -> bool:
        """Tell whether to copy this request, if it turns out well. Never raises."""
        self.record.live_requests += 1
        try:
            refusal = self._refusal(environ)
        except Exception:
            self.faults.note()
            refusal = "skipped", "fault"
        if refusal:
            self.record.unsent(*refusal)
        return refusal is None

    def settle(self, copy: Callable[[], Copy]) -> None:
        """Queue the copy of a request that has been answered. Never raises.

        `copy`: makes it, or raises Refused.
        """
        try:
            made = copy()
            if reason := self.queue.put(made):
                raise Refused("dropped", reason)
        except Refused as refused:
            self.record.unsent(*refused.args)
        except Exception:
            self.faults.note()
            self.record.unsent("skipped", "fault")
        else:
            self.record.queued()

    def _refusal(self, environ: dict[str, Any]) -> tuple[str, str] | None:
        # One hop: what was copied once is not copied again, whoever says so.
        if "HTTP_X_SHADOW_REQUEST" in environ or "HTTP_X_SHADOW_ID" in environ:
            return "skipped", "copy"
        if self.switch.off:
            return "skipped", "switched_off"
        if (percent := self.switch.percent) < 100:
            if not sampled(environ.get(self._key) or request_id(environ), percent):
                return "sampled_out", "percent"
        if self.governor.lagging:
            return "dropped", "lag"
        if full := self.queue.full:
            return "dropped", full
        if not self._rate.allows():
            return "skipped", "rate"
        # Last, because it may let this one through as a trial.
        if not self.breaker.admits():
            return "skipped", "breaker"
        return None


def sampled(key: str, percent: float) -> bool:
    """Tell whether a key is among so many percent; the same everywhere, and for ever."""
    digest = hashlib.blake2b(key.encode(), digest_size=8).digest()
    return int.from_bytes(digest) % 1_000_000 < percent * 10_000


def _read(file: Path) -> str:
    """Return what a switch file begins with, nothing if there is none."""
    try:
        with file.open() as stream:
            return stream.read(100)
    except FileNotFoundError:
        return ""
