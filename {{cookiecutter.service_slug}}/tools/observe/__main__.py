"""`make observe`: run the service, and watch its metrics as they arrive. Needs no account."""

from __future__ import annotations

import argparse
import json
import math
import signal
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path

from rich.console import Console
from rich.live import Live

from loadtests.serving import free_port, ready
from loadtests.slo import Slo
from service.artifact import Manifest, read_manifest
from service.errors import Refusal
from service.settings import Settings
from tools.observe import agent, processes
from tools.observe.facts import Facts
from tools.observe.listen import listening
from tools.observe.picture import picture
from tools.observe.view import View
from tools.observe.windows import Windows

FRAME_SECONDS = 0.5
PICTURE_SECONDS = 60


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m tools.observe", description=__doc__)
    parser.add_argument("--load", action="store_true", help="load the service, as loadtests does")
    parser.add_argument("--no-traces", action="store_true", help="metrics only, no test agent")
    parser.add_argument(
        "--picture", type=Path, metavar="FILE.svg", help="draw to a file at the end"
    )
    parser.add_argument(
        "--seconds",
        type=float,
        help=f"end after so long (default: at Ctrl-C; with --picture {PICTURE_SECONDS})",
    )
    arguments = parser.parse_args()
    if arguments.picture and arguments.seconds is None:
        arguments.seconds = PICTURE_SECONDS
    console = Console(highlight=False)
    if not (console.is_terminal or arguments.picture):
        parser.error("this draws on a terminal; where there is none, say --picture FILE.svg")
    # As Ctrl-C does, so that nothing is left running.
    for number in (signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, lambda *_: sys.exit(1))
    try:
        observe(console, arguments)
    except KeyboardInterrupt:  # while it starts or stops
        return 130
    except Refusal as refusal:
        console.print(f"refusing to start: {refusal}", soft_wrap=True, markup=False)
        return 3
    except processes.Ended as ended:
        console.print(str(ended), soft_wrap=True, markup=False)
        return ended.status
    return 0


def observe(console: Console, arguments: argparse.Namespace) -> None:
    """Run all there is to run, and draw until the time is over or somebody stops it.

    Raises Refusal or Ended if there is nothing to observe.
    """
    settings = Settings.from_env()
    manifest = read_manifest(settings.artifact_dir)
    port = free_port(settings.port)
    if settings.port not in (0, port):
        raise Refusal(f"port {settings.port} is taken; choose one by PORT=... make observe")
    host = "127.0.0.1" if settings.bind_host in ("0.0.0.0", "::") else settings.bind_host
    url = f"http://{host}:{port}"
    env = {"PORT": str(port), "LOG_FORMAT": "text", "DD_TRACE_ENABLED": "false"}
    windows, page = Windows(), None
    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="observe-")))
        env["DD_DOGSTATSD_URL"] = stack.enter_context(listening(windows))
        if not arguments.no_traces and (program := agent.install(console)):
            traces = stack.enter_context(agent.running(program, folder / "agent.log"))
            env |= {"DD_TRACE_ENABLED": "true", "DD_TRACE_AGENT_URL": traces.url}
            page = traces.page
        log = folder / "service.log"
        command = [sys.executable, "-m", "service"]
        service = stack.enter_context(processes.running(command, env, log))
        with console.status("starting the service"):
            processes.await_ready(service, log, lambda: ready(url))
        if arguments.load:
            stack.enter_context(processes.load(url, folder / "load.log"))
        facts = Facts(url, page, log, example(folder, url, manifest), manifest, Slo.read())
        view = View(windows, facts)
        with suppress(KeyboardInterrupt), screen(console, view) as draw:
            end = time.monotonic() + (arguments.seconds or math.inf)
            while time.monotonic() < end:
                processes.check(service, log)
                draw()
                time.sleep(FRAME_SECONDS)
        if arguments.picture:
            arguments.picture.write_text(picture(view, f"make observe: {manifest.name}"))
        with console.status("stopping"):
            stack.close()


def example(folder: Path, url: str, manifest: Manifest) -> str:
    """Return a command that makes a request, with a row that was kept aside in training."""
    body = folder / "example.json"
    body.write_text(json.dumps({"instances": manifest.golden.instances[:1]}))
    return f"curl -s {url}/predict -H 'Content-Type: application/json' -d @{body}"


@contextmanager
def screen(console: Console, view: View) -> Iterator[Callable[[], None]]:
    """Take over the terminal, if there is one; yields what draws the view anew."""
    if not console.is_terminal:
        yield lambda: None
        return
    with Live(view, console=console, screen=True, auto_refresh=False) as live:
        yield live.refresh


if __name__ == "__main__":
    sys.exit(main())
