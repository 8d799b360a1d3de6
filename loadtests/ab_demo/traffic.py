"""A user of the demo: 10 customers a second, and some time later, what was the truth of each."""

# Locust first: its import patches the standard library for gevent.
from locust import FastHttpUser, constant_throughput, task  # isort: skip

import json
import os
import random
from datetime import UTC, datetime

import gevent

CUSTOMERS = 20_000
TRUTH_SECONDS = 1.0  # after the answer

with open(os.environ["ROWS"]) as stream:
    rows = json.load(stream)
by_truth = {
    truth: [row for row in rows if row["truth"] == truth] for truth in ("malignant", "benign")
}


class Client(FastHttpUser):
    wait_time = constant_throughput(10)

    @task
    def one(self) -> None:
        row = random.choice(by_truth[random.choice(list(by_truth))])
        response = self.client.post(
            "/predict",
            json={"instances": [row["instance"]]},
            headers={"X-Customer": str(random.randrange(CUSTOMERS))},
        )
        if response.status_code == 200:
            gevent.spawn_later(
                TRUTH_SECONDS,
                tell,
                response.headers["X-Request-Id"],
                response.headers["X-Model-Version"],
                response.json()["predictions"][0],
                row["truth"],
            )


def tell(request_id: str, version: str, prediction: dict[str, object], truth: str) -> None:
    """Note the truth of an answer, as events of feedback have it."""
    worth = 1.0 if prediction["label"] == truth else 0.0 if truth == "malignant" else 0.8
    told = {
        "timestamp": datetime.now(UTC).isoformat(),
        "event": "feedback",
        "request_id": request_id,
        "index": 0,
        "version": version,
        "prediction": prediction,
        "truth": truth,
        "value": worth,
    }
    with open(os.environ["TRUTHS"], "a") as stream:
        stream.write(json.dumps(told) + "\n")
