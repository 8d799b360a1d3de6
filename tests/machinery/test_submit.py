"""make submit: what it checks before anything is started, and how it leaves what it started."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from pathlib import Path

import pytest
from pipeline import exits
from player import Player

from tools.deploy.service import ROOT
from tools.submit.request import VARIABLES, SubmitError, read


def run(*command: str, **variables: str) -> subprocess.CompletedProcess[str]:
    env = {key: value for key, value in os.environ.items() if not key.startswith("MAKE")}
    return subprocess.run([*command], cwd=ROOT, env=env | variables, capture_output=True, text=True)


def test_without_aws_or_kubectl(player: Player, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", "")
    for where, name in (("batch", "aws"), ("k8s", "kubectl")):
        done = run(sys.executable, "-m", "tools.submit", WHERE=where, PATH="")
        assert done.returncode == exits.MISUSED
        assert f"not done: {name} is missing; see https://" in done.stderr


@pytest.mark.parametrize(
    ("variables", "reason"),
    [
        ({"WHERE": "moon"}, "WHERE=moon: expected batch or k8s"),
        ({"WHERE": "batch", "STORE": "runs"}, "STORE=runs: expected an address that a job can re"),
        ({"WHERE": "batch", "STORE": "gs://b/p"}, "STORE=gs://b/p: expected an address"),
        ({"WHERE": "k8s", "STORE": "s3://b/$(x)"}, "expected an address"),
        ({"WHERE": "k8s", "RUN": "a b"}, "RUN=a b: expected letters"),
        ({"WHERE": "k8s", "DATA": "2026; rm"}, "DATA=2026; rm: expected letters, digits, spaces"),
        ({"WHERE": "k8s", "JOB": "--help"}, "JOB=--help: expected what"),
        ({"WHERE": "k8s", "JOB": "x", "RUN": "y"}, "JOB=x was started before: leave STORE"),
        ({"WHERE": "k8s", "DATASET": "x", "DATASETS": "y"}, "say one of them"),
        ({"WHERE": "k8s", "DATASETS": "no-such-file"}, "DATASETS=no-such-file: No such file"),
    ],
)
def test_values_are_checked_first(variables: dict[str, str], reason: str) -> None:
    with pytest.raises(SubmitError) as caught:
        read(variables)
    assert reason in str(caught.value)


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("acme\n", "an array has 2 to 10,000 data sets, not 1; for one, say DATASET"),
        ("\n".join(f"c{n}" for n in range(10_001)), "not 10,001"),
        ("acme\nglobex\nacme\n", "data set 'acme' is there twice"),
        ("acme\n../globex\n", "data set '../globex': expected letters, digits"),
        ("acme\nglo\0bex\n", "data set 'glo\\x00bex'"),
    ],
)
def test_lists_are_checked_first(tmp_path: Path, text: str, reason: str) -> None:
    path = tmp_path / "list"
    path.write_text(text)
    started = time.monotonic()
    with pytest.raises(SubmitError) as caught:
        read({"WHERE": "k8s", "DATASETS": str(path)})
    assert reason in str(caught.value)
    assert time.monotonic() - started < 5


@pytest.mark.parametrize("value", ["$(shell touch {})", "'; touch {}; '", "`touch {}`"])
@pytest.mark.parametrize("name", VARIABLES)
def test_values_are_not_run(name: str, value: str, tmp_path: Path) -> None:
    word = value.format(tmp_path / "run")
    values = {"WHERE": "k8s"} | {name: word}
    python = f"PYTHON={sys.executable}"
    for done in (
        run("make", "submit", python, *(f"{key}={text}" for key, text in values.items())),
        run("make", "submit", python, **values),
    ):
        assert done.returncode == 2
        assert f"not done: {name}={word}: " in done.stderr
    assert not (tmp_path / "run").exists()
