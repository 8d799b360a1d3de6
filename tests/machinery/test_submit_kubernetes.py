"""make submit WHERE=k8s, with a kubectl that plays what a cluster would say."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import yaml
from pipeline import exits
from player import Json, Player

from tools.deploy.service import NAME, ROOT
from tools.submit.__main__ import main


def cronjob() -> Json:
    text = (ROOT / "k8s" / "components" / "train" / "cronjob.yaml").read_text()
    found: Json = yaml.safe_load(text)
    return found


def pod(name: str, state: Json | None = None, index: str = "", **status: Any) -> Json:
    labels = {"batch.kubernetes.io/job-completion-index": index}
    statuses = {"containerStatuses": [{"state": state}]} if state else {}
    return {
        "metadata": {"name": name, "creationTimestamp": name, "labels": labels},
        "spec": {"containers": [{"image": "an-image"}]},
        "status": {"phase": "Running" if state else "Pending"} | statuses | status,
    }


def exited(code: int) -> Json:
    return {"terminated": {"exitCode": code}}


def kjob(condition: str = "", **spec: Any) -> Json:
    ended = {"type": condition, "status": "True", "reason": "DeadlineExceeded", "message": "late"}
    return {"spec": spec, "status": {"conditions": [ended] if condition else []}}


def cluster(player: Player, jobs: list[Json], pods: list[list[Json]], **more: Any) -> None:
    player.plays(
        get_cronjob=[cronjob()],
        create=[{"metadata": {"name": "train-1"}}],
        get_jobs=[{"items": jobs[:1]}],
        get_job=list(jobs),
        get_pods=[{"items": each} for each in pods],
        get_events=[{"items": []}],
        logs=["a line"],
        **more,
    )


def test_a_job_of_the_cron_job_s_template_is_followed(
    player: Player, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    running, again = pod("p-1", {"running": {}}), pod("p-2", exited(3))
    cluster(
        player,
        [kjob(), kjob(), kjob(), kjob("Failed")],
        [[], [pod("p-1")], [running], [pod("p-1", exited(75)), again]],
    )
    monkeypatch.setenv("WHERE", "k8s")
    monkeypatch.setenv("STORE", "gs://bucket/model")
    monkeypatch.setenv("RUN", "r-1")
    monkeypatch.setenv("DATA", "s3://data/2026-11/*.parquet")
    assert main() == exits.NOTHING_NEW
    (made,) = player.created()
    template = cronjob()["spec"]["jobTemplate"]
    spec, expected = (each["spec"]["template"]["spec"] for each in (made, template))
    (container,), (original,) = spec.pop("containers"), expected.pop("containers")
    # But for the command, which hides the exit code, and the values, it is the template.
    assert spec == expected and made["spec"]["backoffLimit"] == template["spec"]["backoffLimit"]
    assert "command" not in container and original.pop("command")
    values = {each["name"]: each for each in container.pop("env")}
    assert values.keys() == {"STORE", "RUN", "DATA", "POD_NAME"}
    assert (
        values["RUN"]["value"] == "r-1" and values["DATA"]["value"] == "s3://data/2026-11/*.parquet"
    )
    del original["env"]
    assert container == original
    lines = [line.partition(" s  ")[2] or line for line in capfd.readouterr().out.splitlines()]
    assert lines == [
        "==> train-1: namespace models-training of Kubernetes",
        "no pod yet",
        "p-1: Pending",
        "p-1: Running",
        "a line",
        "p-2: Running",
        "a line",
    ]


def test_an_indexed_job_has_a_pod_for_each_data_set(
    player: Player,
    listed: Path,
    monkeypatch: pytest.MonkeyPatch,
    capfd: pytest.CaptureFixture[str],
) -> None:
    pods = [pod("0", exited(75), "0"), pod("1", exited(3), "1"), pod("2", exited(0), "0")]
    done = kjob("Failed", completionMode="Indexed", completions=2)
    cluster(player, [done], [pods])
    monkeypatch.setenv("WHERE", "k8s")
    # The later attempt counts, and that there was nothing new is no failure.
    assert main() == 0
    kept, made = player.created()
    assert kept["kind"] == "ConfigMap" and kept["data"]["list"] == listed.read_text()
    spec = made["spec"]
    assert (spec["completions"], spec["completionMode"]) == (3, "Indexed")
    assert spec["backoffLimitPerIndex"] == 3 and "backoffLimit" not in spec
    actions = [rule["action"] for rule in spec["podFailurePolicy"]["rules"]]
    assert actions == ["Ignore", "FailIndex"]
    inner = spec["template"]["spec"]
    assert inner["volumes"][-1]["configMap"] == {"name": kept["metadata"]["name"]}
    (container,) = inner["containers"]
    (path,) = [each["value"] for each in container["env"] if each["name"] == "DATASETS"]
    assert str(Path(path).parent) == container["volumeMounts"][-1]["mountPath"]


PULL = {"waiting": {"reason": "ImagePullBackOff", "message": "no such tag"}}
UNBOUND = [{"type": "PodScheduled", "status": "False", "message": "no node is big enough"}]


def test_an_image_that_cannot_be_pulled_ends_the_wait(
    player: Player, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    cluster(player, [kjob()], [[pod("p", conditions=UNBOUND)], [pod("p", PULL)]])
    monkeypatch.setenv("WHERE", "k8s")
    assert main() == exits.MISUSED
    said = capsys.readouterr()
    assert "p: Pending: no node is big enough" in said.out
    assert "not done: the image cannot be pulled: an-image. Was it pushed? no such tag" in said.err


def test_a_job_that_kubernetes_ends_may_be_tried_again(
    player: Player, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    cluster(player, [kjob("Failed")], [[]])
    monkeypatch.setenv("WHERE", "k8s")
    assert main() == exits.LATER
    assert "ended from outside: DeadlineExceeded: late" in capsys.readouterr().out


def test_no_cron_job(
    player: Player, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    player.plays(get_cronjob=['!Error from server (NotFound): cronjobs "x" not found'])
    monkeypatch.setenv("WHERE", "k8s")
    assert main() == exits.MISUSED
    said = capsys.readouterr().err
    assert f"there is no CronJob {NAME}-train in models-training: kubectl apply -k k8s/tr" in said


def test_an_unknown_job(
    player: Player, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    cluster(player, [], [])
    monkeypatch.setenv("WHERE", "k8s")
    monkeypatch.setenv("JOB", "train-0")
    assert main() == exits.MISUSED
    assert "not done: JOB=train-0: there is none such in models-tr" in capsys.readouterr().err
