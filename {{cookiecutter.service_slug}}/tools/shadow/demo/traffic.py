"""The users of the load test, with all rows of the data in place of the few golden ones."""

from loadtests.locustfile import Client, golden  # isort: skip  # first: it patches for gevent

import json
import os

with open(os.environ["DEMO_ROWS"]) as stream:
    golden["instances"] = json.load(stream)

__all__ = ["Client"]
