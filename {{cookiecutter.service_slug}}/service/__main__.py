"""`python -m service`: check the settings, then become gunicorn.

`python -m service --check` verifies the artifact as every start does, and ends: the image's build
runs it, so that there is no image of a model that would not start.
"""

from __future__ import annotations

import os
import sys

from service.errors import exit_if_refused
from service.settings import Settings


@exit_if_refused()
def main() -> None:
    # Before gunicorn, which reads WEB_CONCURRENCY too and answers a bad one with a traceback.
    Settings.from_env()
    if sys.argv[1:] == ["--check"]:
        check()
        return
    if not os.environ.get("WEB_CONCURRENCY"):  # empty counts as absent here, not there
        os.environ.pop("WEB_CONCURRENCY", None)
    os.execv(sys.executable, [sys.executable, "-m", "gunicorn", *sys.argv[1:]])


def check() -> None:
    # Not above: becoming gunicorn, which imports it all again, should not take longer for this.
    from service.app import main as create

    engine = create().extensions["engine"]
    engine.start()
    print(f"artifact {engine.manifest.version} is intact and answers as it did when trained")


if __name__ == "__main__":
    main()
