from __future__ import annotations

import socket
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import gevent
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from service.batching import Batcher
from service.errors import RequestError
from service.observer import Observer
from service.record import Answer, RequestRecord
from service.settings import Settings

Predict = Callable[[Sequence[Any]], list[Answer]]
Make = Callable[..., Batcher]


@pytest.fixture
def make() -> Iterator[Make]:
    made: list[Batcher] = []

    def batcher(
        predict: Predict,
        max_batch_size: int = 8,
        max_queue_seconds: float = 10.0,
        max_queued_rows: int = 10_000,
        observer: Observer | None = None,
    ) -> Batcher:
        limits = Settings(
            max_batch_size=max_batch_size,
            max_queue_ms=max_queue_seconds * 1e3,
            max_queued_rows=max_queued_rows,
        )
        made.append(Batcher(predict, limits, observer))
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


def request(numbers: Sequence[int], connection: int | None = None) -> RequestRecord:
    return RequestRecord(rows=[(number,) for number in numbers], connection=connection)


def answered(batcher: Batcher, numbers: Sequence[int], timeout: float = 10) -> RequestRecord:
    record = request(numbers)
    batcher.submit(record, timeout)
    return record


def values(batcher: Batcher, numbers: Sequence[int], timeout: float = 10) -> Any:
    """Submit one request; return the values of its answers, or its error's message."""
    try:
        return [answer["value"] for answer in answered(batcher, numbers, timeout).answers]
    except Exception as error:
        return str(error)


def submit_all(batcher: Batcher, requests: list[list[int]]) -> list[Any]:
    greenlets = [gevent.spawn(values, batcher, request) for request in requests]
    gevent.joinall(greenlets)
    return [greenlet.value for greenlet in greenlets]


def number(sizes: list[int]) -> list[list[int]]:
    numbers = iter(range(sum(sizes)))
    return [[next(numbers) for _ in range(size)] for size in sizes]


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
    batcher = Batcher(predict, Settings(max_batch_size=max_batch_size, max_queue_ms=10_000))
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
        assert len(call) <= max_batch_size
        # Requests stay whole, unless they are too large for any call.
        for request in requests:
            if len(request) <= max_batch_size:
                assert set(request) <= set(call) or not set(request) & set(call)


def test_what_arrives_during_a_call_goes_into_the_next_one(make: Make) -> None:
    predict = Double()
    submit_all(make(predict, 100), number([1] * 20))
    assert [len(call) for call in predict.calls] in ([1, 19], [20])


def test_an_idle_model_is_called_at_once(make: Make) -> None:
    batcher = make(Double(seconds=0))
    batcher.submit(request([1]), 10)
    started = time.perf_counter()
    for _ in range(100):
        batcher.submit(request([1]), 10)
    assert (time.perf_counter() - started) / 100 < 0.005


def test_the_hub_goes_on_while_the_model_computes(make: Make) -> None:
    slow = gevent.spawn(make(Double(seconds=0.3)).submit, request([1]), 10)
    ticks = 0
    while not slow.ready():
        gevent.sleep(0.01)
        ticks += 1
    assert ticks > 15


def test_who_waits_until_it_is_idle_is_in_no_ones_way(make: Make) -> None:
    batcher = make(Double(seconds=0.2))
    submitted = gevent.spawn(batcher.submit, request([1]), 10)
    gevent.sleep(0.05)
    started = time.perf_counter()
    batcher.idle.wait_for_hub(0.02)
    assert 0.02 <= time.perf_counter() - started < 0.1 and not submitted.ready()
    batcher.idle.wait_for_hub(5)
    assert 0.1 < time.perf_counter() - started < 1 and submitted.ready()
    started = time.perf_counter()
    batcher.idle.wait_for_hub(5)
    assert time.perf_counter() - started < 0.05


