"""Made-up shadow traffic, as the live service logs it, and what the tools make of it."""

from __future__ import annotations

import json
import random
from collections import Counter
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any

from tools.shadow import events, gate, summary, thresholds
from tools.shadow.rules import Decision
from tools.shadow.summary import Summary
from tools.shadow.thresholds import Thresholds

START = datetime(2026, 3, 2, 6, tzinfo=UTC)
WORKERS = [f"live-{pod}:{pid}:1772431200000" for pod in "ab" for pid in (7, 8)]


@dataclass
class Traffic:
    """Made-up pairs between a live service and a candidate, as the live service logs them.

    `mismatches`, `errors` and `not_compared` are shares; `counts`: what workers say besides.
    """

    pairs: int = 1500
    hours: float = 30.0
    live: str = "v1"
    candidate: str = "v2"
    mismatches: float = 0.002
    errors: float = 0.0
    not_compared: float = 0.0
    slower: float = 1.0
    kind: str = "classification"
    seed: int = 0
    counts: dict[str, Any] = field(default_factory=dict)

    def lines(self) -> list[bytes]:
        rng = random.Random(self.seed)
        seen: dict[str, Counter[str]] = {worker: Counter() for worker in WORKERS}
        lines = []
        for number in range(self.pairs):
            worker = rng.choice(WORKERS)
            time = START + timedelta(hours=self.hours * number / max(self.pairs - 1, 1))
            pair = self._pair(rng)
            seen[worker][pair["verdict"]] += 1
            lines.append(event("shadow.pair", time, worker, pair))
        for worker, verdicts in seen.items():
            for share, seconds in ((0, 0.0), (1, self.hours * 3600 + 1)):
                told = {verdict: n * share for verdict, n in verdicts.items()}
                time = START + timedelta(seconds=seconds)
                lines.append(event("shadow.counts", time, worker, self._counts(told, seconds)))
        return lines

    def _pair(self, rng: random.Random) -> dict[str, Any]:
        chance = rng.random()
        inference = rng.lognormvariate(0, 0.35)
        live = {"version": self.live, "status": 200, "inference_ms": inference, "total_ms": 2.0}
        pair: dict[str, Any] = {"pair_id": f"{rng.getrandbits(128):032x}"}
        pair["route"] = "/predict"
        pair["live"] = live
        if chance < self.errors:
            reason = rng.choice(["timeout", "timeout", "connect", "5xx"])
            return pair | {"verdict": "candidate_error", "reason": reason, "candidate": {}}
        slower = inference * self.slower * rng.lognormvariate(0, 0.2)
        times = {"inference_ms": slower, "total_ms": slower + rng.lognormvariate(0.5, 0.4)}
        pair["candidate"] = {"version": self.candidate, "status": 200, **times}
        if chance < self.errors + self.not_compared:
            return pair | {"verdict": "not_compared", "reason": "live_not_json"}
        differs = chance < self.errors + self.not_compared + self.mismatches
        name = rng.choices(["benign", "malignant", "unclear"], [70, 25, 5])[0]
        other = rng.choice(["malignant", "unclear"] if name == "benign" else ["benign"])
        delta = rng.gauss(0, 0.2 if differs else 0.004)
        pair["rows"] = 1
        pair["deltas"] = {"score" if self.kind == "classification" else "value": [delta]}
        pair["verdict"] = "mismatch" if differs else rng.choice(["match", "within_tolerance"])
        if self.kind == "classification":
            pair["flips"] = [[name, other if differs else name, 1]]
            sides: Any = {"path": "predictions[0].label", "live": name, "candidate": other}
        else:
            sides = {"path": "predictions[0].value", "live": 10.0, "candidate": 10.0 + delta}
        return pair | ({"fields": [sides]} if differs else {})

    def _counts(self, verdicts: dict[str, int], seconds: float) -> dict[str, Any]:
        more = self.counts if seconds else {}
        enqueued = sum(verdicts.values()) + more.get("expired", 0)
        unsent = more.get("sampled_out", 0) + sum(
            sum(more.get(kind, {}).values()) for kind in ("skipped", "dropped")
        )
        return {
            "seconds": seconds,
            "eligible": enqueued + unsent,
            "enqueued": enqueued,
            "verdicts": verdicts,
            "live_cpu_seconds": enqueued * 0.0021,
            "live_requests": enqueued + unsent,
        } | more


def event(name: str, time: datetime, worker: str, more: dict[str, Any]) -> bytes:
    head = {"timestamp": time.isoformat().replace("+00:00", "Z"), "level": "INFO"}
    head |= {"logger": "service.shadow", "message": name.replace(".", " "), "event": name}
    return json.dumps(head | {"worker": worker} | more).encode() + b"\n"


LIMITS = thresholds.read()


def summarised(
    lines: list[bytes], truths: dict[str, Any] | None = None, limits: Thresholds = LIMITS
) -> Summary:
    return summary.summarise(events.read(lines), limits, truths)


def decided(
    traffic: Traffic, truths: dict[str, Any] | None = None, limits: Thresholds = LIMITS
) -> Decision:
    return gate.decide(summarised(traffic.lines(), truths, limits), limits)


def truths(traffic: Traffic, candidate_is_right: float, seed: int = 0) -> dict[str, Any]:
    """Return labels by which the candidate is right in that share of the pairs that differ."""
    rng = random.Random(seed)
    found = {}
    for pair in events.read(traffic.lines()).pairs:
        for live, candidate, _ in pair.flips or ():
            found[pair.pair_id] = candidate if rng.random() < candidate_is_right else live
    return found
