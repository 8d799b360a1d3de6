"""datadog/ as a service has it that answered the question `ci` one way or another."""

from __future__ import annotations

import shutil
from pathlib import Path

# In the template all lie beside each other.
ALL = Path(__file__).parents[2] / "{{cookiecutter.service_slug}}" / "datadog" / "retrain"


def keep(ci: str, datadog: Path) -> None:
    """Let a copy of datadog/ have the definition of this CI system, or none."""
    folder = datadog / "retrain"
    shutil.rmtree(folder, ignore_errors=True)
    if ci != "none":
        folder.mkdir()
        shutil.copy(ALL / f"{ci}.yaml", folder)
