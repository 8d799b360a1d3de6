"""The two ways to say no: refuse to start, and refuse a request."""

from __future__ import annotations

import math
import sys
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Annotated, Any

import msgspec

from service.request_id import request_id


class Refusal(Exception):
    """The service must not start; the message is the one line an operator sees."""


@contextmanager
def exit_if_refused() -> Iterator[None]:
    """End the process when a block, or a function it decorates, raises Refusal.

    With its one line, and the exit code at which gunicorn does not try again.
    """
    try:
        yield
    except Refusal as refusal:
        print(f"refusing to start: {refusal}", file=sys.stderr, flush=True)
        sys.exit(3)


@dataclass(frozen=True, slots=True)
class Detail:
    """Where in the request body something is wrong, and what."""

    path: str
    message: str


class ErrorBody(msgspec.Struct, forbid_unknown_fields=True):
    """The body that every error has."""

    error: Annotated[str, msgspec.Meta(description="One line")]
    details: list[Detail]
    request_id: str


@dataclass(eq=False)
class RequestError(Exception):
    """A request that ends in an error answer: HTTP status, one line, and where the fault lies.

    `reason` is a word for statistics, where several things lead to the same status.
    """

    status: int
    message: str
    reason: str = ""
    details: list[Detail] = field(default_factory=list)
    headers: dict[str, str] = field(default_factory=dict)

    def __str__(self) -> str:
        return self.message


def overloaded(wait: float, reason: str = "wait") -> RequestError:
    """Return the refusal of a request that would have to wait for so many seconds."""
    retry = max(1, math.ceil(wait))
    return RequestError(
        503, f"overloaded: try again in {retry} s", reason, headers={"Retry-After": str(retry)}
    )


def error_content(environ: dict[str, Any], message: str, details: Iterable[Detail] = ()) -> bytes:
    """Return an ErrorBody as JSON."""
    return msgspec.json.encode(ErrorBody(message, list(details), request_id(environ)))