def test_those_who_wait_until_it_is_idle_go_one_at_a_time(make: Make) -> None:
    batcher = make(Double(seconds=0.1))
    gevent.spawn(batcher.submit, request([1]), 10)
    gevent.sleep(0.05)
    order: list[str] = []

    def ask() -> None:
        batcher.submit(request([2]), 10)
        order.append("request")

    def copy() -> None:
        batcher.idle.wait_for_hub(5)
        order.append("copy")
        if len(order) == 1:
            gevent.spawn(ask)

    gevent.joinall([gevent.spawn(copy) for _ in range(3)], raise_error=True)
    assert order == ["copy", "request", "copy", "copy"]


class Notes(Observer):
    def __init__(self) -> None:
        self.inside: list[tuple[int, int]] = []
        self.seen: list[tuple[int, int]] = []
        self.active = False

    @contextmanager
    def call(self, records: Sequence[RequestRecord], rows: int) -> Iterator[None]:
        self.inside.append((len(records), rows))
        self.active = True
        yield
        self.active = False

    def called(self, rows: Sequence[Any], answers: Sequence[Answer], seconds: float) -> None:
        self.seen.append((len(rows), len(answers)))


def test_an_observer_surrounds_every_call_and_hears_of_its_answers(make: Make) -> None:
    notes = Notes()

    def predict(asked: Sequence[Any]) -> list[Answer]:
        assert notes.active
        if asked[0][0] < 0:
            notes.active = False
            raise ValueError
        time.sleep(0.01)
        return [{"value": row[0]} for row in asked]

    batcher = make(predict, observer=notes)
    records = [request([value]) for value in (1, 2, 3)]
    gevent.joinall([gevent.spawn(batcher.submit, record, 10) for record in records])
    assert notes.inside == notes.seen == [(3, 3)]
    assert [record.call_rows for record in records] == [3, 3, 3]
    with pytest.raises(ValueError):
        batcher.submit(request([-1]), 10)
    assert (len(notes.inside), len(notes.seen)) == (2, 1)


def test_a_model_that_ends_the_process_fails_its_own_request_only(make: Make) -> None:
    def predict(asked: Sequence[Any]) -> list[Answer]:
        if asked[0][0] < 0:
            raise SystemExit("bye")
        return [{"value": row[0]} for row in asked]

    batcher = make(predict)
    with pytest.raises(RuntimeError, match="predict raised SystemExit") as caught:
        batcher.submit(request([-1]), 10)
    assert isinstance(caught.value.__cause__, SystemExit)
    assert answered(batcher, [1]).answers == [{"value": 1}]


def test_a_job_knows_how_long_it_waited_and_ran(make: Make) -> None:
    record = answered(make(Double(seconds=0.05)), [1])
    assert record.submitted <= record.started <= record.finished
    assert record.predict_seconds >= 0.05


def test_a_large_request_takes_turns_with_small_ones(make: Make) -> None:
    predict = Double(seconds=0.01)
    batcher = make(predict)
    record = request(range(1000, 1080))
    large = gevent.spawn(batcher.submit, record, 10)
    gevent.sleep(0)
    for number in range(5):  # one after the other, each while the large one is not done
        batcher.submit(request([number]), 10)
        assert not large.ready()
    large.get()
    assert record.answers == [{"value": 2 * row} for row in range(1000, 1080)]


def test_a_slow_model_gets_smaller_calls_than_it_could(make: Make) -> None:
    """However large a request: no call holds up the others for longer than the queue may take."""

    def predict(asked: Sequence[Any]) -> list[Answer]:
        time.sleep(0.01 * len(asked))
        return [{"value": row[0]} for row in asked]

    batcher = make(predict, max_batch_size=64, max_queue_seconds=0.1)
    batcher.warm_up([(1,)], prepare=lambda: None)
    record = answered(batcher, range(30))
    assert [answer["value"] for answer in record.answers] == list(range(30))
    assert 0.07 < batcher._rows_per_call * batcher.cost.per_row < 0.13


