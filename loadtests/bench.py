"""Side by side on this machine: the service this template generates, and other model servers.

    python -m loadtests.bench            everything, about 45 minutes, best on an idle machine
    python -m loadtests.bench --quick    a look, about 6 minutes

Each server is alone first, on a core: its answers are checked, and its memory is read after some
load. Then all that have the same model share the core, idle but for the one that wrk asks for a few
seconds from another core, in turn and many times over. A machine's speed changes from minute to
minute and longer visits would compare minutes, so servers are compared within a round. Rivals'
environments are made under build/bench on first use.
"""

from __future__ import annotations

import json
import signal
import sys
from argparse import Namespace

from loadtests import outcome
from loadtests.agent import Failure, agent, counts, expect
from loadtests.environments import ROWS, Installed, install
from loadtests.measure import load, tree_pss_mb
from loadtests.report import write
from loadtests.results import Cell, Record
from loadtests.running import running
from loadtests.servers import COMPARED, OBSERVED, SERVERS, Rows
from loadtests.turns import bodies, in_turns

CHECKED_ROWS = 20
# The connections at which requests of many rows are sent.
BATCH_CONNECTIONS = 16
WARM_UP_SECONDS = 2
QUICK = {"connections": [1, 64], "rounds": 1, "rows": [1]}


def main() -> int:
    # Stopped from outside or by Ctrl-C, the servers are stopped too.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit("stopped"))
    arguments = _arguments()
    failures: dict[str, str] = {}
    records: list[Record] = []
    memory: dict[tuple[str, str], float] = {}
    versions: dict[str, dict[str, str]] = {}
    with agent():
        for model in arguments.models:
            ready = []
            for name in arguments.servers:
                try:
                    installed = install(SERVERS[name], model)
                    memory[model, name] = _alone(installed, max(arguments.connections))
                except Failure as failure:
                    failures[f"{name} {model}"] = str(failure)
                    print(f"{name} {model}: {failure}", flush=True)
                    continue
                versions[name] = installed.versions()
                ready.append(installed)
            cells = [
                Cell(model, rows, connections)
                for rows in arguments.rows
                for connections in (arguments.connections if rows == 1 else [BATCH_CONNECTIONS])
            ]
            before, observed = counts(), 0
            try:
                for record in in_turns(ready, cells, arguments.rounds, arguments.seconds):
                    records.append(record)
                    print(record, flush=True)
                    observed += record.sample.requests * (record.server == OBSERVED.name)
                expect(OBSERVED.environ, observed, before)
            except Failure as failure:
                failures[model] = str(failure)
                print(failure, flush=True)
    print(*write(arguments.out, records, memory, versions, failures), sep="\n")
    print(f"tables and charts are in {arguments.out}")
    return 1 if failures else 0


def _alone(installed: Installed, connections: int) -> float:
    """Start the server, check its answers, stop it; return the megabytes it had after some load."""
    rows: Rows = json.loads(ROWS.read_text())
    with running(installed, rows) as server:
        server.check(rows[:CHECKED_ROWS], installed.scores[:CHECKED_ROWS])
        load(server.url, bodies(installed, rows, 1), connections, WARM_UP_SECONDS)
        pss_mb = tree_pss_mb(server.pid)
    print(f"{installed.server.title}: answers are right, {pss_mb:.0f} MB", flush=True)
    return pss_mb


def _arguments() -> Namespace:
    parser = outcome.parser(__doc__)
    parser.add_argument("--quick", action="store_true", help="a first impression")
    parser.add_argument("--models", nargs="+", choices=("lr", "rf"), default=["lr", "rf"])
    parser.add_argument(
        "--servers",
        nargs="+",
        choices=(names := [server.name for server in COMPARED]),
        default=names,
    )
    parser.add_argument("--connections", nargs="+", type=int, default=[1, 16, 64, 256])
    parser.add_argument("--rows", nargs="+", type=int, default=[1, 100], help="rows a request")
    parser.add_argument("--rounds", type=int, default=6)
    parser.add_argument("--seconds", type=int, default=3, help="of each measurement")
    if parser.parse_args().quick:
        parser.set_defaults(**QUICK)
    return parser.parse_args()


if __name__ == "__main__":
    sys.exit(main())
