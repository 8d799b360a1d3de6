"""What requirements.txt says, and what of it is not fixed."""

from __future__ import annotations

from importlib import metadata
from pathlib import Path

import pytest

from training import requirements
from training.errors import TrainingError

LOCK = "flask==3.1.3 \\\n    --hash=sha256:0\nmsgspec==0.22.0 \\\n    --hash=sha256:0\n"


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "requirements.lock").write_text(LOCK)
    return tmp_path


def lines(folder: Path, text: str) -> list[str]:
    (folder / "requirements.txt").write_text(text)
    return list(requirements.not_fixed(folder))


@pytest.mark.parametrize(
    "text",
    [
        "",
        "# nothing\n\n--index-url https://example.com/simple\n",
        "flask==3.1.3\nmsgspec==0.22.0  # decodes\n",
        "Flask[async] == 3.1.3 ; python_version >= '3.11'\n",
        "msgspec==0.22.0 \\\n    --hash=sha256:0\n",
        "no-such-package==1 ; sys_platform == 'win32'\n",
    ],
)
def test_all_is_fixed(text: str, folder: Path) -> None:
    assert lines(folder, text) == []


def test_what_is_not_is_named(folder: Path) -> None:
    (folder / "more.txt").write_text("numpy==2.4.6\n")
    here = metadata.version("flask")
    assert lines(folder, "flask>=3\nmsgspec==0.21.0\n-r more.txt\n") == [
        f"requirements.txt does not pin flask: write flask=={here}, then `make lock`",
        "requirements.lock does not have msgspec==0.21.0: run `make lock`",
        "requirements.lock does not have numpy==2.4.6: run `make lock`",
    ]
    assert "does not pin flask" in lines(folder, "flask==3.*\n")[0]


def test_a_line_without_a_name_is_refused(folder: Path) -> None:
    with pytest.raises(TrainingError, match="'git.*' has no name: write it as `name @ git"):
        lines(folder, "git+https://example.com/x.git\n")


def test_what_is_installed_for_it(folder: Path) -> None:
    (folder / "requirements.txt").write_text("Flask\ngunicorn[gevent]\n")
    found = requirements.installed(folder / "requirements.txt")
    assert {"flask", "werkzeug", "gunicorn", "gevent", "greenlet"} <= found
    assert not found & {"rich", "numpy", "tornado", "asgiref"}
