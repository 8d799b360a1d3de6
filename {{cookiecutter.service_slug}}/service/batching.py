"""Natural batching: whatever arrives while the model is busy goes into its next call, together.

There is no timer. An idle model answers at once; a busy one gets batches as large as the load makes
them, which is what makes a vectorised model cheap per row. What would have to wait too long is
refused at once; what nobody waits for any more is dropped before it costs a call.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Sequence
from time import perf_counter

import gevent
from gevent.event import Event

from service.call_cost import CallCost
from service.errors import RequestError, harmless, overloaded
from service.idle import Idle
from service.model_thread import ModelThread
from service.observer import Observer
from service.record import Answer, RequestRecord, Row
from service.settings import Settings
from service.sockets import gone

# Under a flood of refusals the hub is never idle; the model is called all the same.
GATHER_SECONDS = 0.01


class Batcher:
    """Queues requests and runs them through `predict` in one native thread: the hub stays free.

    `predict` takes rows and returns an answer for each, in order. A call has at most
    `max_batch_size` rows, and fewer if those would make it longer by more than `max_queue_ms`.
    A request with more goes in slices, and to the end of the queue after each: large ones take
    turns.
    """

    def __init__(
        self,
        predict: Callable[[Sequence[Row]], list[Answer]],
        settings: Settings,
        observer: Observer | None = None,
    ) -> None:
        self.cost = CallCost()
        self.queued_rows = 0
        self._predict = predict
        self._max_batch_size = self._rows_per_call = settings.max_batch_size
        self._max_queue_seconds = settings.max_queue_ms / 1e3
        self._max_queued_rows = settings.max_queued_rows
        self._queue: deque[RequestRecord] = deque()
        self._queued_this_round = 0  # the sum of the queue's next slices
        self._arrived = Event()
        self.idle = Idle()
        self._thread = ModelThread()
        self._observer = observer or Observer()
        self._longest_call = settings.predict_timeout_seconds
        # The call that runs: of which requests, and since when.
        self._running: list[RequestRecord] = []
        self._began = 0.0
        self._calls: list[tuple[list[Row], list[Answer], float]] = []
        self._loop = gevent.spawn(self._run)

    def warm_up(self, rows: list[Row], prepare: Callable[[], None]) -> list[Answer]:
        """Predict `rows`, then ever larger batches of them to learn what a call costs.

        `prepare` is called first, in the model's thread. Raises what `predict` raised.
        """
        self._thread.apply(prepare)
        record = RequestRecord(rows=rows)
        self.submit(record, timeout=3600)
        size, seconds = 1, 0.0
        # A model is as slow as it is: what it takes when all is well is no sign of the contrary.
        self._longest_call = max(self._longest_call, 3 * record.predict_seconds)
        while size <= self._max_batch_size and seconds < 0.1:
            started = perf_counter()
            self._thread.apply(self._predict, (rows * size)[:size])
            seconds = perf_counter() - started
            self.cost.learn_warm_up(size, seconds)
            size *= 4
        self._limit_calls()
        return record.answers

    def expected_wait(self) -> float:
        """Return by how many seconds those in the queue would delay a newcomer."""
        return self.cost.delay(self._queued_this_round, self._rows_per_call)

    def refuse_if_overloaded(self, timeout: float) -> None:
        """Raise RequestError (503) if a newcomer would wait too long, or for over `timeout` s."""
        wait = self.expected_wait()
        if wait > min(self._max_queue_seconds, timeout):
            raise overloaded(wait)

    def submit(self, record: RequestRecord, timeout: float) -> None:
        """Answer the rows of `record`, in it; raises what `predict` raised for them.

        Raises RequestError: 503 if the wait would be too long, 504 if it was (`timeout` seconds).
        """
        self.refuse_if_overloaded(timeout)
        # An empty queue takes any request, or the largest would never pass.
        if self._queue and self.queued_rows + len(record.rows) > self._max_queued_rows:
            raise overloaded(self.expected_wait(), "rows")
        record.submitted = perf_counter()
        record.deadline = record.submitted + timeout
        self._enqueue(record)
        self._arrived.set()
        if not record.done.wait(timeout):
            record.failure = RequestError(
                504, f"no answer within {timeout * 1e3:.0f} ms", "deadline"
            )
        if record.failure:
            raise record.failure

    def give_up(self) -> list[RequestRecord] | None:
        """Answer all that waits if the call that runs is too long, and refuse whatever comes.

        Returns the requests in that call; None if all is well. The thread cannot be ended: its
        process has to be.
        """
        late = self._running and perf_counter() - self._began > self._longest_call
        if not late and not self._loop.ready():
            return None
        self._max_queue_seconds = -1.0  # longer than this is any wait
        running, self._running = self._running, []
        for record in running:
            if len(record.answers) < len(record.rows):
                record.failure = record.failure or RequestError(
                    504, "the model does not answer", "stuck"
                )
        for record in self._queue:
            record.failure = overloaded(0, "stuck")
        for record in [*running, *self._queue]:
            record.done.set()
        self._loop.kill(block=False)
        self._queue.clear()
        self.queued_rows = self._queued_this_round = 0
        return running

    def close(self) -> None:
        self._loop.kill()
        self._thread.kill()

    def _run(self) -> None:
        while True:
            self.idle.set()
            self._arrived.wait()
            self.idle.clear()
            while self._queue:
                self._gather()
                if batch := self._take():
                    self._running, self._began = batch, perf_counter()
                    self._thread.apply(self._call, batch)
                    self._running = []
                    self._finish(batch)
            self._arrived.clear()

    def _gather(self) -> None:
        """Let the hub take in what is at its sockets, as long as that brings more for the call.

        Hub and model share a CPU, so this costs no time that the model could have had; and clients
        that the last call has just answered come back in time for the next one.
        """
        before = 0
        with gevent.Timeout(GATHER_SECONDS, False):  # type: ignore[arg-type]
            while before < self._queued_this_round < self._rows_per_call:
                before = self._queued_this_round
                # Until all answers are sent and all that is at the sockets is read and queued.
                # sleep(0) may come back without a look at them, and then half a call goes alone.
                gevent.idle()

    def _enqueue(self, record: RequestRecord) -> None:
        left = len(record.rows) - len(record.answers)
        # A large request has half a call at a time, to leave room for others in the same call.
        whole = left <= self._rows_per_call
        record.next_slice = left if whole else max(1, self._rows_per_call // 2)
        self._queued_this_round += record.next_slice
        self.queued_rows += left
        self._queue.append(record)

    def _take(self) -> list[RequestRecord]:
        """Take the requests of the next call from the queue; drop those nobody waits for."""
        batch: list[RequestRecord] = []
        rows = 0
        now = perf_counter()
        while self._queue and (
            not batch or rows + self._queue[0].next_slice <= self._rows_per_call
        ):
            record = self._queue.popleft()
            self._queued_this_round -= record.next_slice
            self.queued_rows -= len(record.rows) - len(record.answers)
            if now < record.deadline:
                batch.append(record)
                rows += record.next_slice
        waiting = {record.connection: record for record in batch if record.connection is not None}
        for connection in gone(waiting):
            batch.remove(record := waiting[connection])
            record.failure = RequestError(499, "the connection was reset", "hung_up")
            record.done.set()
        return batch

    def _call(self, batch: list[RequestRecord]) -> None:
        """Predict a batch. If it fails, halve it until only the requests at fault fail."""
        self._began = started = perf_counter()
        try:
            rows = [
                row
                for record in batch
                for row in record.rows[len(record.answers) :][: record.next_slice]
            ]
            with self._observer.call(batch, len(rows)):
                answers = self._predict(rows)
        except BaseException as error:  # even SystemExit must not end the thread that all share
            if len(batch) == 1:
                batch[0].failure = harmless(error)
                return
            middle = len(batch) // 2
            for half in batch[:middle], batch[middle:]:
                # A model that fails slowly at everything is not asked for those who have given up.
                if alive := [record for record in half if perf_counter() < record.deadline]:
                    self._call(alive)
            return
        finished = perf_counter()
        self.cost.learn(len(rows), finished - started)
        self._calls.append((rows, answers, finished - started))
        position = 0
        for record in batch:
            record.started = record.started or started
            record.finished = finished
            record.call_rows = len(rows)
            record.answers += answers[position : position + record.next_slice]
            position += record.next_slice

    def _finish(self, batch: list[RequestRecord]) -> None:
        self._limit_calls()
        for record in batch:
            if record.failure or len(record.answers) == len(record.rows):
                record.done.set()
            else:
                self._enqueue(record)
        calls, self._calls = self._calls, []
        for call in calls:
            self._observer.called(*call)

    def _limit_calls(self) -> None:
        most = self.cost.rows_within(self._max_queue_seconds)
        self._rows_per_call = min(self._max_batch_size, most)
