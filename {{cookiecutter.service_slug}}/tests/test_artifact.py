"""What training left in artifact/: it passed the gates of model.py, and nothing else is served."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

import model
from service import artifact
from service.artifact import Manifest
from service.engine import Engine
from service.errors import Refusal
from service.settings import Settings
from tests.conftest import ARTIFACT, ROOT
from training.gates import Gate


def test_it_passed_the_gates_of_model_py(manifest: Manifest) -> None:
    assert list(manifest.gates) == list(model.GATES), "run `make train`"
    assert all(Gate.parse(text).passes(manifest.metrics) for text in model.GATES)


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        (lambda m: m["files"]["model"].update(sha256="0" * 64), "sha256 .* altered or cut short"),
        (lambda m: m["runtime"].update(numpy="0.1"), "trained with numpy 0.1, but"),
        (lambda m: m["golden"]["predictions"][0].clear(), "golden instance 0: trained model gave"),
        (lambda m: m.update(format=0), "format 0, this service reads 2"),
    ],
)
def test_what_is_not_as_it_was_trained_is_refused(
    tmp_path: Path, change: Callable[[dict[str, Any]], None], reason: str
) -> None:
    for path in ARTIFACT.iterdir():
        (tmp_path / path.name).symlink_to(path)
    content = json.loads((ARTIFACT / artifact.MANIFEST).read_text())
    change(content)
    (tmp_path / artifact.MANIFEST).unlink()
    (tmp_path / artifact.MANIFEST).write_text(json.dumps(content))
    with pytest.raises(Refusal, match=reason):
        engine = Engine(Settings(artifact_dir=tmp_path), model.predict)
        try:
            engine.start()
        finally:
            engine.batcher.close()


def test_a_refusal_is_one_line_and_a_failure(tmp_path: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-m", "service"],
        cwd=ROOT,
        env=os.environ | {"ARTIFACT_DIR": str(tmp_path), "PORT": "0", "WEB_CONCURRENCY": "1"},
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert done.returncode == 3
    [line] = [x for x in done.stderr.splitlines() if x.startswith("refusing to start: ")]
    assert "run `make train` first" in line
    assert "Traceback" not in done.stderr
