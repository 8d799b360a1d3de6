"""Whether copies may be made, and sent, now: asks the kill switch, the event loop, the breaker."""

from __future__ import annotations

import hashlib
import time
from pathlib import Path
from typing import Any

from gevent.threadpool import ThreadPool

from service.request_id import request_id
from service.shadow.breaker import Breaker
from service.shadow.faults import log
from service.shadow.settings import ShadowSettings

SWITCH_SECONDS = 2.0  # between two readings of the switch file
LAG_CHECK_SECONDS = 0.1  # between two checks of the event loop
# A check that comes later than it should by LAG_SECONDS stops copies for CALM_SECONDS.
LAG_SECONDS, CALM_SECONDS = 0.02, 1.0
# Reasons that tell of a candidate in trouble, or not there. The others say only that it is wrong.
UNHEALTHY = {"timeout", "connect", "protocol", "encoded", "5xx", "too_large"}


class KillSwitch:
    """How many percent it is now: as set, or as a file says that may change at any time."""

    def __init__(self, percent: float, file: str, of: str = "copies") -> None:
        """`of`: what it is a percentage of, for the log."""
        self.percent = 0.0 if file else percent  # nothing until the file has been read
        self._set_percent, self._of = percent, of
        self._file = Path(file) if file else None
        self._last_text: str | None = None
        self._thread = ThreadPool(1)  # a file system may hang

    def read(self) -> None:
        """Read the file; what is neither a percentage nor empty nor missing switches off."""
        if self._file is None:
            return
        try:
            text = self._thread.apply(_beginning, (self._file,)).strip()
            percent = self._set_percent if not text else 0.0 if text == "off" else float(text)
            if not 0 <= percent <= 100:  # NaN neither
                percent = 0.0
        except (OSError, ValueError) as error:
            text, percent = str(error), 0.0
        if text != self._last_text:
            log.warning("%s: %s: %s %g %%", self._file, text or "empty", self._of, percent)
        self._last_text, self.percent = text, percent


def _beginning(file: Path) -> str:
    """Return what a file begins with; nothing if it is missing, which gevent would print."""
    try:
        with file.open() as stream:
            return stream.read(100)
    except FileNotFoundError:
        return ""


class LagGuard:
    """Notices when the worker's event loop is late: it has better things to do than to copy."""

    def __init__(self) -> None:
        self._last_check = 0.0
        self._lagging_until = 0.0

    @property
    def lagging(self) -> bool:
        return time.monotonic() < self._lagging_until

    def check(self) -> None:
        """Compare the time with that of the last check: call it every LAG_CHECK_SECONDS."""
        now = time.monotonic()
        if self._last_check and now - self._last_check - LAG_CHECK_SECONDS > LAG_SECONDS:
            self._lagging_until = now + CALM_SECONDS
        self._last_check = now


class Guard:
    def __init__(self, settings: ShadowSettings) -> None:
        self.switch = KillSwitch(settings.shadow_percent, settings.shadow_switch_file)
        self.lag = LagGuard()
        self.breaker = Breaker()
        self._key = "HTTP_" + settings.shadow_key_header.upper().replace("-", "_")

    def refuses_copy(self, environ: dict[str, Any]) -> tuple[str, str] | None:
        """Return outcome and reason if a request must not be copied; the breaker is not asked."""
        percent = self.switch.percent
        if not percent:
            return "skipped", "switched_off"
        if percent < 100 and not sampled(environ.get(self._key) or request_id(environ), percent):
            return "sampled_out", "percent"
        return ("dropped", "lag") if self.lag.lagging else None

    def refuses_sending(self) -> str:
        """Return why a copy that was made must not be sent now, "" if it may be."""
        breaker = "breaker" if self.breaker.holds else ""
        return breaker if self.switch.percent else "switched_off"

    def learn(self, reason: str | None) -> None:
        """Tell the breaker what came of a copy: an answer, or a reason for which there is none."""
        self.breaker.learn(failed=reason in UNHEALTHY)


def sampled(key: str, percent: float) -> bool:
    """Tell whether a key is among so many percent; the same everywhere, and for ever."""
    digest = hashlib.blake2b(key.encode(), digest_size=8).digest()
    return int.from_bytes(digest) % 1_000_000 < percent * 10_000
