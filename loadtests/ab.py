"""What a share of the users costs the others, and the share itself.

    python -m loadtests.ab              15 minutes; writes results/ab.{md,json}
    python -m loadtests.ab --rounds 1   a look

As loadtests.shadow: services of one worker each, every one asked twice in a row at 70 % of its
core, once with the share switched off and once with it on, with the same requests of the same users
at the same intervals. In the first, users are not shared at all, which tells what the machine makes
of the same asked twice. In the second all users are told apart and none is in the experiment: they
are the others, who must not pay. Then a tenth of the users are the candidate's, all of them, and
all of them with a candidate that never says a word.

The candidate is the default model, whose recorded answers are replayed on the other core.
"""

from __future__ import annotations

import asyncio
import gc
import json
import os
import socket
import statistics
import sys
from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import asdict
from pathlib import Path

from loadtests import measure, outcome
from loadtests.environments import ROWS, install
from loadtests.openloop import post
from loadtests.replay import record, replaying
from loadtests.running import running
from loadtests.servers import OURS, Rows
from loadtests.shadow import (
    FIRST_RATE,
    FIRST_SECONDS,
    SHARE,
    Case,
    Round,
    prepared,
    report,
    visit,
)

MOST_P50 = 1.01  # of the others
NOBODY = 1e-6  # percent; of the users here, that is none
USERS = 2_000


def cases() -> dict[str, float]:
    """Return by name how many percent of the users are the candidate's."""
    return {"none": 0, "others": NOBODY, "10 %": 10, "100 %": 100, "black hole": 100}


def of_users(requests: Sequence[bytes]) -> list[bytes]:
    """Return requests, each of another user."""
    lines = b"POST /predict HTTP/1.1\r\n"
    return [
        requests[user % len(requests)].replace(lines, lines + b"X-Customer: %d\r\n" % user)
        for user in range(USERS)
    ]


def run(rounds: int, seconds: float) -> list[Case]:
    found = [Case(name, round(percent)) for name, percent in cases().items()]
    candidate, live = prepared(install(OURS, "lr"), "candidate"), install(OURS, "steady")
    rows: Rows = json.loads(ROWS.read_text())
    plain = [post("/predict", json.dumps({"instances": [row]}).encode()) for row in rows]
    requests = of_users(plain)
    with ExitStack() as stack:
        with running(candidate, rows) as real:
            beside = stack.enter_context(replaying(record(real.port, plain)))
        hole = stack.enter_context(socket.create_server(("127.0.0.1", 0), backlog=64))
        servers, switches = [], []
        for number, (name, percent) in enumerate(cases().items()):
            port = hole.getsockname()[1] if name == "black hole" else beside
            environ = {
                "SHADOW_URL": f"http://127.0.0.1:{port}",
                "SHADOW_PERCENT": "0",
                "AB_PERCENT": f"{percent:.6f}",
                "AB_KEY_HEADER": "X-Customer",
                "AB_SWITCH_FILE": "{state}/switch",
            }
            one = prepared(live, f"ab-{number}", **(environ if percent else {}))
            switches.append(one.state / "switch")
            switches[-1].write_text("off")
            servers.append(stack.enter_context(running(one, rows)))
        first = asyncio.run(visit(servers[0], requests, FIRST_RATE, FIRST_SECONDS, 0))
        cpu_ms = [first.cpu_ms] * len(found)
        for number in range(rounds):
            for i, (case, server) in enumerate(zip(found, servers, strict=True)):
                rate = SHARE * 1000 / cpu_ms[i]
                visits = {}
                for state in ("off", "on") if number % 2 else ("on", "off"):
                    # Empty, it leaves the percentage as it was set.
                    switches[i].write_text("off" if state == "off" else "")
                    visits[state] = asyncio.run(visit(server, requests, rate, seconds, number))
                switches[i].write_text("off")
                case.rounds.append(Round(rate, **visits))
                cpu_ms[i] = visits["off"].cpu_ms
                report(number, case)
    return found


def judge(found: Sequence[Case]) -> list[str]:
    """Return what of the promises is broken: beyond what the machine's moods may explain."""
    failures = [f"{case.name}: {case.failed} requests failed" for case in found if case.failed]
    none, others, *_ = found
    least = others.ratio("p50")[1] / none.ratio("p50")[0]
    if least > MOST_P50:
        failures.append(f"the others' p50 is at least {least:.3f} times that without a share")
    return failures


def write(folder: Path, seconds: float, found: list[Case]) -> int:
    rate = statistics.median(one.rate for case in found for one in case.rounds)
    lines = [
        f"{rate:.0f} requests/s, which takes one worker {SHARE:.0%} of its core; "
        f"{len(found[0].rounds)} rounds of {seconds:g} s off and {seconds:g} s on. Medians of "
        "rounds, of ratios with their 95 % interval. In the first row nothing is switched on: it "
        "tells what the machine makes of the same asked twice.",
        "",
        "| the candidate's users | p50, off and on | ratio | p99, off and on | ratio "
        "| CPU-ms a request, off and on | failed | core: others |",
        "|---|---|---|---|---|---|---|---|",
    ]
    for case in found:
        shown = [case.name]
        for name in ("p50", "p99"):
            off, on = (1e3 * case.typical(name, state) for state in (False, True))
            shown.append(f"{off:.2f} and {on:.2f} ms")
            shown.append("{:.3f} ({:.2f} to {:.2f})".format(*case.ratio(name)))
        off, on = (case.typical("cpu_ms", state) for state in (False, True))
        shown += [f"{off:.3f} and {on:.3f}", str(case.failed)]
        shown.append(f"{case.typical('disturbance', True):.0%}")
        lines.append(f"| {' | '.join(shown)} |")
    return outcome.leave(
        folder,
        "ab",
        lines,
        {"seconds": seconds, "cases": [asdict(case) for case in found]},
        failures=judge(found),
        kept="the p50 of users who are not in the experiment is not shown to be more than "
        f"{MOST_P50:g} times that without one, and no request failed.",
        options=f"--rounds {len(found[0].rounds)} --seconds {seconds:g}",
    )


def main() -> int:
    parser = outcome.parser(__doc__)
    parser.add_argument("--rounds", type=int, default=20)
    parser.add_argument("--seconds", type=float, default=2)
    arguments = parser.parse_args()
    os.sched_setaffinity(0, {measure.LOAD_CORE})
    gc.freeze()  # lest the client stop for 15 ms now and then, to look through what it has imported
    print("training ...", flush=True)
    return write(arguments.out, arguments.seconds, run(arguments.rounds, arguments.seconds))


if __name__ == "__main__":
    sys.exit(main())
