from __future__ import annotations

import contextvars
import time
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import gevent
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from service.batching import Answer, Batcher

Predict = Callable[[Sequence[Any]], list[Answer]]
Make = Callable[..., Batcher]


@pytest.fixture
def make() -> Iterator[Make]:
    made: list[Batcher] = []

    def batcher(predict: Predict, max_batch_size: int = 8) -> Batcher:
        made.append(Batcher(predict, max_batch_size))
        return made[-1]

    yield batcher
    for each in made:
        each.close()


class Double:
    """Doubles each row, after a while; fails for the rows it is told to; notes its calls."""

    def __init__(self, poison: frozenset[int] = frozenset(), seconds: float = 0.002) -> None:
        self.calls: list[list[int]] = []
        self._poison = poison
        self._seconds = seconds

    def __call__(self, rows: Sequence[Any]) -> list[Answer]:
        self.calls.append([row[0] for row in rows])
        time.sleep(self._seconds)
        for row in rows:
            if row[0] in self._poison:
                raise ValueError(f"poison {row[0]}")
        return [{"value": 2 * row[0]} for row in rows]


def submit_all(batcher: Batcher, requests: list[list[int]]) -> list[Any]:
    """Submit all requests at once; return each one's answers, or its error."""

    def one(request: list[int]) -> Any:
        try:
            return [a["value"] for a in batcher.submit([(row,) for row in request]).answers]
        except Exception as error:
            return str(error)

    greenlets = [gevent.spawn(one, request) for request in requests]
    gevent.joinall(greenlets)
    return [greenlet.value for greenlet in greenlets]


def number(sizes: list[int]) -> list[list[int]]:
    rows = iter(range(sum(sizes)))
    return [[next(rows) for _ in range(size)] for size in sizes]


@settings(deadline=None, max_examples=30)
@given(
    st.lists(st.integers(1, 12), min_size=1, max_size=40),
    st.sets(st.integers(0, 100), max_size=6),
    st.integers(1, 16),
)
def test_each_request_gets_its_own_answers_and_only_poisoned_ones_fail(
    sizes: list[int], poison: set[int], max_batch_size: int
) -> None:
    predict = Double(frozenset(poison), seconds=0)
    batcher = Batcher(predict, max_batch_size)
    try:
        requests = number(sizes)
        answers = submit_all(batcher, requests)
    finally:
        batcher.close()
    for request, answer in zip(requests, answers, strict=True):
        if bad := [row for row in request if row in poison]:
            assert answer == f"poison {bad[0]}"
        else:
            assert answer == [2 * row for row in request]
    for call in predict.calls:
        # Whole requests only, and over the limit only if a single one is.
        inside = [request for request in requests if set(request) <= set(call)]
        assert sum(len(request) for request in inside) == len(call)
        assert len(call) <= max_batch_size or len(inside) == 1


def test_what_arrives_during_a_call_goes_into_the_next_one(make: Make) -> None:
    predict = Double()
    submit_all(make(predict, 100), number([1] * 20))
    assert [len(call) for call in predict.calls] in ([1, 19], [20])


def test_an_idle_model_is_called_at_once(make: Make) -> None:
    batcher = make(Double(seconds=0))
    batcher.submit([(1,)])
    started = time.perf_counter()
    for _ in range(100):
        batcher.submit([(1,)])
    assert (time.perf_counter() - started) / 100 < 0.005


def test_the_hub_goes_on_while_the_model_computes(make: Make) -> None:
    slow = gevent.spawn(make(Double(seconds=0.3)).submit, [(1,)])
    ticks = 0
    while not slow.ready():
        gevent.sleep(0.01)
        ticks += 1
    assert ticks > 15


def test_the_model_sees_the_callers_context(make: Make) -> None:
    trace: contextvars.ContextVar[str] = contextvars.ContextVar("trace")

    def predict(rows: Sequence[Any]) -> list[Answer]:
        return [{"trace": trace.get()} for _ in rows]

    batcher = make(predict)
    trace.set("abc")
    assert batcher.submit([(1,)]).answers == [{"trace": "abc"}]


def test_a_model_that_ends_the_process_fails_its_own_request_only(make: Make) -> None:
    def predict(rows: Sequence[Any]) -> list[Answer]:
        if rows[0][0] < 0:
            raise SystemExit("bye")
        return [{"value": row[0]} for row in rows]

    batcher = make(predict)
    with pytest.raises(SystemExit):
        batcher.submit([(-1,)])
    assert batcher.submit([(1,)]).answers == [{"value": 1}]


def test_a_job_knows_how_long_it_waited_and_ran(make: Make) -> None:
    job = make(Double(seconds=0.05)).submit([(1,)])
    assert job.submitted <= job.started <= job.finished
    assert job.finished - job.started >= 0.05
