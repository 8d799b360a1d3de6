"""What a share of the users costs the others, and the share itself.

    python -m loadtests.ab              15 minutes; writes results/ab.{md,json}
    python -m loadtests.ab --rounds 1   a look

Measured as loadtests/switched.py says: each service once with the share switched off and once with
it on. In the first, users are not shared at all. In the second all users are told apart and none is
in the experiment: they are the others, who must not pay. Then a tenth of the users are the
candidate's, all of them, and all of them with a candidate that never says a word.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path

from loadtests import outcome
from loadtests.switched import HEADINGS, Case, measure_cases, summary

MOST_P50 = 1.01  # of the others
NOBODY = 1e-6  # percent; of the users here, that is none
USERS = 2_000


def settings(case: Case, candidate: str) -> dict[str, str]:
    return {
        "SHADOW_URL": candidate,
        "SHADOW_PERCENT": "0",
        "AB_PERCENT": f"{case.percent:.6f}",
        "AB_KEY_HEADER": "X-Customer",
        "AB_SWITCH_FILE": "{state}/switch",
    }


def of_users(requests: list[bytes]) -> list[bytes]:
    """Return requests, each of another user."""
    lines = b"POST /predict HTTP/1.1\r\n"
    return [
        requests[user % len(requests)].replace(lines, lines + b"X-Customer: %d\r\n" % user)
        for user in range(USERS)
    ]


def run(rounds: int, seconds: float) -> list[Case]:
    shared = [Case("others", NOBODY), Case("10 %", 10), Case("100 %", 100)]
    cases = [Case("none", 0), *shared, Case("black hole", 100, silent=True)]
    measure_cases("ab", cases, settings, of_users, rounds, seconds)
    return cases


def judge(cases: Sequence[Case]) -> list[str]:
    """Return what of the promises is broken: beyond what the machine's moods may explain."""
    failures = [f"{case.name}: {case.failed} requests failed" for case in cases if case.failed]
    none, others, *_ = cases
    least = others.ratio("p50").low / none.ratio("p50").middle
    if least > MOST_P50:
        failures.append(f"the others' p50 is at least {least:.3f} times that without a share")
    return failures


def write(folder: Path, seconds: float, cases: list[Case]) -> int:
    headings = ("the candidate's users", *HEADINGS)
    table = outcome.table(headings, [[case.name, *case.cells()] for case in cases])
    return outcome.leave(
        folder,
        "ab",
        [summary(cases, seconds), "", *table],
        {"seconds": seconds, "cases": [asdict(case) for case in cases]},
        failures=judge(cases),
        kept="the p50 of users who are not in the experiment is not shown to be more than "
        f"{MOST_P50:g} times that without one, and no request failed.",
        options=f"--rounds {len(cases[0].rounds)} --seconds {seconds:g}",
    )


def main() -> int:
    parser = outcome.parser(__doc__)
    parser.add_argument("--rounds", type=int, default=20)
    parser.add_argument("--seconds", type=float, default=2)
    arguments = parser.parse_args()
    return write(arguments.out, arguments.seconds, run(arguments.rounds, arguments.seconds))


if __name__ == "__main__":
    sys.exit(main())
