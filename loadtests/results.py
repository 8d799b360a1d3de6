"""What the measurements say: medians over the rounds, the fastest rival, targets met or not."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from statistics import median

from loadtests.measure import Sample
from loadtests.servers import CEILING, OBSERVED, OURS, SERVERS, TEMPLATE

# What the template promises: ours at 64 connections, as multiples of the best rival's requests/s.
TARGET_CONNECTIONS = 64
TIMES_BEST_RIVAL = {"lr": 6.0, "rf": 3.0}
# With metrics, traces and logs on: of the best rival without any, and of itself without.
TIMES_OBSERVED = {"lr": 4.5, "rf": 2.5}
SHARE_OBSERVED = {"lr": 0.80, "rf": 0.85}
# One client's median wait, of that at these.
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
            f"{sample.pss_mb:4.0f} MB  {sample.errors} errors"
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
    pss_mb: float
    errors: int


Summaries = dict[Cell, dict[str, Summary]]


def summarise(records: Iterable[Record]) -> Summaries:
    samples: dict[Cell, dict[str, list[Sample]]] = {}
    for record in records:
        samples.setdefault(record.cell, {}).setdefault(record.server, []).append(record.sample)
    return {
        cell: {server: _summary(taken) for server, taken in servers.items()}
        for cell, servers in samples.items()
    }


def _summary(samples: Sequence[Sample]) -> Summary:
    rates = [sample.requests_per_second for sample in samples]
    return Summary(
        requests_per_second=median(rates),
        slowest=min(rates),
        fastest=max(rates),
        p50_ms=median(sample.p50_ms for sample in samples),
        p99_ms=median(sample.p99_ms for sample in samples),
        cpu_ms_per_request=median(sample.cpu_ms_per_request for sample in samples),
        pss_mb=median(sample.pss_mb for sample in samples),
        errors=sum(sample.errors for sample in samples),
    )


def judge(cell: Cell, servers: Mapping[str, Summary]) -> list[str]:
    """Which rival was fastest and, where a target is set, whether it was met."""
    costs = _telemetry(cell, servers)
    rivals = {name: servers[name] for name in servers if name not in {CEILING.name, *TEMPLATE}}
    if not rivals:
        return costs
    best = max(rivals, key=lambda name: rivals[name].requests_per_second)
    place = f"{cell.model}, {cell.size}, {cell.connections} connections"
    rate = rivals[best].requests_per_second
    verdicts = [
        *costs,
        f"{place}: the fastest rival is {SERVERS[best].title} ({rate:,.0f} requests/s)",
    ]
    ours = servers.get(OURS.name)
    if ours and (cell.rows, cell.connections) == (1, 1):
        verdicts += _alone(cell, ours, rivals)
    if ours is None or (cell.rows, cell.connections) != (1, TARGET_CONNECTIONS):
        return verdicts

    times, wanted = ours.requests_per_second / rate, TIMES_BEST_RIVAL[cell.model]
    verdicts.append(
        f"{cell.model} {_met(times >= wanted)}: {times:.2f} times the fastest rival (>= {wanted})"
    )
    if observed := servers.get(OBSERVED.name):
        times, wanted = observed.requests_per_second / rate, TIMES_OBSERVED[cell.model]
        verdicts.append(
            f"{cell.model} {_met(times >= wanted)}: with telemetry on {times:.2f} times "
            f"the fastest rival without any (>= {wanted})"
        )
    if cell.model in SHARE_OF_CEILING and CEILING.name in servers:
        share = ours.requests_per_second / servers[CEILING.name].requests_per_second
        wanted = SHARE_OF_CEILING[cell.model]
        verdicts.append(
            f"{cell.model} {_met(share >= wanted)}: {share:.0%} of the ceiling (>= {wanted:.0%})"
        )
    quickest = min(rivals, key=lambda name: rivals[name].p99_ms)
    theirs = rivals[quickest].p99_ms
    verdicts.append(
        f"{cell.model} {_met(ours.p99_ms <= theirs)}: p99 {ours.p99_ms:.0f} ms, "
        f"the rivals' best {theirs:.0f} ms ({SERVERS[quickest].title})"
    )
    return verdicts


def _alone(cell: Cell, ours: Summary, rivals: Mapping[str, Summary]) -> list[str]:
    """How long one client waits here, and there."""
    verdicts = []
    for name, wanted in P50_OF_RIVALS.items():
        if rival := rivals.get(name):
            share = ours.p50_ms / rival.p50_ms
            verdicts.append(
                f"{cell.model} {_met(share <= wanted)}: one client's p50 is {ours.p50_ms:.2f} ms, "
                f"{share:.2f} times that at {SERVERS[name].title} (<= {wanted})"
            )
    return verdicts


def _telemetry(cell: Cell, servers: Mapping[str, Summary]) -> list[str]:
    """What telemetry costs, part by part as far as they were measured."""
    ours = servers.get(OURS.name)
    if ours is None or (cell.rows, cell.connections) != (1, TARGET_CONNECTIONS):
        return []
    verdicts, wanted = [], SHARE_OBSERVED[cell.model]
    for name in sorted(servers.keys() & TEMPLATE - {OURS.name}):
        share = servers[name].requests_per_second / ours.requests_per_second
        more = servers[name].cpu_ms_per_request - ours.cpu_ms_per_request
        target = f" (>= {wanted:.0%})" if name == OBSERVED.name else ""
        word = f" {_met(share >= wanted)}" if name == OBSERVED.name else ""
        verdicts.append(
            f"{cell.model}{word}: {SERVERS[name].title}: {share:.0%} of the requests/s without"
            f"{target}, {more:+.3f} CPU ms a request"
        )
    return verdicts


def _met(yes: bool) -> str:
    return "target met" if yes else "target NOT MET"
