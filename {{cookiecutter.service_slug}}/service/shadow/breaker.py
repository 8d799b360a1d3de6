"""Leaves a candidate alone that fails, and tries after a while whether it is well again."""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable

FAILURES_IN_A_ROW = 5
RECENT = 20  # copies, of which more than half
PAUSE_SECONDS, LONGEST_PAUSE_SECONDS = 10.0, 60.0  # doubles with each trial that fails
TRIAL_SECONDS = 3.0  # after which a trial that has not come to an end is given up for another


class Breaker:
    """Has three states. Closed: copies may be made. Open, after too many failures: none may, until
    a pause is over. Trying, after that: one may; its success closes the breaker, its failure opens
    it for a longer pause.
    """

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._recent_failed: deque[bool] = deque(maxlen=RECENT)
        self._pause = 0.0  # seconds; 0 while closed
        self._next_trial = 0.0
        self._trying = False

    @property
    def open(self) -> bool:
        """Whether it is open, or trying."""
        return self._pause > 0

    @property
    def holds(self) -> bool:
        """Whether it is open: what waits to be sent must not be."""
        return self.open and not self._trying

    def admits(self) -> bool:
        """Tell whether a copy may be made; when a pause is over, one may, as the trial."""
        if not self.open:
            return True
        if (now := self._clock()) < self._next_trial:
            return False
        self._trying = True
        self._next_trial = now + TRIAL_SECONDS
        return True

    def learn(self, failed: bool) -> None:
        """Take note of what came of a copy, which may open or close the breaker."""
        if self.holds:
            return  # it was sent before the breaker opened
        self._recent_failed.append(failed)
        recent = list(self._recent_failed)
        in_a_row = sum(recent[-FAILURES_IN_A_ROW:]) == FAILURES_IN_A_ROW
        most = len(recent) == RECENT and sum(recent) > RECENT // 2
        if self._trying or failed and (in_a_row or most):
            longer = min(LONGEST_PAUSE_SECONDS, self._pause * 2 or PAUSE_SECONDS)
            self._pause = longer if failed else 0.0
            self._next_trial = self._clock() + self._pause
            self._trying = False
            self._recent_failed.clear()
