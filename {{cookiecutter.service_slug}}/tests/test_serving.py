"""The service as it will run: gunicorn, a socket, a signal."""

from __future__ import annotations

import json
import subprocess
import sys
import urllib.request
from pathlib import Path

from loadtests.serving import environment, serving
from service.artifact import read_manifest

ROOT = Path(__file__).parent.parent


def test_it_boots_predicts_and_stops() -> None:
    golden = read_manifest(ROOT / "artifact").golden
    with serving(environment()) as host:
        request = urllib.request.Request(
            f"{host}/predict",
            json.dumps({"instances": golden.instances}).encode(),
            {"Content-Type": "application/json"},
        )
        with urllib.request.urlopen(request, timeout=10) as response:
            assert len(json.load(response)["predictions"]) == len(golden.predictions)


def test_a_refusal_is_one_line_and_a_failure(tmp_path: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-m", "service"],
        cwd=ROOT,
        env={"ARTIFACT_DIR": str(tmp_path), "PORT": "0", "WEB_CONCURRENCY": "1"},
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert done.returncode == 3
    assert [x for x in done.stderr.splitlines() if x.startswith("refusing to start: ")]
    assert "Traceback" not in done.stderr
