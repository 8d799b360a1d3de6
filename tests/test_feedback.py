"""The truth that comes later, from a running service to its metrics and to `make accuracy`."""

from __future__ import annotations

import json
import os
import random
import signal
import subprocess
import time
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
import requests
import yaml
from dogstatsd import Receiver
from harness import (
    PYTHON,
    Service,
    command_and_env,
    copied,
    extend_model,
    free_port,
    make,
    manifest,
    serve,
)

TRUTHS, IN_A_REQUEST = 10_000, 500


def send(url: str, items: list[dict[str, Any]]) -> requests.Response:
    return requests.post(f"{url}/feedback", json={"feedback": items}, timeout=30)


def sent(url: str, items: list[dict[str, Any]]) -> requests.Response:
    """Send until it is taken, as callers have to: a disk may be slow."""
    while (answer := send(url, items)).status_code == 503:
        time.sleep(int(answer.headers["Retry-After"]))
    return answer


def made_up(version: str, classes: list[str]) -> list[dict[str, Any]]:
    """Return what callers send back of requests of several rows; every eighth is wrong."""
    rng = random.Random(0)
    found = []
    for number in range(TRUTHS):
        said = rng.choice(classes)
        truth = said if number % 8 else next(name for name in classes if name != said)
        found.append(
            {
                "request_id": f"request-{number // 4}",
                "index": number % 4,
                "version": version,
                "prediction": said,
                "truth": truth,
                "answered_at": "2026-11-01T12:00:00Z",
            }
        )
    return found


def test_of_ten_thousand_truths_none_is_lost(baked: Path, tmp_path: Path) -> None:
    folder = copied(baked, tmp_path)
    known = manifest(folder)
    items = made_up(known["version"], known["outputs"]["classes"])
    parts = [items[at : at + IN_A_REQUEST] for at in range(0, TRUTHS, IN_A_REQUEST)]
    with Receiver() as metrics:
        settings = {"DD_DOGSTATSD_URL": metrics.url, "WEB_CONCURRENCY": 2, "LOG_SAMPLE": 0}
        with serve(folder, **settings) as service, ThreadPoolExecutor(4) as callers:
            service.wait_workers(2)
            answers = list(callers.map(lambda part: sent(service.url, part), parts))
            assert [answer.json() for answer in answers] == [{"accepted": IN_A_REQUEST}] * 20
            total = metrics.total
            metrics.wait(lambda: total("feedback.truths") >= TRUTHS)
            metrics.wait(lambda: total("feedback.confusion") >= TRUTHS)
            metrics.wait(lambda: len(metrics.values("feedback.delay")) >= TRUTHS)
            wrong = TRUTHS // 8
            tags = {"model_version": known["version"]}
            assert total("feedback.truths", outcome="wrong", **tags) == wrong
            assert total("feedback.truths", outcome="right", **tags) == TRUTHS - wrong
            pairs = Counter((item["truth"], item["prediction"]) for item in items)
            for (true, said), count in pairs.items():
                found = total("feedback.confusion", **{"class": true, "predicted": said})
                assert found == count
            assert len(metrics.values("feedback.delay", **tags)) == TRUTHS
            catalogue = yaml.safe_load((folder / "datadog" / "metrics.yaml").read_text())
            for sample in metrics.samples:
                if sample.name.startswith("feedback."):
                    own = sample.tags.keys() - {"service", "version"}
                    assert own == set(catalogue[sample.name]["tags"]), sample
            metrics.wait(lambda: total("inference.requests", route="/feedback") >= 20)
            assert total("inference.requests", route="/feedback", status="200") == 20
            # What is sent again, as after a timeout, is counted twice there, once in reports.
            assert sent(service.url, parts[0]).ok
            service.lines('"event":"feedback"', TRUTHS + IN_A_REQUEST)
            (folder / "live.log").write_text(service.logged)
    done = make(folder, "accuracy", "LOGS=live.log", "ARGS=--truths truths.csv")
    assert done.returncode == 2, "make's own code for a gate that is not reached: 1"
    assert f"below: version {known['version']}, 10,000 truths; accuracy 87.5%" in done.stdout
    assert "truths: 10,000; truths sent again: 500" in done.stdout
    assert "87.5%" in (folder / "accuracy.html").read_text()
    assert len((folder / "truths.csv").read_text().splitlines()) == 1 + TRUTHS


