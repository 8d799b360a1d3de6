"""`python -m service`: check the settings, then be gunicorn.

`python -m service --check` verifies the artifact as every start does, and ends: the image's build
runs it, so that there is no image of a model that would not start.

`python -m service serve` is what SageMaker makes of the image's command.
"""

from __future__ import annotations

import os
import sys

try:
    from service.errors import exit_if_refused
    from service.settings import Settings
except ImportError as error:  # an older Python, or one without the packages
    sys.exit(f"refusing to start: {error}; this Python is {sys.executable}, not that of `make run`")


@exit_if_refused()
def main() -> None:
    settings = Settings.from_env()
    if sys.argv[1:] == ["--check"]:
        check()
        return
    if sys.argv[1:] == ["serve"]:
        del sys.argv[1]  # which gunicorn would take for an application's name
    # gunicorn reads it too, when it is imported, and answers one that it cannot read with a
    # traceback. So it gets what was understood here, and is imported only now.
    os.environ["WEB_CONCURRENCY"] = str(settings.web_concurrency)
    from service.server import Server

    Server(prog="gunicorn").run()


def check() -> None:
    # Not above: becoming gunicorn should not take longer for this.
    from service.app import main as create

    engine = create().extensions["engine"]
    engine.start()
    print(f"artifact {engine.manifest.version} is intact and answers as it did when trained")


if __name__ == "__main__":
    main()
