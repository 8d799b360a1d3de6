"""What the measurements say: medians over the rounds, the fastest rival, targets met or not.

Servers are compared within a round, in which they were asked one after the other; the medians that
are shown beside are of rounds in which the machine may have had another speed.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from statistics import median

from loadtests import rounds
from loadtests.measure import Sample
from loadtests.rounds import Interval
from loadtests.servers import CEILING, OBSERVED, OURS, SERVERS, TEMPLATE

# What the template promises: at 64 connections, as multiples of the best rival's requests/s.
TARGET_CONNECTIONS = 64
TIMES_BEST_RIVAL = {"lr": 6.0, "rf": 3.0}
# With metrics, traces and logs on: of the best rival without any, and of itself without.
TIMES_OBSERVED = {"lr": 4.5, "rf": 2.5}
SHARE_OBSERVED = {"lr": 0.80, "rf": 0.85}
# One client's median wait, as multiples of that at these.
P50_OF_RIVALS = {"flask-frame": 0.7, "flask": 1.0, "fastapi": 1.0}
SHARE_OF_CEILING = {"lr": 0.42}


@dataclass(frozen=True)
class Cell:
    model: str
    rows: int
    connections: int

    @property
    def size(self) -> str:
        return "1 row" if self.rows == 1 else f"{self.rows} rows"


@dataclass(frozen=True)
class Record:
    """One measurement: where it belongs, and what was seen."""

    cell: Cell
    server: str
    turn: int
    sample: Sample

    def __str__(self) -> str:
        cell, sample = self.cell, self.sample
        return (
            f"{cell.model} {self.server:9} {cell.size:8} {cell.connections:3} connections "
            f"{sample.requests_per_second:7,.0f}/s  p50 {sample.p50_ms:6.1f}  "
            f"p99 {sample.p99_ms:7.1f} ms  CPU {sample.cpu_ms_per_request:6.3f} ms  "
            f"{sample.errors} errors"
            + (f"  disturbed {sample.disturbance:.0%}" if sample.disturbance > 0.03 else "")
        )


@dataclass(frozen=True)
class Summary:
    """The medians over the rounds of one server in one cell; errors are added up."""

    requests_per_second: float
    slowest: float
    fastest: float
    p50_ms: float
    p99_ms: float
    cpu_ms_per_request: float
    errors: int


@dataclass(frozen=True)
class Result:
    """One cell: what each server did in each round that it was asked in."""

    cell: Cell
    samples: Mapping[str, Mapping[int, Sample]]

    def summaries(self) -> dict[str, Summary]:
        return {server: _summary([*taken.values()]) for server, taken in self.samples.items()}

    def ratio(self, name: str, one: str, other: str) -> Interval:
        """Return how many times the other's `name` that of one server is."""
        first, second = self.samples[one], self.samples[other]
        values: Iterable[float] = (
            getattr(first[turn], name) / getattr(second[turn], name)
            for turn in first.keys() & second.keys()
        )
        return rounds.median(values)


def gather(records: Iterable[Record]) -> list[Result]:
    samples: dict[Cell, dict[str, dict[int, Sample]]] = {}
    for record in records:
        taken = samples.setdefault(record.cell, {}).setdefault(record.server, {})
        taken[record.turn] = record.sample
    return [Result(cell, servers) for cell, servers in samples.items()]


def _summary(samples: list[Sample]) -> Summary:
    rates = [sample.requests_per_second for sample in samples]
    return Summary(
        requests_per_second=median(rates),
        slowest=min(rates),
        fastest=max(rates),
        p50_ms=median(sample.p50_ms for sample in samples),
        p99_ms=median(sample.p99_ms for sample in samples),
        cpu_ms_per_request=median(sample.cpu_ms_per_request for sample in samples),
        errors=sum(sample.errors for sample in samples),
    )


def judge(result: Result) -> list[str]:
    """Which rival was fastest and, where a target is set, whether it was met."""
    cell, servers = result.cell, result.summaries()
    rivals = {name: servers[name] for name in servers if name not in {CEILING.name, *TEMPLATE}}
    best = max(rivals, key=lambda name: rivals[name].requests_per_second, default="")
    verdicts = []
    if best:
        verdicts.append(
            f"{cell.model}, {cell.size}, {cell.connections} connections: the fastest rival is "
            f"{SERVERS[best].title} ({rivals[best].requests_per_second:,.0f} requests/s)"
        )
    if (cell.rows, cell.connections) == (1, 1):
        for name, most in P50_OF_RIVALS.items():
            verdicts += _verdict(result, "p50_ms", OURS.name, name, most=most)
    if (cell.rows, cell.connections) == (1, TARGET_CONNECTIONS):
        for one, other, least in (
            (OURS, best, TIMES_BEST_RIVAL),
            (OBSERVED, best, TIMES_OBSERVED),
            (OBSERVED, OURS.name, SHARE_OBSERVED),
            (OURS, CEILING.name, SHARE_OF_CEILING),
        ):
            if wanted := least.get(cell.model):
                verdicts += _verdict(result, "requests_per_second", one.name, other, least=wanted)
        if best and OURS.name in servers:
            quickest = min(rivals, key=lambda name: rivals[name].p99_ms)
            verdicts += _verdict(result, "p99_ms", OURS.name, quickest, most=1)
    return verdicts


WORDS = {"p50_ms": "median wait", "p99_ms": "p99", "requests_per_second": "requests/s"}


def _verdict(
    result: Result,
    name: str,
    one: str,
    other: str,
    *,
    least: float = 0,
    most: float = math.inf,
) -> list[str]:
    """Say whether the ratio of two servers is as promised; nothing if one was not asked."""
    if not {one, other} <= result.samples.keys():
        return []
    ratio, cell = result.ratio(name, one, other), result.cell
    wanted = f"at least {least:g}" if least else f"at most {most:g}"
    return [
        f"{cell.model}, {cell.connections} connections, target "
        f"{'met' if least <= ratio.middle <= most else 'NOT MET'}: {SERVERS[one].title} has "
        f"{ratio} times the {WORDS[name]} of {SERVERS[other].title}, {wanted}"
    ]
