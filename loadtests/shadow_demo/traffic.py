"""A user of the demo: 10 requests a second, of one real row mostly and of 50 now and then."""

# Locust first: its import patches the standard library for gevent.
from locust import FastHttpUser, constant_throughput, task  # isort: skip

import json
import os
import random

with open(os.environ["ROWS"]) as stream:
    rows = json.load(stream)


class Client(FastHttpUser):
    wait_time = constant_throughput(10)

    @task(20)
    def one(self) -> None:
        self.client.post("/predict", json={"instances": [random.choice(rows)]})

    @task(1)
    def many(self) -> None:
        self.client.post("/predict", json={"instances": random.choices(rows, k=50)})
