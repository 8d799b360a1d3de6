"""Fixtures: one service, generated and trained once, that most tests read and some copy."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest
from harness import Service, bake, make, serve


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--times", type=int, default=1, help="run every test so many times")


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    if (times := metafunc.config.getoption("times")) > 1:
        metafunc.fixturenames.append("turn")
        metafunc.parametrize("turn", range(times))


@pytest.fixture(scope="session")
def baked(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The default service, trained; not to be changed."""
    folder = bake(tmp_path_factory.mktemp("baked"))
    done = make(folder, "train")
    assert done.returncode == 0, done.stdout + done.stderr
    return folder


@pytest.fixture(scope="session")
def live(baked: Path) -> Iterator[Service]:
    """The default service, running; not to be stopped."""
    with serve(baked) as service:
        yield service


@pytest.fixture(scope="session")
def chromium() -> str:
    """The browser's path. A laptop may lack it; in CI its absence is a failure."""
    found = shutil.which("chromium")
    if not found:
        if os.environ.get("CI"):
            pytest.fail("chromium is missing")
        pytest.skip("needs chromium")
    return found
