"""Compares answers a while after they came, and makes the one entry in the record of each copy."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable

from service.shadow.comparison import Comparator, NotJson
from service.shadow.copies import Pair
from service.shadow.faults import note_fault
from service.shadow.record import Record

PAIRS_IN_A_ROW = 8  # before live requests have another chance


class Judge:
    def __init__(self, comparator: Comparator, record: Record) -> None:
        self.waiting: deque[Pair] = deque()
        self._comparator = comparator
        self._record = record

    def judge(self, pause: Callable[[], object]) -> None:
        """Compare and record all that waits. `pause`: called before every few pairs."""
        while self.waiting:
            pause()
            for _ in range(min(PAIRS_IN_A_ROW, len(self.waiting))):
                # It waits until it is recorded, because stop() may end a comparison half-way.
                pair = self.waiting[0]
                try:
                    if pair.answer and not pair.reason:
                        found = self._comparator.compare(pair.live_answer, pair.answer.body)
                        pair.comparison, pair.verdict = found, found.verdict
                except NotJson as error:
                    pair.reason = str(error)
                    pair.verdict = (
                        "candidate_error" if pair.reason == "not_json" else "not_compared"
                    )
                except Exception:
                    note_fault()
                    pair.verdict, pair.reason = "not_compared", "fault"
                self.waiting.popleft()
                self._record.pair(pair)
