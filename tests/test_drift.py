"""make drift on a Parquet file, for which a service has no library by itself."""

from __future__ import annotations

import subprocess
from pathlib import Path

from harness import copied
from kinds import models_venv

CODE = """
from pathlib import Path

from model import load_data
from tools.drift.recent import check

frame, _ = load_data()
for recent in (frame, frame * 3):
    recent.to_parquet("recent.parquet")
    print(check(Path("recent.parquet")).drift)
"""


def test_recent_inputs_may_be_parquet(baked: Path, tmp_path: Path) -> None:
    python = models_venv("pyarrow") / "bin" / "python"
    done = subprocess.run(
        [python, "-c", CODE], cwd=copied(baked, tmp_path), capture_output=True, text=True
    )
    assert done.stdout.split() == ["False", "True"], done.stderr
