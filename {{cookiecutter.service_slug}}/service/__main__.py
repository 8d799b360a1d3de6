"""`python -m service`: check the settings, then become gunicorn."""

from __future__ import annotations

import os
import sys

from service.errors import Refusal, refuse
from service.settings import Settings


def main() -> None:
    # Before gunicorn, which reads WEB_CONCURRENCY too and answers a bad one with a traceback.
    try:
        Settings.from_env()
    except Refusal as refusal:
        refuse(refusal)
    if not os.environ.get("WEB_CONCURRENCY"):  # empty counts as absent here, not there
        os.environ.pop("WEB_CONCURRENCY", None)
    os.execv(sys.executable, [sys.executable, "-m", "gunicorn", *sys.argv[1:]])


if __name__ == "__main__":
    main()
