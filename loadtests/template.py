"""Importing this makes the packages of a service importable: `tools` and `training`, as they lie.

Last on the path, as the template has `loadtests` and `tests` too.
"""

from __future__ import annotations

import sys
from pathlib import Path

# What Python would cache there would be generated into services.
sys.dont_write_bytecode = True
sys.path.append(str(Path(__file__).parents[1] / "{{cookiecutter.service_slug}}"))
