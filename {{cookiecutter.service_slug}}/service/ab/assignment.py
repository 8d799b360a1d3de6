"""Who belongs to the share: a hash of the user's key and the experiment's name decides.

It needs no memory, so workers, pods and restarts agree on it, and for ever. Each key has a place
from 0 to 100: the candidate's users lie below the percentage, and the control group, as many of
live's, at the other end. So a higher percentage only adds keys to either (up to 50 %; beyond, the
control group is what is left).
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from hashlib import blake2b
from typing import Literal

Group = Literal["candidate", "control"]

PLACES = 2**48  # as many as a float tells apart
# So many keys of up to so many characters are remembered: users come back, and all of them pay for
# being told apart.
KEYS, CHARACTERS = 10_000, 64


@dataclass(slots=True)
class Assignment:
    """A request of a user who is in the experiment, and what came of it.

    `key`: a pseudonym, another one in each experiment. `fallback`: why live answered in the
    candidate's place. `candidate_seconds`: how long the candidate was asked for.
    """

    key: str
    group: Group
    fallback: str = ""
    candidate_seconds: float = 0.0


class Groups:
    """The groups of an experiment of so many percent."""

    def __init__(self, experiment: str, percent: float) -> None:
        # Names of experiments have no line break, so no other pair gives the same text.
        self._salt = f"{experiment}\n".encode()
        self._candidates = PLACES * percent / 100
        self._controls = PLACES * (1 - min(percent, 100 - percent) / 100)
        self._placed = lru_cache(KEYS)(self._place)

    def of(self, key: str) -> Assignment | None:
        """Return the group of a key; None: it is in neither."""
        found = self._placed(key) if len(key) <= CHARACTERS else self._place(key)
        return Assignment(*found) if found else None

    def _place(self, key: str) -> tuple[str, Group] | None:
        digest = blake2b(self._salt + key.encode(), digest_size=14).digest()
        place = int.from_bytes(digest[:6])
        if self._candidates <= place < self._controls:
            return None
        group: Group = "candidate" if place < self._candidates else "control"
        return digest[6:].hex(), group
