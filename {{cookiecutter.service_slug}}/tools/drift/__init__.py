"""Whether the model's world has moved on, and what is done about it: `make drift`."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass


class DriftError(Exception):
    """It cannot be told, or nothing can be started; the message says in a line what to do."""


class LaterError(DriftError):
    """The same, but nothing has to be done except to try again."""


@dataclass(frozen=True)
class Found:
    """A table of what was asked or compared; `drift`: whether any of it says that there is some."""

    head: tuple[str, ...]
    rows: Sequence[tuple[str, ...]]
    drift: bool