def test_a_request_that_would_wait_too_long_is_refused_at_once(make: Make) -> None:
    def predict(asked: Sequence[Any]) -> list[Answer]:
        time.sleep(0.02 * len(asked))
        return [{"value": row[0]} for row in asked]

    batcher = make(predict, max_batch_size=4, max_queue_seconds=0.2)
    batcher.warm_up([(1,)], prepare=lambda: None)
    waiting = [gevent.spawn(values, batcher, [number]) for number in range(30)]
    gevent.sleep(0)
    started = time.perf_counter()
    with pytest.raises(RequestError) as caught:
        batcher.submit(request([1]), 10)
    assert time.perf_counter() - started < 0.02
    assert (caught.value.status, caught.value.headers) == (503, {"Retry-After": "1"})
    gevent.joinall(waiting)
    accepted = [greenlet for greenlet in waiting if "overloaded" not in str(greenlet.value)]
    assert 8 <= len(accepted) <= 16  # 0.2 s of queue at 0.02 s a row, and the call that ran
    assert answered(batcher, [1]).answers == [{"value": 1}]


def test_a_queue_of_too_many_rows_takes_no_more_however_quick_the_model(make: Make) -> None:
    batcher = make(Double(seconds=0.05), max_batch_size=100, max_queued_rows=10)
    running = gevent.spawn(batcher.submit, request([0]), 10)
    gevent.sleep(0.01)
    waiting = gevent.spawn(batcher.submit, request(range(9)), 10)
    gevent.sleep(0)
    with pytest.raises(RequestError, match="overloaded"):
        batcher.submit(request([1, 2]), 10)
    gevent.joinall([running, waiting], raise_error=True)
    # Alone it may pass, or it never could.
    assert len(answered(batcher, range(50)).answers) == 50


def test_what_has_expired_is_a_504_and_never_reaches_the_model(make: Make) -> None:
    predict = Double(seconds=0.2)
    batcher = make(predict)
    running = gevent.spawn(batcher.submit, request([1]), 10)
    gevent.sleep(0.01)
    started = time.perf_counter()
    with pytest.raises(RequestError, match="no answer within 50 ms") as caught:
        batcher.submit(request([2]), timeout=0.05)
    assert caught.value.status == 504
    assert time.perf_counter() - started < 0.1
    running.join()
    assert answered(batcher, [3])
    assert predict.calls == [[1], [3]]
    assert batcher.queued_rows == 0


def test_a_model_that_fails_slowly_at_everything_is_not_asked_for_every_verdict(
    make: Make,
) -> None:
    calls = 0

    def predict(asked: Sequence[Any]) -> list[Answer]:
        nonlocal calls
        calls += 1
        time.sleep(0.05)
        raise RuntimeError("always")

    batcher = make(predict, max_batch_size=64)
    waiting = [gevent.spawn(values, batcher, [number], 0.2) for number in range(33)]
    gevent.joinall(waiting)
    gevent.sleep(0.2)
    assert calls < 10  # of 1 + 63 to find out about each
    assert batcher.queued_rows == 0


@pytest.mark.parametrize("gone", [True, False])
def test_a_client_that_has_hung_up_costs_no_call(make: Make, gone: bool) -> None:
    ours, theirs = socket.socketpair()
    predict = Double(seconds=0.1)
    batcher = make(predict)
    running = gevent.spawn(batcher.submit, request([1]), 10)
    gevent.sleep(0.01)
    waiting = gevent.spawn(batcher.submit, request([2], ours.fileno()), 10)
    other = gevent.spawn(batcher.submit, request([3]), 10)
    gevent.sleep(0.01)
    if gone:
        theirs.close()
    else:
        theirs.send(b"the next request of a client that pipelines")
    gevent.joinall([running, other], raise_error=True)
    waiting.join()
    assert predict.calls == [[1], [3] if gone else [2, 3]]
    ours.close()
    theirs.close()
