"""The fingerprint of the code that answers: what counts, and what does not."""

from __future__ import annotations

import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from service.source import ROOT, edited, files, fingerprint

FILES = {
    "model.py": '''
        """A model."""
        import numpy as np, flats
        from features import text
        def load_data():
            from data.clean import tidy
        def predict(model, frame):
            """Answer."""
            return model.predict(frame) > 0.5  # half
    ''',
    "flats.py": "import pandas\nimport rooms.size as size",
    "features/__init__.py": "",
    "features/text.py": "from . import words\nfrom .sub.deep import x\nfrom service import schema",
    "features/words.py": "WORDS = ['a']",
    "features/unused.py": "",
    "features/sub/__init__.py": "from ..words import WORDS",
    "features/sub/deep.py": "import flats\nx = 1",
    "rooms/size.py": "",  # a package without __init__.py
    "data/clean.py": "",
    "unused.py": "",
    "numpy.txt": "",
    "service/schema.py": "",
    "datadog/metrics.yaml": "",
}


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    for name, text in FILES.items():
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text(text.replace("\n        ", "\n"))
    return tmp_path


def test_modules_of_the_folder_are_found_and_no_others(folder: Path) -> None:
    assert files(folder) == [
        "model.py",
        "data/clean.py",
        "features/__init__.py",
        "features/sub/__init__.py",
        "features/sub/deep.py",
        "features/text.py",
        "features/words.py",
        "flats.py",
        "rooms/size.py",
    ]


def test_modules_may_import_each_other_and_model_py(folder: Path) -> None:
    (folder / "flats.py").write_text("import model, unused")
    (folder / "unused.py").write_text("import flats")
    assert {"model.py", "flats.py", "unused.py"} <= set(files(folder))
    assert files(folder).count("model.py") == 1


def test_steps_of_training_bring_what_they_import(folder: Path) -> None:
    (folder / "steps.py").write_text("import model, flats\nfrom unused import x\n")
    found = files(folder, "steps.py")
    assert found[0] == "steps.py" and {"flats.py", "unused.py"} <= set(found)
    assert "steps.py" not in files(folder)


def change(folder: Path, name: str, old: str, new: str) -> bool:
    """Edit a file; tell whether that counts."""
    before = fingerprint(folder)
    text = (folder / name).read_text()
    assert old in text
    (folder / name).write_text(text.replace(old, new))
    assert bool(edited(before, folder)) == (fingerprint(folder) != before)
    return fingerprint(folder) != before


@pytest.mark.parametrize(
    ("name", "old", "new"),
    [
        ("model.py", "  # half", ""),
        ("model.py", "  # half", "  # 0.5"),
        ("model.py", '"""Answer."""', '"""Answer every row."""'),
        ("model.py", '"""A model."""\n', ""),
        ("model.py", "(frame) > 0.5", "(\n        frame,\n    ) > (0.5)"),
        ("model.py", "def predict", "\n\ndef predict"),
        ("unused.py", "", "x = 1"),
        ("features/unused.py", "", "x = 1"),
        ("service/schema.py", "", "x = 1"),
        ("features/words.py", "'a'", '"a"'),
    ],
)
def test_what_does_not_count(name: str, old: str, new: str, folder: Path) -> None:
    assert not change(folder, name, old, new)


@pytest.mark.parametrize(
    ("name", "old", "new"),
    [
        ("model.py", "> 0.5", "> 0.9"),
        ("model.py", "> 0.5", ">= 0.5"),
        ("model.py", "return model", "model"),
        ("model.py", "flats", "flats, unused"),
        ("model.py", '"""Answer."""', 'x = """Answer."""'),
        ("features/words.py", "'a'", "None"),
        ("features/words.py", "'a'", "b'a'"),
        ("features/words.py", "['a']", "['a', None]"),
        ("features/sub/deep.py", "x = 1", "x = True"),
        ("rooms/size.py", "", "def f(x, /): pass"),
        ("data/clean.py", "", "x = 1"),
        ("model.py", "return", "return ("),  # which does not even parse
    ],
)
def test_what_counts(name: str, old: str, new: str, folder: Path) -> None:
    assert change(folder, name, old, new)


def test_a_file_that_replaces_another_counts(folder: Path) -> None:
    before = fingerprint(folder)
    (folder / "flats").mkdir()
    shutil.move(folder / "flats.py", folder / "flats" / "__init__.py")
    assert fingerprint(folder) != before


def test_the_line_names_the_files(folder: Path) -> None:
    (folder / "model.py").write_text("import flats")
    (folder / "flats.py").write_text("")
    line = edited("0" * 64, folder)
    assert line == "the code that answers (model.py, flats.py) is not that of training"


def test_other_versions_of_python_agree() -> None:
    others = [f"python3.{minor}" for minor in range(11, 16) if minor != sys.version_info.minor]
    code = "from service.source import fingerprint; print(fingerprint())"
    for python in filter(shutil.which, others):
        done = subprocess.run([python, "-c", code], cwd=ROOT, capture_output=True, text=True)
        # A name may be there that stands for nothing (pyenv's).
        assert done.returncode or done.stdout.strip() == fingerprint(), python
