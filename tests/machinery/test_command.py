"""A mistake on a command line is answered by one line, whichever program it is."""

from __future__ import annotations

import subprocess
import sys

import pytest


@pytest.mark.parametrize(
    ("words", "code", "said"),
    [
        ("tools.size --peak-rps=abc", 2, "not sized: PEAK_RPS=abc: expected a number of requests"),
        ("tools.size --cpus=x", 2, "not sized: CPUS=x: expected a number of cores"),
        ("tools.size --cpus", 2, "not sized: argument --cpus: expected one argument"),
        ("tools.observe --seconds=x", 2, "not observed: --seconds=x: expected a number of seconds"),
        ("tools.observe --sekonds=3", 2, "not observed: unrecognized arguments: --sekonds=3"),
        ("loadtests localhost", 2, "not run: HOST=localhost: expected an address like http://"),
        ("loadtests http://here there", 2, "not run: unrecognized arguments: there"),
        ("tools.datadog", 2, "datadog: the following arguments are required: command"),
        ("tools.shadow judge a.log", 3, "no verdict: argument command: invalid choice: 'judge'"),
    ],
)
def test_a_mistake_is_answered_by_one_line(words: str, code: int, said: str) -> None:
    command = [sys.executable, "-m", *words.split()]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60)
    assert done.returncode == code
    [line] = done.stderr.splitlines()
    assert line.startswith(said)