def test_what_callers_were_told_is_what_they_send_back(live: Service) -> None:
    answer = live.post({"instances": [live.instance] * 2})
    items = [
        {
            "request_id": answer.headers["X-Request-Id"],
            "index": index,
            "version": answer.headers["X-Model-Version"],
            "prediction": prediction["label"],
            "truth": "benign",
            "value": 9.5,
        }
        for index, prediction in enumerate(answer.json()["predictions"])
    ]
    assert send(live.url, items).json() == {"accepted": 2}
    lines = live.lines(f'"event":"feedback","request_id":"{items[0]["request_id"]}"', 2)
    told = [json.loads(line) for line in lines]
    assert [{name: event[name] for name in items[0]} for event in told] == items


# What a caller would have kept, and the truths.
ASKED = """
from pathlib import Path
import model
frame, truth = model.load_data()
frame["request_id"] = [f"0{i // 4}" for i in range(len(frame))]
frame["index"] = [i % 4 for i in range(len(frame))]
Path("data").mkdir()
frame.to_csv("data/asked.csv", index=False)
frame[["request_id", "index"]].assign(truth=truth).to_json("truths.json", orient="records")
"""
# As docs/training.md has it, but for the file's kind.
JOINED = """
def load_data() -> Any:
    import os
    truths = pd.read_csv(os.environ["DATA"], dtype={"request_id": str})
    asked = pd.read_csv("data/asked.csv", dtype={"request_id": str})
    rows = asked.merge(truths[["request_id", "index", "truth"]], on=["request_id", "index"])
    return rows.drop(columns=["request_id", "index", "truth"]), rows["truth"]
"""


def test_truths_become_new_data(live: Service, baked: Path, tmp_path: Path) -> None:
    folder = copied(baked, tmp_path)
    subprocess.run([PYTHON, "-c", ASKED], cwd=folder, check=True)
    known = json.loads((folder / "truths.json").read_text())[:400]
    answer = {"version": manifest(folder)["version"], "prediction": "benign"}
    assert send(live.url, [truth | answer for truth in known]).ok
    lines = live.lines('"event":"feedback","request_id":"0', len(known))
    (folder / "live.log").write_text("\n".join(lines))
    make(folder, "accuracy", "LOGS=live.log", "ARGS=--truths data/truths.csv")
    extend_model(folder, JOINED)
    done = make(folder, "train", "DATA=data/truths.csv")
    assert done.returncode == 0, done.stdout + done.stderr
    found = manifest(folder)
    assert found["data"]["rows"] == len(known)
    assert len(found["inputs"]) == len(manifest(baked)["inputs"])


@pytest.fixture
def stalled(baked: Path) -> Iterator[tuple[str, subprocess.Popen[bytes]]]:
    """A service whose log nobody reads as yet."""
    port = free_port()
    command, env = command_and_env(port, LOG_SAMPLE=0)
    process = subprocess.Popen(
        command, cwd=baked, env=env, stdout=subprocess.PIPE, start_new_session=True
    )
    try:
        url = f"http://127.0.0.1:{port}"
        deadline = time.monotonic() + 60
        while True:
            try:
                if requests.get(f"{url}/readyz", timeout=5).ok:
                    break
            except requests.ConnectionError:
                assert time.monotonic() < deadline and process.poll() is None
                time.sleep(0.05)
        yield url, process
    finally:
        os.killpg(process.pid, signal.SIGKILL)
        process.communicate()


def test_what_was_accepted_is_in_the_log_and_what_was_refused_is_not(
    stalled: tuple[str, subprocess.Popen[bytes]], baked: Path
) -> None:
    url, process = stalled
    known = manifest(baked)
    items = made_up(known["version"], known["outputs"]["classes"])
    accepted, refused, at = [], 0, 0
    while not refused:
        part = [item | {"request_id": f"{at}-{item['request_id']}"} for item in items[:1000]]
        answer = send(url, part)
        if answer.ok:
            accepted += part
        else:
            assert answer.status_code == 503 and answer.headers["Retry-After"] == "1"
            refused += 1
        assert requests.get(f"{url}/healthz", timeout=5).ok
        at += 1
    assert len(accepted) >= 3000
    assert process.stdout
    found: list[dict[str, Any]] = []
    while len(found) < len(accepted):
        line = process.stdout.readline()
        if b'"event":"feedback"' in line:
            found.append(json.loads(line))
    assert [{name: event[name] for name in items[0]} for event in found] == accepted
    # Now that it is read, the same is taken.
    assert sent(url, part).ok
