"""What is counted and measured, and how it gets to Datadog.

Values are gathered in plain lists and handed to Datadog's client ten times a second, many in one
line (`name:1:2:3|d`, as DogStatsD takes them): a call of the client for each costs ten times as
much. The metrics there are, with units and tags: datadog/metrics.yaml, which tests hold to this.
"""

from __future__ import annotations

import logging
import os
import re
import time
from collections import defaultdict
from collections.abc import Callable, Mapping
from typing import Any

import gevent

from service import unified

log = logging.getLogger("service.telemetry")

PERIOD = 0.1  # seconds between two deliveries
SOCKET = "/var/run/datadog/dsd.socket"
# As many as surely fit in a datagram with their name and tags.
VALUES_PER_LINE = 60
# Between two deliveries; what is more (over 100,000 rows a second) stands in the counts only.
MOST_VALUES = 10_000
# The client takes what has been handed over for sent; this many datagrams wait for an agent.
QUEUE = 200
STOP_SECONDS = 2

_UNSAFE = re.compile(r"[^\w\-./]+")
_UNSAFE_IN_PAIR = re.compile(r"[^\w\-./:]+")


def tag(key: str, value: object) -> str:
    """Return a tag that no value can break a datagram with, nor make endless."""
    return f"{key}:{_UNSAFE.sub('_', str(value))[:100] or 'none'}"


class Metrics:
    """Takes values at any rate and delivers them; nothing here waits, or raises, for an agent.

    Not for native threads: the worker's greenlets share it without locks.
    """

    def __init__(self, client: Any) -> None:
        """`client`: a DogStatsd, made in the worker, after the fork."""
        self._client = client
        self._counts: defaultdict[tuple[str, ...], float] = defaultdict(int)
        self._values: defaultdict[tuple[str, ...], list[float]] = defaultdict(list)
        self._gauges: dict[tuple[str, ...], float] = {}
        self._lost = 0

    def count(self, name: str, value: float = 1, *tags: str) -> None:
        self._counts[(name, *tags)] += value

    def observe(self, name: str, value: float, *tags: str) -> None:
        """Add a value to a distribution, of which Datadog makes percentiles over all workers."""
        values = self._values[(name, *tags)]
        if len(values) < MOST_VALUES:
            values.append(value)

    def gauge(self, name: str, value: float, *tags: str) -> None:
        self._gauges[(name, *tags)] = value

    def event(self, title: str, text: str, *tags: str) -> None:
        self._client.event(title, text, tags=list(tags))

    def deliver(self) -> None:
        """Hand over what has been gathered."""
        counts, self._counts = self._counts, defaultdict(int)
        gathered, self._values = self._values, defaultdict(list)
        gauges, self._gauges = self._gauges, {}
        client = self._client
        for (name, *tags), value in counts.items():
            client.increment(name, value, tags)
        for (name, *tags), value in gauges.items():
            client.gauge(name, value, tags)
        for (name, *tags), values in gathered.items():
            for start in range(0, len(values), VALUES_PER_LINE):
                part = values[start : start + VALUES_PER_LINE]
                client.distribution(name, ":".join([f"{value:.6g}" for value in part]), tags)
        client.flush()

    def run(self, look: Callable[[], None]) -> None:
        """Deliver for ever, and call `look` every second, to set gauges."""
        due = 0.0
        while True:
            try:
                if time.monotonic() >= due:
                    due = time.monotonic() + 1
                    look()
                    self._tell_losses()
                self.deliver()
            except Exception:
                log.exception("metrics could not be delivered")
            asleep = time.monotonic()
            gevent.sleep(PERIOD)
            self.observe("inference.event_loop_lag", max(0.0, time.monotonic() - asleep - PERIOD))

    def _tell_losses(self) -> None:
        client = self._client
        if client.packets_dropped > self._lost:
            self._lost = client.packets_dropped
            address = client.socket_path or f"{client.host}:{client.port}"
            log.warning("nobody took %d datagrams of metrics at %s so far", self._lost, address)

    def stop(self) -> None:
        """Deliver what is left, if an agent takes it within STOP_SECONDS."""
        self.deliver()
        self._client.stop(timeout=STOP_SECONDS)


def connect(environ: Mapping[str, str] = os.environ) -> Metrics | None:
    """Return metrics for the agent that the environment names, or whose socket is there; or None.

    Call it in the worker. Datadog's client is imported only if there is an agent. Raises what that
    raises for an address that it cannot read.
    """
    address: dict[str, Any] = {}
    if not (environ.get("DD_DOGSTATSD_URL") or environ.get("DD_AGENT_HOST")):
        if not os.path.exists(SOCKET):
            return None
        address["socket_path"] = SOCKET
    from datadog.dogstatsd import base

    # How long it goes without a look at a socket that was missing: a minute, left to itself.
    base.SENDER_RETRY_MAX_BACKOFF = 1.0
    return Metrics(
        base.DogStatsd(
            **address,
            # It counts what it loses only if it may tell the agent, too: after this time, so never.
            telemetry_min_flush_interval=10**9,
            constant_tags=_constant_tags(environ),
            # Counts are summed here already; of distributions the client would take samples.
            disable_aggregation=True,
            disable_buffering=False,
            disable_background_sender=False,
            sender_queue_size=QUEUE,
            socket_connect_retry=True,
        )
    )


def _constant_tags(environ: Mapping[str, str]) -> list[str]:
    """Return what all metrics have, besides the unified tags, which the client adds."""
    pairs = [
        f"{key}:{value}" if value else key
        for key, value in unified.tags(environ).items()
        if key not in unified.UNIFIED
    ]
    if environ.get("SHADOW_ROLE") == "candidate":  # it gets nothing but copies
        pairs.append("traffic:shadow")
    return [_UNSAFE_IN_PAIR.sub("_", pair)[:200] for pair in pairs]
