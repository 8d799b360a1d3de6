"""Natural batching: whatever arrives while the model is busy goes into its next call, together.

There is no timer. An idle model answers at once; a busy one gets batches as large as the load makes
them, which is what makes a vectorised model cheap per row.
"""

from __future__ import annotations

import contextvars
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from time import perf_counter
from typing import Any

import gevent
from gevent.event import Event
from gevent.threadpool import ThreadPool

from service.schema import Row

Answer = dict[str, Any]


@dataclass(eq=False, slots=True)
class Job:
    """One request's rows on their way through the model, with the clock at each stage (seconds)."""

    rows: list[Row]
    context: contextvars.Context
    submitted: float
    started: float = 0.0
    finished: float = 0.0
    answers: list[Answer] = field(default_factory=list)
    error: BaseException | None = None
    done: Event = field(default_factory=Event)


class Batcher:
    """Queues jobs and runs them through `predict` in one native thread, so the hub stays free.

    `predict` takes rows and returns an answer for each, in order.
    """

    def __init__(
        self, predict: Callable[[Sequence[Row]], list[Answer]], max_batch_size: int
    ) -> None:
        self._predict = predict
        self._max_batch_size = max_batch_size
        self._queue: deque[Job] = deque()
        self._arrived = Event()
        self._thread = ThreadPool(1)
        self._loop = gevent.spawn(self._run)

    def submit(self, rows: list[Row]) -> Job:
        """Return the finished job for `rows`; raises what `predict` raised for them."""
        job = Job(rows, contextvars.copy_context(), perf_counter())
        self._queue.append(job)
        self._arrived.set()
        job.done.wait()
        if job.error:
            raise job.error
        return job

    def close(self) -> None:
        self._loop.kill()
        self._thread.kill()

    def _run(self) -> None:
        while True:
            self._arrived.wait()
            while self._queue:
                batch = self._take()
                self._thread.apply(self._call, (batch,))
                for job in batch:
                    job.done.set()
            self._arrived.clear()

    def _take(self) -> list[Job]:
        """Take jobs from the queue up to the batch size; a job's rows always stay together."""
        batch = [self._queue.popleft()]
        rows = len(batch[0].rows)
        while self._queue and rows + len(self._queue[0].rows) <= self._max_batch_size:
            batch.append(self._queue.popleft())
            rows += len(batch[-1].rows)
        return batch

    def _call(self, batch: list[Job]) -> None:
        """Predict a batch. If it fails, halve it until only the jobs at fault fail."""
        started = perf_counter()
        try:
            # Whatever the caller keeps in context variables (a trace, say), the model sees too; of
            # a batch, the first caller's.
            answers = batch[0].context.run(
                self._predict, [row for job in batch for row in job.rows]
            )
        except BaseException as error:  # even SystemExit must not end the thread that all share
            if len(batch) > 1:
                middle = len(batch) // 2
                self._call(batch[:middle])
                self._call(batch[middle:])
            else:
                batch[0].error = error
            return
        finished = perf_counter()
        position = 0
        for job in batch:
            job.started, job.finished = started, finished
            job.answers = answers[position : position + len(job.rows)]
            position += len(job.rows)
