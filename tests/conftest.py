"""Fixtures: one service, generated and trained once, that most tests read and some copy."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from harness import Service, bake, make, serve
from thorough import thorough
from xdist.scheduler import LoadScopeScheduling

# These hold on a busy machine, so three run at a time; others want it for themselves. The tests
# of a file stay with one worker, for what they share is slow to make.
TOGETHER = {
    "test_ab_demo",
    "test_aws",
    "test_boot",
    "test_browser",
    "test_ci",
    "test_ci_azure",
    "test_ci_github",
    "test_ci_gitlab",
    "test_ci_jenkins",
    "test_codepipeline",
    "test_cruft",
    "test_demo",
    "test_dogstatsd",
    "test_drift",
    "test_feedback",
    "test_fuzz",
    "test_generated",
    "test_image",
    "test_infra_azure",
    "test_limits",
    "test_logs",
    "test_make",
    "test_manifests",
    "test_models",
    "test_pipeline",
    "test_planner",
    "test_protocols",
    "test_proxied",
    "test_shadow_demo",
    "test_submit",
    "test_swaps",
    "test_telemetry_faults",
    "test_template",
    "test_threads",
}
# These hold beside each other, and not beside trainings.
BESIDE = {"test_ab", "test_rollout", "test_shadow", "test_trace_rate"}
SHARED = {"test_submit": "test_image"}  # containers


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    for item in items:
        if item.path.stem in TOGETHER:
            item.add_marker("together")
        if item.path.stem in BESIDE:
            item.add_marker("beside")
        if thorough(item):
            item.add_marker("thorough")


class ByFile(LoadScopeScheduling):  # type: ignore[misc]
    """Gives whole files to workers. (xdist's own groups are lost on pytest 9.2.)"""

    def _split_scope(self, nodeid: str) -> str:
        name = Path(nodeid.partition("::")[0]).stem
        return SHARED.get(name, name)


def pytest_xdist_make_scheduler(config: pytest.Config, log: Any) -> LoadScopeScheduling:
    return ByFile(config, log)


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
