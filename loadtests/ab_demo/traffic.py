"""A user of the demo: 10 customers a second, and some time later, what was the truth of each."""

# Locust first: its import patches the standard library for gevent.
from locust import FastHttpUser, constant_throughput, task  # isort: skip

import json
import os
import random

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
                self.tell,
                response.headers["X-Request-Id"],
                response.headers["X-Model-Version"],
                response.json()["predictions"][0]["label"],
                row["truth"],
            )

    def tell(self, request_id: str, version: str, prediction: str, truth: str) -> None:
        """Send back what a customer was told, with the truth, and what the answer was worth."""
        worth = 1.0 if prediction == truth else 0.0 if truth == "malignant" else 0.8
        told = {"request_id": request_id, "index": 0, "version": version, "value": worth}
        told |= {"prediction": prediction, "truth": truth}
        self.client.post("/feedback", json={"feedback": [told]})
