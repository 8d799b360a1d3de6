"""Who belongs to the share: a hash of the user's key and the experiment's name decides.

It needs no memory, so workers, pods and restarts agree on it, and for ever. Each key has a place
from 0 to 100: the candidate's users lie below the percentage, and the control group, as many of
live's, at the other end. So a higher percentage only adds keys to either (up to 50 %; beyond, the
control group is what is left).
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from typing import Literal

Group = Literal["candidate", "control"]

PLACES = 2**48  # as many as a float tells apart


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


def place(key: str, experiment: str) -> tuple[float, str]:
    """Return where a key lies, from 0 to below 100, and its pseudonym."""
    # Names of experiments have no line break, so no other pair gives the same text.
    digest = hashlib.blake2b(f"{experiment}\n{key}".encode(), digest_size=14).digest()
    return int.from_bytes(digest[:6]) / PLACES * 100, digest[6:].hex()


def assign(key: str, experiment: str, percent: float) -> Assignment | None:
    """Return the key's group in an experiment of so many percent; None: it is in neither."""
    found, pseudonym = place(key, experiment)
    if found < percent:
        return Assignment(pseudonym, "candidate")
    if found >= 100 - min(percent, 100 - percent):
        return Assignment(pseudonym, "control")
    return None
