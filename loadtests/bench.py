"""Side by side on this machine: the service this template generates, and other model servers.

    python -m loadtests.bench            everything, about 40 minutes, best on an idle machine
    python -m loadtests.bench --quick    one cell a server, about 3 minutes

Every server runs alone on one core and wrk on another. Rounds are interleaved: a machine that slows
down slows all servers down. Rivals' environments are made under build/bench on first use.
"""

from __future__ import annotations

import json
import signal
import sys
import time
from argparse import Namespace

from loadtests import outcome
from loadtests.agent import Failure, agent, counts, expect
from loadtests.environments import ROWS, Installed, install
from loadtests.measure import load, measure
from loadtests.report import write
from loadtests.results import Cell, Record
from loadtests.running import running
from loadtests.servers import COMPARED, SERVERS, Rows

CHECKED_ROWS = 20
# Requests differ, so that a server gains nothing by remembering answers.
DIFFERENT_BODIES = 64
# The connections at which requests of many rows are sent.
BATCH_CONNECTIONS = 16
WARM_UP_SECONDS = 2
QUICK = {"connections": [64], "rounds": 1, "seconds": 2, "rows": [1]}


def main() -> int:
    # Stopped from outside or by Ctrl-C, the servers are stopped too.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit("stopped"))
    arguments = _arguments()
    failures: dict[str, str] = {}
    ready: list[tuple[str, Installed]] = []
    for model in arguments.models:
        for name in arguments.servers:
            try:
                ready.append((model, install(SERVERS[name], model)))
            except Failure as failure:
                failures[f"{name} {model}"] = str(failure)
                print(f"{name} {model}: {failure}", flush=True)
    cells = [
        (rows, connections)
        for rows in arguments.rows
        for connections in (arguments.connections if rows == 1 else [BATCH_CONNECTIONS])
    ]

    records: list[Record] = []
    begin, visits = time.monotonic(), len(ready) * arguments.rounds
    with agent():
        for turn in range(visits):
            model, installed = ready[turn % len(ready)]
            try:
                records += _visit(model, installed, cells, arguments.seconds, turn // len(ready))
            except Failure as failure:
                failures[f"{installed.server.name} {model}"] = str(failure)
                print(failure, flush=True)
            left = (time.monotonic() - begin) / (turn + 1) * (visits - turn - 1)
            print(f"    {turn + 1} of {visits} done, about {left / 60:.0f} min left", flush=True)

    versions = {installed.server.name: installed.versions() for _, installed in ready}
    print(*write(arguments.out, records, versions, failures), sep="\n")
    print(f"tables and charts are in {arguments.out}")
    return 1 if failures else 0


def _visit(
    model: str, installed: Installed, cells: list[tuple[int, int]], seconds: int, turn: int
) -> list[Record]:
    """Start the server, check its answers, measure every cell, stop it."""
    records = []
    rows: Rows = json.loads(ROWS.read_text())
    before = counts()
    with running(installed, rows) as server:
        server.check(rows[:CHECKED_ROWS], installed.scores[:CHECKED_ROWS])
        for count, connections in cells:
            bodies = installed.state / f"{count}-rows.jsonl"
            bodies.write_text(requests(installed, rows, count))
            load(server.url, bodies, connections, WARM_UP_SECONDS)
            sample = measure(server.pid, server.url, bodies, connections, seconds)
            record = Record(Cell(model, count, connections), installed.server.name, turn, sample)
            records.append(record)
            print(record, flush=True)
    expect(installed.server.environ, sum(record.sample.requests for record in records), before)
    return records


def requests(installed: Installed, rows: Rows, count: int) -> str:
    """Return bodies for wrk, a line each, of `count` rows each."""
    around = [*rows, *rows]
    bodies = (installed.server.body(around[i : i + count]) for i in range(DIFFERENT_BODIES))
    return "".join(json.dumps(body) + "\n" for body in bodies)


def _arguments() -> Namespace:
    parser = outcome.parser(__doc__)
    parser.add_argument("--quick", action="store_true", help="a first impression")
    parser.add_argument("--models", nargs="+", choices=("lr", "rf"), default=["lr", "rf"])
    parser.add_argument(
        "--servers",
        nargs="+",
        choices=SERVERS,
        default=[server.name for server in COMPARED],
    )
    parser.add_argument("--connections", nargs="+", type=int, default=[1, 16, 64, 256])
    parser.add_argument("--rows", nargs="+", type=int, default=[1, 100], help="rows a request")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--seconds", type=int, default=5, help="of each measurement")
    if parser.parse_args().quick:
        parser.set_defaults(**QUICK)
    return parser.parse_args()


if __name__ == "__main__":
    sys.exit(main())
