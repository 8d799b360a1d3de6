"""Made-up users of an experiment, as the live service logs them, and what the tools make of it."""

from __future__ import annotations

import json
import random
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any

from msgspec.structs import replace

from tools.ab import events, gate, summary, thresholds
from tools.ab.thresholds import Thresholds
from tools.shadow.rules import Decision

START = datetime(2026, 3, 2, 6, tzinfo=UTC)
WORKERS = ["live-a:7", "live-b:7"]
LIMITS = thresholds.read()
BY_BOTH: Thresholds = replace(LIMITS, decide_by=["labels", "value"])


@dataclass
class Users:
    """Made-up users of both groups. Shares: `right` and `fallbacks` of the candidate's answers,
    `lives` of live's that are right, `slow` of the candidate's. `counts`: what workers say besides.
    """

    customers: int = 2000
    hours: float = 80.0
    right: float = 0.95
    lives: float = 0.95
    fallbacks: float = 0.0
    slow: float = 0.0
    mistakes: float = 0.0  # of callers
    truths: bool = True
    experiment: str = "1"
    versions: tuple[str, ...] = ("v2",)
    counted: float = 1.0  # of the answers whose lines there are
    seed: int = 0

    def lines(self) -> list[bytes]:
        rng = random.Random(f"{self.seed} {self.experiment}")
        workers = [f"{worker}:{self.experiment}" for worker in WORKERS]
        lines, counted = [], dict.fromkeys(workers, 0)
        for number in range(2 * self.customers):
            group = ("candidate", "control")[number % 2]
            # A customer comes a few times within a day.
            begin = START + timedelta(hours=self.hours * number / (2 * self.customers))
            for _ in range(rng.choice([1, 1, 2, 5])):
                time, worker = begin + timedelta(hours=rng.random()), rng.choice(workers)
                counted[worker] += 1
                answer = self._answer(rng, group, number)
                lines.append(event("ab.answer", time, worker, answer))
                if self.truths and answer["status"] == 200:
                    later = time + timedelta(minutes=5)
                    share = self.right if answer["arm"] == "candidate" else self.lives
                    lines.append(event("feedback", later, worker, truth(rng, answer, share)))
        for worker, answers in counted.items():
            groups = {"candidate": round(answers / self.counted), "no_key": 3}
            more = {"experiment": self.experiment, "groups": groups}
            lines.append(event("ab.counts", START, worker, more | {"groups": {}, "seconds": 0.0}))
            end = START + timedelta(hours=self.hours + 2)
            lines.append(event("ab.counts", end, worker, more | {"seconds": self.hours * 3600}))
        rng.shuffle(lines)
        return lines

    def _answer(self, rng: random.Random, group: str, number: int) -> dict[str, Any]:
        fallback = None
        if group == "candidate" and rng.random() < self.fallbacks:
            fallback = rng.choice(["timeout", "5xx"])
        theirs = group == "candidate" and not fallback
        slow = theirs and rng.random() < self.slow
        return {
            "experiment": self.experiment,
            "group": group,
            "key": f"{number:016x}",
            "request_id": f"{rng.getrandbits(128):032x}",
            "arm": "candidate" if theirs else "live",
            "fallback": fallback,
            "version": rng.choice(self.versions) if theirs else "v1",
            "status": 400 if rng.random() < self.mistakes else 200,
            "duration_ms": 500.0 if slow else rng.lognormvariate(1, 0.4),
            "candidate_ms": 2.0 * theirs,
            "rows": 1,
        }


def truth(rng: random.Random, answer: dict[str, Any], right: float) -> dict[str, Any]:
    found = rng.choice(["benign", "malignant"])
    said = found if rng.random() < right else "unclear"
    return {
        "request_id": answer["request_id"],
        "index": 0,
        "version": answer["version"],
        "prediction": said,
        "truth": found,
        "value": 1.0 if said == found else 0.0,
    }


def event(name: str, time: datetime, worker: str, more: dict[str, Any]) -> bytes:
    head = {"timestamp": time.isoformat(), "level": "INFO", "logger": "service.ab"}
    return json.dumps({**head, "event": name, "worker": worker, **more}).encode() + b"\n"


def summarised(lines: list[bytes], limits: Thresholds = LIMITS) -> summary.Summary:
    return summary.summarise(events.read(lines), limits)


def decided(users: Users, limits: Thresholds = LIMITS) -> Decision:
    return gate.decide(summarised(users.lines(), limits), limits)
