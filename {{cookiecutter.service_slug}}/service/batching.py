"""Natural batching: whatever arrives while the model is busy goes into its next call, together.

There is no timer. An idle model answers at once; a busy one gets batches as large as the load makes
them, which is what makes a vectorised model cheap per row. What would have to wait too long is
refused at once; what nobody waits for any more is dropped before it costs a call.
"""

from __future__ import annotations

import select
from collections import deque
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, field
from time import perf_counter
from typing import Any

import gevent
from gevent import monkey
from gevent.event import Event
from gevent.lock import BoundedSemaphore
from gevent.threadpool import ThreadPool

from service.admission import CallCost, overloaded
from service.errors import RequestError
from service.schema import Row

Answer = dict[str, Any]

# gevent's replacements would switch greenlets; a look without waiting needs the real thing.
_poll = monkey.get_original("select", "poll")
_CLOSED = getattr(select, "POLLRDHUP", select.POLLHUP)  # the former is Linux's


@dataclass(eq=False, slots=True)
class Job:
    """One request's rows on their way through the model, with the clock at each stage (seconds)."""

    rows: list[Row]
    submitted: float
    deadline: float
    connection: int | None  # file descriptor
    request: Any = None  # what an observer knows it by
    started: float = 0.0
    finished: float = 0.0
    answers: list[Answer] = field(default_factory=list)
    error: BaseException | None = None
    done: Event = field(default_factory=Event)
    # How many rows it has in the current round of the queue.
    turn: int = 0
    # Of the last call that had rows of it: how many rows in all, and what a trace calls it.
    call_rows: int = 0
    call: Any = None


class Observer:
    """Is told of every call of the model; this one makes nothing of it."""

    def call(self, jobs: Sequence[Job], rows: int) -> AbstractContextManager[Any]:
        """Return the context in which the model is called, in its thread."""
        return nullcontext()

    def called(self, rows: Sequence[Row], answers: Sequence[Answer], seconds: float) -> None:
        """Take note of a call that gave answers; not in the model's thread."""


