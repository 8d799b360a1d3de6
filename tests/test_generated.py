"""The targets of a generated service's Makefile do what they say."""

from __future__ import annotations

import re
import shutil
from pathlib import Path

import pytest
from harness import behind_a_proxy, copied, make, manifest


def test_check_passes(baked: Path, tmp_path: Path) -> None:
    done = make(copied(baked, tmp_path), "check")
    assert done.returncode == 0, done.stdout + done.stderr


def test_help_lists_the_targets(baked: Path) -> None:
    done = make(baked, "help")
    listed = {line.split()[1] for line in done.stdout.splitlines()}
    wanted = "train run test check format loadtest loadtest-ui clean help".split()
    assert listed >= set(wanted), done.stdout
    assert make(baked).stdout == done.stdout  # what a bare `make` does


def test_same_source_and_data_give_the_same_version(baked: Path, tmp_path: Path) -> None:
    folder = copied(baked, tmp_path)
    shutil.rmtree(folder / "artifact")
    done = make(folder, "train")
    assert done.returncode == 0, done.stdout + done.stderr
    again, before = manifest(folder), manifest(baked)
    assert again["version"] == before["version"]
    assert again["files"]["model"] == before["files"]["model"]
    assert again["golden"] == before["golden"]


def test_other_source_gives_another_version(baked: Path, tmp_path: Path) -> None:
    folder = copied(baked, tmp_path)
    source = folder / "model.py"
    source.write_text(source.read_text().replace("SEED = 0", "SEED = 1"))
    assert make(folder, "train").returncode == 0
    assert manifest(folder)["version"] != manifest(baked)["version"]


def promise(folder: Path, p99_ms: float, steps: str) -> None:
    (folder / "loadtests" / "slo.toml").write_text(
        f"p99_ms = {p99_ms}\nerror_ratio = 0.001\nrequests_per_user = 10\nsteps = {steps}\n"
    )


def test_loadtest_passes_and_reports(
    baked: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, value in behind_a_proxy().items():
        monkeypatch.setenv(name, value)
    folder = copied(baked, tmp_path)
    promise(folder, 1000, "[[2, 2], [5, 3]]")
    done = make(folder, "loadtest")
    assert done.returncode == 0, done.stdout + done.stderr
    assert "SLO met" in done.stdout
    assert "<html" in (folder / "loadtests" / "report.html").read_text()


def test_loadtest_knows_how_large_a_body_may_be(
    baked: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    # As 50 rows of a model with thousands of columns are with the default.
    monkeypatch.setenv("MAX_BODY_BYTES", "9000")
    folder = copied(baked, tmp_path)
    promise(folder, 1000, "[[10, 5]]")
    done = make(folder, "loadtest")
    assert done.returncode == 0, done.stdout + done.stderr
    assert re.search(r"/predict \(\d+ rows\)", done.stderr), done.stderr


def test_loadtest_fails_when_the_promise_is_broken(baked: Path, tmp_path: Path) -> None:
    folder = copied(baked, tmp_path)
    promise(folder, 0.001, "[[2, 3]]")
    done = make(folder, "loadtest")
    assert done.returncode != 0
    assert "SLO MISSED" in done.stdout, done.stdout + done.stderr


def test_loadtest_fails_when_requests_fail(baked: Path, tmp_path: Path) -> None:
    folder = copied(baked, tmp_path)
    promise(folder, 1000, "[[2, 3]]")
    # Nothing listens there.
    done = make(folder, "loadtest", "HOST=http://127.0.0.1:9")
    assert done.returncode != 0
    assert "SLO MISSED" in done.stdout, done.stdout + done.stderr
