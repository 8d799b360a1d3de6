"""Customers in place of requests: each counts once, and against one of the other group.

Requests of one customer are alike: counted one by one, a few customers' habits would pass for much
evidence. A customer's figure is the mean over the hours from its first observation on. It is
settled when these are over and never changes afterwards, whenever one looks, which the evidence
demands. The first of the candidate's to be settled is held against the first of the control group,
the second against the second, and so on: both had the same weather. As a hash chose the groups,
such a difference is, on average, what the candidate does to a customer.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime, timedelta
from statistics import fmean
from typing import NamedTuple

import numpy as np

from tools.ab.events import Group
from tools.shadow.statistics import Array


class Observation(NamedTuple):
    """`score`: how good it is for the customer, 0 to 1."""

    time: datetime
    group: Group
    key: str
    score: float


@dataclass(frozen=True)
class Measure:
    """The settled customers' figures, in the order in which they were settled."""

    candidate: Array
    control: Array
    waiting: int  # customers whose hours are not over

    @property
    def differences(self) -> Array:
        """The candidate's less the control group's, customer against customer: from -1 to 1."""
        both = min(len(self.candidate), len(self.control))
        return self.candidate[:both] - self.control[:both]


def settle(observations: Iterable[Observation], hours: float, now: datetime | None) -> Measure:
    """Return the figures of the customers whose first so many hours are over by `now`."""
    window = timedelta(hours=hours)
    seen: dict[str, list[Observation]] = defaultdict(list)
    for one in observations:
        seen[one.key].append(one)
    settled: dict[Group, list[tuple[datetime, str, float]]] = {"candidate": [], "control": []}
    waiting = 0
    for key, found in seen.items():
        first = min(found, key=lambda one: one.time)
        end = first.time + window
        if now is None or end > now:
            waiting += 1
            continue
        # Of who changes sides, which a share beyond half of all makes some do, the first counts.
        mean = fmean(o.score for o in found if o.time <= end and o.group == first.group)
        settled[first.group].append((end, key, mean))
    candidate, control = (
        np.array([mean for *_, mean in sorted(settled[group])], dtype=float)
        for group in ("candidate", "control")
    )
    return Measure(candidate, control, waiting)
