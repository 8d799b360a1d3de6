"""`make demo`, as somebody sees it who has just cloned the repository."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator

import pytest
import requests
from harness import ROOT, behind_a_proxy


@pytest.fixture
def demo() -> Iterator[subprocess.Popen[str]]:
    """The demo, started by somebody who ignores SIGINT, as a script's `&` and nohup do."""
    command = ["sh", "-c", 'trap "" INT; exec "$@"', "sh", sys.executable, "tests/demo.py"]
    with subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, text=True) as process:
        yield process
        process.kill()


def test_demo_predicts_stays_and_stops(demo: subprocess.Popen[str]) -> None:
    assert demo.stdout
    shown: list[str] = []
    for line in demo.stdout:
        shown.append(line)
        if "Press Ctrl-C" in line:
            break
    text = "".join(shown)
    assert "$ curl " in text and '{"predictions":[{"label":' in text
    [url] = [line.split()[-1] for line in shown if "model card  " in line]
    assert requests.get(url, timeout=5).status_code == 200
    assert requests.get(f"{url}docs", timeout=5).status_code == 200
    time.sleep(0.2)

    demo.send_signal(signal.SIGINT)

    assert demo.wait(30) == 0
    with pytest.raises(requests.ConnectionError):
        requests.get(url, timeout=5)


def test_demo_once_ends_by_itself() -> None:
    done = subprocess.run(
        [sys.executable, "tests/demo.py", "--once"],
        cwd=ROOT,
        env=os.environ | behind_a_proxy(),
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0 and not done.stderr
    assert '{"predictions":[{"label":' in done.stdout
