"""Leaves a candidate alone that fails, and looks after a while whether it is well again."""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable

IN_A_ROW = 5
OF_RECENT = 20  # more than half of these
PAUSE, LONGEST_PAUSE = 10.0, 60.0  # seconds; doubles with each trial that fails
# A trial may never set out (its request fails, say); then another one may.
TRIAL_SECONDS = 3.0


class Breaker:
    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._recent: deque[bool] = deque(maxlen=OF_RECENT)  # whether it failed
        self._in_a_row = 0
        self._pause = 0.0
        self._next = 0.0
        self._trying = False

    @property
    def open(self) -> bool:
        return self._pause > 0

    @property
    def holds(self) -> bool:
        """Whether what waits to be sent must not be."""
        return self.open and not self._trying

    def admits(self) -> bool:
        """Tell whether a copy may be made; while open, one now and then, as a trial."""
        if not self.open:
            return True
        if (now := self._clock()) < self._next:
            return False
        self._trying = True
        self._next = now + TRIAL_SECONDS
        return True

    def succeeded(self) -> None:
        if self.holds:
            return  # set out before it opened
        if self._trying:
            self._pause = 0.0
            self._trying = False
            self._recent.clear()
        self._in_a_row = 0
        self._recent.append(False)

    def failed(self) -> None:
        if self.holds:
            return
        self._in_a_row += 1
        self._recent.append(True)
        many = len(self._recent) == OF_RECENT and sum(self._recent) > OF_RECENT // 2
        if self._trying or self._in_a_row >= IN_A_ROW or many:
            self._pause = min(LONGEST_PAUSE, self._pause * 2 or PAUSE)
            self._next = self._clock() + self._pause
            self._trying = False
            self._in_a_row = 0
            self._recent.clear()
