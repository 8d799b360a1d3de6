"""One user of the service: mostly single instances, sometimes many; all of them real rows."""

# Locust first: its import patches the standard library for gevent.
from locust import FastHttpUser, constant_throughput, events, task  # isort: skip

import json
import random
from pathlib import Path
from typing import Any

from locust.env import Environment

from loadtests.rows import many
from loadtests.slo import Slo

slo = Slo.read()
golden = json.loads((Path(__file__).parent.parent / "artifact/manifest.json").read_text())["golden"]
many_rows = many(golden["instances"])


class Client(FastHttpUser):
    wait_time = constant_throughput(slo.requests_per_user)

    @task(20)
    def one(self) -> None:
        self.predict("/predict", 1)

    @task(1)
    def many(self) -> None:
        self.predict(f"/predict ({many_rows} rows)", many_rows)

    def predict(self, name: str, rows: int) -> None:
        body = {"instances": random.choices(golden["instances"], k=rows)}
        with self.client.post("/predict", json=body, name=name, catch_response=True) as response:
            if response.status_code != 200:
                response.failure(f"status {response.status_code}")
            elif len(response.json()["predictions"]) != rows:
                response.failure("not one answer for each instance")


@events.quitting.add_listener  # type: ignore[untyped-decorator]
def check_slo(environment: Environment, **_: Any) -> None:
    total = environment.stats.total
    p99 = total.get_response_time_percentile(0.99) or 0.0
    met = total.num_requests > 0 and p99 <= slo.p99_ms and total.fail_ratio <= slo.error_ratio
    print(
        f"SLO {'met' if met else 'MISSED'}: p99 {p99:.0f} ms (at most {slo.p99_ms:g}), "
        f"errors {total.fail_ratio:.3%} (at most {slo.error_ratio:.3%}), "
        f"{total.num_requests} requests"
    )
    environment.process_exit_code = 0 if met else 1
