"""What Locust runs for `--load`: the load test's users, on its staircase, round and round.

They send rows of the training data, of all it has, so that the mix of answers is a real one; the
few golden instances would do for a load test, but are dull to look at.
"""

# Locust first: its import patches the standard library for gevent.
from locust import LoadTestShape  # isort: skip

import bisect
import itertools

import model
from loadtests import locustfile
from loadtests.locustfile import Client  # noqa: F401  (found by Locust)
from service.artifact import read_manifest
from service.settings import Settings
from training.inputs import plain_rows

ROWS = 1000

inputs = read_manifest(Settings.from_env().artifact_dir).inputs
frame, _ = model.load_data()
names = [item.name for item in inputs]
some = frame.sample(min(ROWS, len(frame)), random_state=0)
locustfile.golden["instances"] = [
    dict(zip(names, row, strict=True)) for row in plain_rows(inputs, some)
]


class Rounds(LoadTestShape):
    def tick(self) -> tuple[int, float]:
        steps = locustfile.slo.steps
        ends = list(itertools.accumulate(seconds for _, seconds in steps))
        at: float = self.get_run_time()  # type: ignore[no-untyped-call]
        users, _ = steps[bisect.bisect_right(ends, at % ends[-1])]
        return users, users
