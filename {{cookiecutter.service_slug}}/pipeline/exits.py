"""Exit codes of `python -m pipeline`, for it and for whoever waits for it."""

from collections.abc import Iterable

GOOD, REFUSED, MISUSED, NOTHING_NEW = 0, 1, 2, 3
LATER = 75  # try again: the store or the network
STOPPED = 130  # by Ctrl-C, as shells say it


def of_many(codes: Iterable[int]) -> int:
    """Return the worst of at least one; NOTHING_NEW only if no job had anything to do."""
    return max((code for code in codes if code != NOTHING_NEW), default=NOTHING_NEW)
