"""Generate the default service into a folder and train it: `python tests/bake.py FOLDER`."""

from __future__ import annotations

import shutil
import sys
from pathlib import Path

from harness import bake, train


def main(into: Path) -> None:
    shutil.rmtree(into, ignore_errors=True)
    done = train(bake(into))
    if done.returncode:
        sys.exit(done.stdout + done.stderr)


if __name__ == "__main__":
    main(Path(sys.argv[1]))
