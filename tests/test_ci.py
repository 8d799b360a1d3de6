"""The question `ci`: which files each answer keeps, how long they are, and what is alike in all."""

from __future__ import annotations

from pathlib import Path

import pytest
from harness import bake

# The CI files of each system, which a service's owner reads.
FILES = {
    "github": [f".github/workflows/{name}.yaml" for name in ("check", "deliver", "operate")],
    "gitlab": [".gitlab-ci.yml"],
    "jenkins": ["Jenkinsfile", "Jenkinsfile.operate"],
    "azure": ["azure-pipelines.yml", "azure-operate.yml"],
    "aws": [
        f"buildspec/{name}.yml"
        for name in ("build", "check", "drift", "production", "rollback", "shadow", "staging")
    ],
    "none": [],
}
LONGEST = 70  # lines


@pytest.fixture(scope="module")
def services(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    return {ci: bake(tmp_path_factory.mktemp(ci), ci=ci) for ci in FILES}


def contents(folder: Path) -> dict[str, bytes]:
    files = (path for path in folder.rglob("*") if path.is_file())
    return {str(path.relative_to(folder)): path.read_bytes() for path in files}


@pytest.mark.parametrize("ci", FILES)
def test_an_answer_keeps_its_own_files_and_changes_no_other(
    services: dict[str, Path], ci: str
) -> None:
    common = contents(services["none"])
    found = contents(services[ci])
    more = set(found) - set(common)
    assert {name: found[name] for name in common} == common
    assert set(FILES[ci]) <= more
    others = set().union(*(contents(services[other]) for other in FILES if other != ci))
    assert not more & others  # nothing of another system


@pytest.mark.parametrize("ci", FILES)
def test_no_file_is_longer_than_one_reads(services: dict[str, Path], ci: str) -> None:
    for name in FILES[ci]:
        assert len((services[ci] / name).read_text().splitlines()) <= LONGEST, name
