"""`make loadtest`: run Locust against a service, one that runs already or one started for it."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

from loadtests.serving import environment, serving
from tools.command import Parser

FOLDER = Path(__file__).parent


def main() -> int:
    parser = Parser("loadtests", __doc__, "not run")
    parser.add_argument("host", nargs="?", help="like http://localhost:8000; default: start one")
    parser.add_argument("--ui", action="store_true", help="drive it from Locust's own page")
    arguments = parser.parse_args()
    if arguments.host:
        if not re.fullmatch(r"https?://[^\s/]+/?", arguments.host):
            parser.error(f"HOST={arguments.host}: expected an address like http://localhost:8000")
        return locust(arguments.host, arguments.ui)
    with serving(environment()) as host:
        return locust(host, arguments.ui)


def locust(host: str, ui: bool) -> int:
    command = [sys.executable, "-m", "locust", "--host", host, "-f"]
    if ui:  # where users are set on the page, a shape would overrule them
        print("open http://localhost:8089")
        command += [f"{FOLDER}/locustfile.py", "--web-host", "127.0.0.1"]
    else:
        command += [f"{FOLDER}/locustfile.py,{FOLDER}/steps.py", "--headless"]
        command += ["--html", f"{FOLDER}/report.html", "--only-summary", "--loglevel", "WARNING"]
    try:
        status = subprocess.run(command, cwd=FOLDER.parent, env=environment()).returncode
    except KeyboardInterrupt:
        return 130
    if not ui:
        print(f"report: {FOLDER.name}/report.html")
    return status


if __name__ == "__main__":
    sys.exit(main())
