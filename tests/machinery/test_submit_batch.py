"""make submit WHERE=batch, with an aws that plays what a cloud would say."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from pipeline import exits
from player import Json, Player

from tools.deploy.service import NAME, ROOT
from tools.submit.__main__ import main

OUTPUTS = {
    "Queue": "arn:aws:batch:eu-central-1:1:job-queue/q",
    "Definition": "arn:aws:batch:eu-central-1:1:job-definition/d:3",
    "Logs": f"/batch/{NAME}",
    "Store": "s3://bucket/model",
}
STACK: Json = {
    "Stacks": [{"Outputs": [{"OutputKey": k, "OutputValue": v} for k, v in OUTPUTS.items()]}]
}


def job(
    status: str, code: int | None = None, *attempts: str, stream: str = "", **more: Any
) -> Json:
    container: Json = {"logStreamName": stream} if stream else {}
    container |= {} if code is None else {"exitCode": code}
    tried = [{"container": {"logStreamName": name}} for name in attempts]
    return {"jobs": [{"status": status, "container": container, "attempts": tried, **more}]}


def events(token: str, *lines: str) -> Json:
    return {"events": [{"message": line} for line in lines], "nextForwardToken": token}


def batch(
    player: Player, *jobs: Json | str, logs: list[Json | str] | None = None, **more: Any
) -> None:
    player.plays(
        cloudformation_describe=[STACK],
        batch_submit=[{"jobId": "1-2-3"}],
        batch_describe=list(jobs),
        logs=logs or [events("t")],
        **more,
    )


def test_a_batch_job_is_followed_to_its_own_exit_code(
    player: Player, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    batch(
        player,
        job("RUNNABLE"),
        job("RUNNING", stream="a"),
        job("FAILED", 1, "a", stream="a"),
        logs=[
            "!ResourceNotFoundException: not written to yet",
            events("1", "run batch-1-2-3"),
            events("2", "refused: accuracy"),
            events("2"),
        ],
    )
    monkeypatch.setenv("WHERE", "batch")
    monkeypatch.setenv("RUN", "r-1")
    assert main() == 1
    (asked,) = player.asked("batch submit-job")
    assert (asked["jobQueue"], asked["jobDefinition"]) == (OUTPUTS["Queue"], OUTPUTS["Definition"])
    # The store is the job definition's own.
    assert asked["containerOverrides"]["environment"] == [{"name": "RUN", "value": "r-1"}]
    lines = [line.partition(" s  ")[2] or line for line in capsys.readouterr().out.splitlines()]
    assert lines == [
        "==> 1-2-3: queue q of AWS Batch",
        "RUNNABLE",
        "RUNNING",
        "FAILED",
        "run batch-1-2-3",
        "refused: accuracy",
    ]


def test_each_attempt_has_its_log(
    player: Player, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    done = job("SUCCEEDED", 0, "a", "b", stream="b")
    batch(player, done, logs=[events("1", "of a"), events("1"), events("2", "of b"), events("2")])
    monkeypatch.setenv("WHERE", "batch")
    monkeypatch.setenv("JOB", "1-2-3")
    assert main() == 0
    said = capsys.readouterr().out
    assert said.index("of a") < said.index("of b") and said.count("of a") == 1
    assert not player.calls("batch submit-job")


def test_a_job_whose_machine_was_taken_away_may_be_tried_again(
    player: Player, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    batch(player, job("FAILED", statusReason="Host EC2 (instance i-1) terminated."))
    monkeypatch.setenv("WHERE", "batch")
    assert main() == exits.LATER
    assert "ended from outside: Host EC2 (instance i-1) terminated." in capsys.readouterr().out


def test_an_array_has_a_job_for_each_data_set(
    player: Player,
    listed: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    array = {"size": 3, "statusSummary": {"SUCCEEDED": 2, "FAILED": 1, "RUNNING": 0}}
    good = [{"jobId": f"1:{n}", "status": "SUCCEEDED", "container": {"exitCode": 0}} for n in "02"]
    bad = [{"jobId": "1:1", "status": "FAILED", "container": {"exitCode": 1}}]
    batch(
        player,
        job("FAILED", arrayProperties=array),
        s3api_put=["!PreconditionFailed: it is there"],
        batch_list=[{"jobSummaryList": good}, {"jobSummaryList": bad}],
    )
    monkeypatch.setenv("WHERE", "batch")
    monkeypatch.setenv("STORE", "s3://other/folder")
    monkeypatch.setenv("DATA", "2026-11")
    assert main() == 1
    (kept,) = player.asked("s3api put-object")
    assert (kept["Bucket"], kept["IfNoneMatch"]) == ("other", "*")
    (asked,) = player.asked("batch submit-job")
    assert asked["arrayProperties"] == {"size": 3}
    values = {v["name"]: v["value"] for v in asked["containerOverrides"]["environment"]}
    assert values["STORE"] == "s3://other/folder" and values["DATA"] == "2026-11"
    assert kept["Key"] == f"folder/{values['DATASETS']}"
    said = capsys.readouterr().out
    assert "FAILED: 2 SUCCEEDED, 1 FAILED" in said and "1:1  exit 1" in said


def test_no_stack(
    player: Player, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    player.plays(cloudformation=["!Stack with id x does not exist"])
    monkeypatch.setenv("WHERE", "batch")
    assert main() == exits.MISUSED
    assert f"not done: there is no stack {NAME} here: create it" in capsys.readouterr().err


def test_ctrl_c_leaves_the_job_running(player: Player) -> None:
    batch(player, job("RUNNABLE"))
    process = subprocess.Popen(
        [sys.executable, "-m", "tools.submit"],
        cwd=ROOT,
        env=os.environ | {"WHERE": "batch"},
        stdout=subprocess.PIPE,
        text=True,
    )
    assert process.stdout
    while "RUNNABLE" not in process.stdout.readline():
        pass
    process.send_signal(signal.SIGINT)
    said = process.communicate(timeout=30)[0]
    assert said == "\nit goes on; to come back: make submit WHERE=batch JOB=1-2-3\n"
    assert process.returncode == exits.STOPPED
    assert not player.calls("batch terminate") and not player.calls("batch cancel")


def test_a_lost_network_leaves_the_job_running(
    player: Player, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    batch(player, job("RUNNABLE"), "!Could not connect to the endpoint URL")
    monkeypatch.setenv("WHERE", "batch")
    assert main() == exits.LATER
    said = capsys.readouterr().err
    assert "not done: aws batch describe-jobs: Could not connect" in said
    assert "it goes on; to come back: make submit WHERE=batch JOB=1-2-3\n" in said
