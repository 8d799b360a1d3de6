"""Servers that are asked in turn, while all others wait on the same core.

A machine's speed changes from minute to minute and longer visits would compare minutes; so turns
are of a few seconds, and servers are compared within a round.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from contextlib import ExitStack
from pathlib import Path

from loadtests.agent import Failure
from loadtests.environments import ROWS, Installed
from loadtests.measure import Sample, measure, settle
from loadtests.results import Cell, Record
from loadtests.running import Running, running
from loadtests.servers import Rows

# Requests differ, so that a server gains nothing by remembering answers.
DIFFERENT_BODIES = 64


def in_turns(
    ready: Sequence[Installed], cells: Sequence[Cell], rounds: int, seconds: int
) -> Iterator[Record]:
    """Ask all servers of one model, every second round in the opposite order.

    Raises Failure if one of them does not start, or stops answering.
    """
    rows: Rows = json.loads(ROWS.read_text())
    with ExitStack() as stack:
        servers = [stack.enter_context(running(one, rows)) for one in ready]
        # Cell by cell, for servers that learn how to batch; before the first round is a warm-up.
        for cell in cells:
            for turn in range(-1, rounds):
                for server in servers[:: -1 if turn % 2 else 1]:
                    sample = _ask(server, rows, cell, seconds)
                    if turn >= 0:
                        yield Record(cell, server.installed.server.name, turn, sample)
                print(f"    {turn + 1} of {rounds} rounds", flush=True)


def _ask(server: Running, rows: Rows, cell: Cell, seconds: int) -> Sample:
    asked = bodies(server.installed, rows, cell.rows)
    with server.awake():
        settle()
        sample = measure(server.pid, server.url, asked, cell.connections, seconds)
    if not sample.requests:
        raise Failure(f"{server.title} answers no more, see {server.installed.log}")
    return sample


def bodies(installed: Installed, rows: Rows, count: int) -> Path:
    """Write bodies for wrk, a line each, of `count` rows each, and return their file."""
    file = installed.state / f"{count}-rows.jsonl"
    around = [*rows, *rows]
    asked = (installed.server.body(around[i : i + count]) for i in range(DIFFERENT_BODIES))
    file.write_text("".join(json.dumps(body) + "\n" for body in asked))
    return file
