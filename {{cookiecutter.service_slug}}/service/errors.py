"""The two ways to say no: refuse to start, and refuse a request."""

from __future__ import annotations

import math
import sys
import traceback
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Any

import msgspec

from service.request_id import request_id

ROOT = Path(__file__).parent.parent


class Refusal(Exception):
    """The service must not start; the message is the one line an operator sees."""


@contextmanager
def exit_if_refused() -> Iterator[None]:
    """End the process when a block, or a function it decorates, raises Refusal.

    With its one line, and the exit code at which gunicorn does not try again. The line says where
    in the owner's code the error arose that the Refusal was raised from.
    """
    try:
        yield
    except Refusal as refusal:
        line = f"refusing to start: {refusal}{_place(refusal.__cause__)}"
        # Not sys.stderr, of which service/logs.py makes log lines.
        print(" ".join(line.split()), file=sys.__stderr__, flush=True)
        sys.exit(3)


def _place(error: BaseException | None) -> str:
    """Return the last line that an error came through in model.py or a module beside it."""
    for frame in reversed(traceback.extract_tb(error.__traceback__ if error else None)):
        path = Path(frame.filename)
        if path.is_relative_to(ROOT):
            inside = path.relative_to(ROOT)
            if inside.parts[0] != "service" and "site-packages" not in inside.parts:
                return f" ({inside}, line {frame.lineno})"
    return ""


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


def text_of(error: BaseException) -> str:
    """Return what an exception says, or its kind if it fails at that."""
    try:
        return str(error)
    except Exception:
        return type(error).__name__


def error_content(environ: dict[str, Any], message: str, details: Iterable[Detail] = ()) -> bytes:
    """Return an ErrorBody as JSON."""
    return msgspec.json.encode(ErrorBody(one_line(message), list(details), request_id(environ)))


def one_line(message: str) -> str:
    """Return a message that may have several lines, and halves of surrogates, without either."""
    return " ".join(message.split()).encode(errors="backslashreplace").decode()


def harmless(error: BaseException) -> Exception:
    """Return an error that ends a request, not its greenlet or the process as SystemExit would."""
    if isinstance(error, Exception):
        return error
    plain = RuntimeError(f"predict raised {type(error).__name__}")
    plain.__cause__ = error
    return plain
