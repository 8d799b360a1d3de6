"""One record for each request: the batch carries it, and telemetry reports it once it is over."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from gevent.event import Event

if TYPE_CHECKING:  # which imports this
    from service.ab.assignment import Assignment

Row = tuple[Any, ...]  # one value per input, in the manifest's order; None for null
Answer = dict[str, Any]  # one value per field of the answer


@dataclass(eq=False, slots=True)
class RequestRecord:
    """A request, stage by stage. Times are `perf_counter`'s, in seconds; 0: not there yet.

    `route`: the rule that matched, never a path, which clients make up. `headers`: by their WSGI
    names, if telemetry wants any. `connection`: file descriptor of the client's socket.
    """

    route: str = ""
    method: str = "POST"
    arrived: float = 0.0
    headers: Mapping[str, str] = field(default_factory=dict)
    connection: int | None = None

    # What the batch works on. `failure`: why there are no answers.
    rows: Sequence[Row] = ()
    answers: list[Answer] = field(default_factory=list)
    failure: Exception | None = None
    done: Event = field(default_factory=Event)
    submitted: float = 0.0
    deadline: float = 0.0
    started: float = 0.0
    finished: float = 0.0
    # Rows that its next call will have of it, and had in all, its neighbours' included.
    next_slice: int = 0
    call_rows: int = 0
    # What a trace knows the last call by, and this request. `sampled_at`: the rate at which such
    # requests are traced, 0 if this one is not, None until that is decided.
    call: Any = None
    span: Any = None
    trace_id: int | None = None
    sampled_at: float | None = None

    # What the answer was. `error`: an exception that is our fault; `reason`: a word for refusals.
    row_count: int = 0
    decode_seconds: float = 0.0
    encode_seconds: float = 0.0
    answered: bool = False
    status: int = 0
    seconds: float = 0.0
    request_id: str = ""
    error: BaseException | None = None
    reason: str = ""
    # Who answered, `live` or `candidate`; the latter's version; and the user's place in the
    # experiment, of those who are in it.
    arm: str = "live"
    version: str = ""
    assignment: Assignment | None = None

    @property
    def queue_seconds(self) -> float:
        return self.started - self.submitted

    @property
    def predict_seconds(self) -> float:
        return self.finished - self.started