class Batcher:
    """Queues jobs and runs them through `predict` in one native thread, so the hub stays free.

    `predict` takes rows and returns an answer for each, in order. A call has at most
    `max_batch_size` rows, and fewer if those would make it longer by more than `max_queue` seconds.
    A job with more goes in slices, and to the end of the queue after each: large ones take turns.
    """

    def __init__(
        self,
        predict: Callable[[Sequence[Row]], list[Answer]],
        max_batch_size: int,
        max_queue: float,
        max_queued_rows: int,
        observer: Observer | None = None,
    ) -> None:
        self.cost = CallCost()
        self.queued_rows = 0
        self._predict = predict
        self._max_batch_size = max_batch_size
        self._max_queue = max_queue
        self._max_queued_rows = max_queued_rows
        self._per_call = max_batch_size
        self._queue: deque[Job] = deque()
        self._turns = 0
        self._arrived = Event()
        self._calm = Event()
        self._resting = BoundedSemaphore()
        self._thread = ThreadPool(1)
        self._observer = observer or Observer()
        self._calls: list[tuple[list[Row], list[Answer], float]] = []
        self._loop = gevent.spawn(self._run)

    def warm_up(self, rows: list[Row]) -> list[Answer]:
        """Predict `rows`, then ever larger batches of them to learn what a call costs.

        Raises what `predict` raised.
        """
        answers = self.submit(rows, timeout=3600).answers
        size, seconds = 1, 0.0
        while size <= self._max_batch_size and seconds < 0.1:
            started = perf_counter()
            self._thread.apply(self._predict, ((rows * size)[:size],))
            seconds = perf_counter() - started
            self.cost.anchor(size, seconds)
            size *= 4
        self._per_call = min(self._max_batch_size, self.cost.rows_within(self._max_queue))
        return answers

    def expected_wait(self) -> float:
        """Return by how many seconds those in the queue would delay a newcomer."""
        return self.cost.queue(self._turns, self._per_call)

    def refuse_if_overloaded(self, timeout: float) -> None:
        """Raise RequestError (503) if a newcomer would wait too long, or for over `timeout` s."""
        wait = self.expected_wait()
        if wait > min(self._max_queue, timeout):
            raise overloaded(wait)

    def submit(
        self, rows: list[Row], timeout: float, connection: int | None = None, request: Any = None
    ) -> Job:
        """Return the finished job for `rows`; raises what `predict` raised for them.

        Raises RequestError: 503 if the wait would be too long, 504 if it was (`timeout` seconds).
        """
        self.refuse_if_overloaded(timeout)
        # An empty queue takes any request, or the largest would never pass.
        if self._queue and self.queued_rows + len(rows) > self._max_queued_rows:
            raise overloaded(self.expected_wait(), "rows")
        now = perf_counter()
        job = Job(rows, now, now + timeout, connection, request)
        self._enqueue(job)
        self._arrived.set()
        if not job.done.wait(timeout):
            job.error = RequestError(504, f"no answer within {timeout * 1e3:.0f} ms", "deadline")
        if job.error:
            raise job.error
        # It has the job: rows and answers would wait for the collector of garbage.
        job.request = None
        return job

    def wait_until_idle(self, seconds: float) -> bool:
        """Return True when neither the model nor the hub has anything to do, False if that takes
        too many seconds.

        For work that must not be in the way of requests: the model, in its thread, would have to
        share the interpreter with it. One at a time: the hub looks at its sockets in between.
        """
        with gevent.Timeout(seconds, False), self._resting:  # type: ignore[arg-type]
            gevent.idle()
            while not self._calm.is_set():
                self._calm.wait()
                gevent.idle()
            return True
        return False

    def close(self) -> None:
        self._loop.kill()
        self._thread.kill()

    def _run(self) -> None:
        while True:
            self._calm.set()
            self._arrived.wait()
            self._calm.clear()
            while self._queue:
                self._gather()
                if batch := self._take():
                    self._thread.apply(self._call, (batch,))
                    self._finish(batch)
            self._arrived.clear()

    def _gather(self) -> None:
        """Let the hub take in what is at its sockets, as long as that brings more for the call.

        Hub and model share a CPU, so this costs no time that the model could have had; and those
        whom the last call has just answered come back in time for the next one.
        """
        before = 0
        while before < self._turns < self._per_call:
            before = self._turns
            gevent.sleep(0)
            gevent.sleep(0)

    def _enqueue(self, job: Job) -> None:
        left = len(job.rows) - len(job.answers)
        # A large one takes half a call at a time, or there would be no room beside it in the queue.
        job.turn = left if left <= self._per_call else max(1, self._per_call // 2)
        self._turns += job.turn
        self.queued_rows += left
        self._queue.append(job)

    def _take(self) -> list[Job]:
        """Take the jobs of the next call from the queue, and drop what nobody waits for."""
        batch: list[Job] = []
        rows = 0
        now = perf_counter()
        while self._queue and (not batch or rows + self._queue[0].turn <= self._per_call):
            job = self._queue.popleft()
            self._turns -= job.turn
            self.queued_rows -= len(job.rows) - len(job.answers)
            if now < job.deadline:
                batch.append(job)
                rows += job.turn
        for job in _hung_up(batch):
            batch.remove(job)
            job.error = RequestError(499, "the client has gone", "hung_up")
            job.done.set()
        return batch

    def _call(self, batch: list[Job]) -> None:
        """Predict a batch. If it fails, halve it until only the jobs at fault fail."""
        rows = [row for job in batch for row in job.rows[len(job.answers) :][: job.turn]]
        started = perf_counter()
        try:
            with self._observer.call(batch, len(rows)):
                answers = self._predict(rows)
        except BaseException as error:  # even SystemExit must not end the thread that all share
            if len(batch) == 1:
                batch[0].error = error
                return
            middle = len(batch) // 2
            for half in batch[:middle], batch[middle:]:
                # Of a model that fails slowly at everything, nobody waits for every verdict.
                if alive := [job for job in half if perf_counter() < job.deadline]:
                    self._call(alive)
            return
        finished = perf_counter()
        self.cost.learn(len(rows), finished - started)
        self._calls.append((rows, answers, finished - started))
        position = 0
        for job in batch:
            job.started = job.started or started
            job.finished = finished
            job.call_rows = len(rows)
            job.answers += answers[position : position + job.turn]
            position += job.turn

    def _finish(self, batch: list[Job]) -> None:
        self._per_call = min(self._max_batch_size, self.cost.rows_within(self._max_queue))
        for job in batch:
            if job.error or len(job.answers) == len(job.rows):
                job.done.set()
            else:
                self._enqueue(job)
        calls, self._calls = self._calls, []
        for call in calls:
            self._observer.called(*call)


def _hung_up(jobs: list[Job]) -> list[Job]:
    """Return the jobs whose client has closed its end of the connection."""
    waiting = {job.connection: job for job in jobs if job.connection is not None}
    look = _poll()
    for descriptor in waiting:
        look.register(descriptor, _CLOSED)
    return [waiting[descriptor] for descriptor, _ in look.poll(0)]
