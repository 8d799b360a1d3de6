"""How long the service takes from process start to ready, and where the time goes.

    python -m loadtests.startup             about 2 minutes; writes results/startup.{md,json}

Measured against a bare interpreter that imports the libraries of the service's requirements.txt and
loads the model. Both run on one core, in turns, with bytecode cached; figures are medians.
"""

from __future__ import annotations

import json
import os
import re
import socket
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import asdict, dataclass, field
from statistics import median
from threading import Thread

from loadtests import measure, outcome
from loadtests.agent import Failure
from loadtests.environments import ROWS, Installed, install
from loadtests.openloop import get, post
from loadtests.running import START_SECONDS, free_port, stop
from loadtests.servers import OURS

MOST = 1.5
POLL_SECONDS = 0.002
SHOWN = 15
STANDARD = "(standard library)"

# gunicorn is the server, not a library: its own start is part of what is measured.
BARE = """\
import sys
import flask, flask_swagger_ui, gevent, joblib, msgspec, numpy, pandas, sklearn
joblib.load(sys.argv[1])
print("loaded", flush=True)
"""
COMMANDS = {
    "python -m service": ("python", "-m", "service"),
    "gunicorn": OURS.command,
}
# What the log says at the end of each stage, up to the first 200 of /readyz.
STAGES = {
    "interpreter, gunicorn, libraries, model": "Starting gunicorn",
    "listening": "Listening at",
    "worker forked": "Booting worker",
}
# Of training, tests and installing: what brings one of these at serving time wastes its time.
NEEDLESS = (
    *(
        "training",
        "pipeline",
        "luigi",
        "obstore",
        "matplotlib",
        "rich",
        "PIL",
        "pytest",
        "pip",
        "setuptools",
        "pkg_resources",
    ),
    *("sklearn.datasets", "sklearn.inspection", "sklearn.model_selection", "unittest", "doctest"),
)
_IMPORT = re.compile(r"import time: +(\d+) \| +(\d+) \| ( *)(\S+)$")


@dataclass
class Log:
    """What a process writes, and when: read while it runs."""

    lines: list[tuple[float, str]] = field(default_factory=list)

    def follow(self, process: subprocess.Popen[bytes]) -> None:
        assert process.stdout
        for line in process.stdout:
            self.lines.append((time.perf_counter(), line.decode(errors="replace").rstrip()))

    def when(self, text: str) -> float:
        """Return when a line with this text was written; NaN if none was."""
        return next((when for when, line in self.lines if text in line), float("nan"))


@dataclass(frozen=True)
class Start:
    """Seconds from process start: to ready, and to the end of each stage before."""

    ready: float
    stages: dict[str, float]


@dataclass(frozen=True)
class Imported:
    """A module's import; `own` leaves out what it imported in turn. Seconds."""

    name: str
    own: float
    total: float
    parent: str


@contextmanager
def started(
    installed: Installed, command: Sequence[str], extra: dict[str, str]
) -> Iterator[tuple[int, float, Log]]:
    """Start the service, and yield its port, when it was started, and its log, once it is ready."""
    port, log = free_port(), Log()
    environ = installed.environ(port) | extra
    del environ["PYTHONDONTWRITEBYTECODE"]
    began = time.perf_counter()
    process = subprocess.Popen(
        ["taskset", "-c", str(measure.SERVER_CORE), *installed.fill(command, port)],
        cwd=installed.folder,
        env=environ,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,  # where -X importtime writes
        start_new_session=True,
    )
    reader = Thread(target=log.follow, args=(process,))
    reader.start()
    try:
        while not (ask(port, get("/readyz")) or "").startswith("HTTP/1.1 200"):
            if process.poll() is not None or time.perf_counter() - began > START_SECONDS:
                raise Failure("the service did not become ready: " + str(log.lines[-5:]))
            time.sleep(POLL_SECONDS)
        yield port, began, log
    finally:
        stop(process)
        reader.join()


def ask(port: int, request: bytes) -> str | None:
    """Return what is answered; a connection made early waits until a worker takes it."""
    with suppress(OSError), socket.create_connection(("127.0.0.1", port), timeout=10) as connection:
        connection.sendall(request)
        return connection.recv(65536).decode(errors="replace")
    return None


def time_service(installed: Installed, command: Sequence[str]) -> Start:
    with started(installed, command, {}) as (_, began, log):
        ready = time.perf_counter() - began
    return Start(ready, {stage: log.when(text) - began for stage, text in STAGES.items()})


def time_bare(installed: Installed, code: str, *options: str) -> tuple[float, list[str]]:
    """Return the seconds until the code has said that it is done, and what it wrote besides."""
    environ = installed.environ(0)
    del environ["PYTHONDONTWRITEBYTECODE"]
    command = ["taskset", "-c", str(measure.SERVER_CORE), "python", *options, "-c", code]
    began = time.perf_counter()
    with subprocess.Popen(
        [*command, str(installed.model)],
        cwd=installed.folder,
        env=environ,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE if options else None,
        text=True,
    ) as process:
        assert process.stdout
        if options:
            return 0.0, process.communicate()[1].splitlines()
        said = process.stdout.readline()
        seconds = time.perf_counter() - began
        process.communicate()
    if process.returncode or not said:
        raise Failure("the bare interpreter failed")
    return seconds, []


def imports(lines: Sequence[str]) -> list[Imported]:
    """Read what -X importtime wrote: each module after those it imported, deeper by one."""
    found: list[Imported] = []
    ancestors: list[str] = []
    for line in reversed(lines):
        if match := _IMPORT.match(line):
            depth = len(match[3]) // 2
            parent = ancestors[min(depth, len(ancestors)) - 1] if ancestors and depth else ""
            found.append(Imported(match[4], int(match[1]) / 1e6, int(match[2]) / 1e6, parent))
            ancestors[depth:] = [match[4]]
    return found[::-1]


@dataclass(frozen=True)
class Package:
    """What the modules of one package took themselves, and who asked for the package first."""

    name: str
    modules: int
    own: float
    total: float
    parent: str


def packages(found: Sequence[Imported]) -> dict[str, Package]:
    groups: dict[str, list[Imported]] = {}
    for module in found:
        groups.setdefault(package_name(module.name), []).append(module)
    return {
        name: Package(
            name=name,
            modules=len(modules),
            own=sum(module.own for module in modules),
            # Those that another package's module asked for; what they brought is in there.
            total=sum(m.total for m in modules if package_name(m.parent) != name),
            parent=next((m.parent for m in modules if package_name(m.parent) != name), ""),
        )
        for name, modules in groups.items()
    }


def package_name(module: str) -> str:
    name = module.partition(".")[0]
    return STANDARD if name in sys.stdlib_module_names else name


def needless(served: Sequence[Imported], bare: Sequence[Imported]) -> list[str]:
    """Return which of NEEDLESS the service imports, and why, other than with its libraries."""
    known = {module.name for module in bare}
    return [
        f"{module.name}, for {module.parent or 'nobody known'}, {module.total * 1e3:.0f} ms"
        for module in served
        if module.name in NEEDLESS and module.name not in known
    ]


def profile(installed: Installed) -> tuple[list[Imported], list[Imported]]:
    """Return what the service imports up to ready, and what its first prediction adds."""
    rows = json.loads(ROWS.read_text())
    request = post("/predict", json.dumps({"instances": rows[:1]}).encode())
    with started(installed, COMMANDS["gunicorn"], {"PYTHONPROFILEIMPORTTIME": "1"}) as (
        port,
        _,
        log,
    ):
        time.sleep(0.2)  # the log comes by another way
        before = len(log.lines)
        if not (ask(port, request) or "").startswith("HTTP/1.1 200"):
            raise Failure("no prediction")
        time.sleep(0.2)
        lines = [line for _, line in log.lines]
    return imports(lines[:before]), imports(lines[before:])


def main() -> int:
    parser = outcome.parser(__doc__)
    parser.add_argument("--runs", type=int, default=7)
    arguments = parser.parse_args()
    os.sched_setaffinity(0, {measure.LOAD_CORE})
    print("training ...", flush=True)
    installed = install(OURS, "lr")
    bare: list[float] = []
    empty: list[float] = []
    starts: dict[str, list[Start]] = {name: [] for name in COMMANDS}
    for turn in range(arguments.runs + 1):
        measured = {name: time_service(installed, words) for name, words in COMMANDS.items()}
        loaded, nothing = time_bare(installed, BARE)[0], time_bare(installed, "print(1)")[0]
        print(f"{turn}: {loaded:.3f} s bare, {measured['python -m service'].ready:.3f} s service")
        if turn:  # the first one writes the bytecode
            bare.append(loaded)
            empty.append(nothing)
            for name, start in measured.items():
                starts[name].append(start)
    served, first = profile(installed)
    libraries = imports(time_bare(installed, BARE, "-X", "importtime")[1])
    ratio = median(start.ready for start in starts["python -m service"]) / median(bare)
    failures = [f"imported, though not needed: {name}" for name in needless(served, libraries)]
    if ratio > MOST:
        failures.append(f"ready after {ratio:.2f}x the bare interpreter's time, over {MOST:g}x")
    lines = [*table(starts, bare, empty), *import_table(served, libraries, first)]
    document = {
        "ratio": ratio,
        "bare": bare,
        "empty": empty,
        "starts": {name: [asdict(start) for start in series] for name, series in starts.items()},
        "packages": [asdict(package) for package in packages(served).values()],
    }
    kept = f"ready after at most {MOST:g}x, and nothing needless."
    return outcome.leave(arguments.out, "startup", lines, document, failures=failures, kept=kept)


def table(
    starts: dict[str, list[Start]], bare: Sequence[float], empty: Sequence[float]
) -> list[str]:
    lines = ["| process start to | ms (median, least-most) | of the bare interpreter |"]
    lines.append("|---|---|---|")
    for what, seconds in (
        ("an interpreter that does nothing", empty),
        ("a bare interpreter, libraries imported, model loaded", bare),
        *((f"`{name}` ready", [s.ready for s in series]) for name, series in starts.items()),
    ):
        span = f"{median(seconds) * 1e3:.0f} ({min(seconds) * 1e3:.0f}-{max(seconds) * 1e3:.0f})"
        lines.append(f"| {what} | {span} | {median(seconds) / median(bare):.2f} |")
    series = starts["python -m service"]
    lines += ["", "| stage of `python -m service` | ms | ends at |", "|---|---|---|"]
    before = 0.0
    ends = {stage: median(start.stages[stage] for start in series) for stage in STAGES}
    for stage, end in (*ends.items(), ("ready", median(start.ready for start in series))):
        lines.append(f"| {stage} | {(end - before) * 1e3:.0f} | {end * 1e3:.0f} |")
        before = end
    return [*lines, ""]


def import_table(
    served: Sequence[Imported], libraries: Sequence[Imported], first: Sequence[Imported]
) -> list[str]:
    """Where imports go. With -X importtime all takes longer: these are shares, not times."""
    ours, theirs = packages(served), packages(libraries)
    lines = [
        f"Imports up to ready, by `-X importtime`, {len(served)} modules, "
        f"{sum(m.own for m in served) * 1e3:.0f} ms (it slows what it measures); the bare "
        f"interpreter has {len(libraries)}, {sum(m.own for m in libraries) * 1e3:.0f} ms.",
        "",
        "| package | ms with what it brings | ms itself | modules | first asked for by "
        "| not in the bare interpreter |",
        "|---|---|---|---|---|---|",
    ]
    known = {module.name for module in libraries}
    for package in sorted(ours.values(), key=lambda package: -package.own)[:SHOWN]:
        more = [m for m in served if package_name(m.name) == package.name and m.name not in known]
        extra = f"{len(more)} modules, {sum(m.own for m in more) * 1e3:.1f} ms" if more else ""
        total = "-" if package.name == STANDARD else f"{package.total * 1e3:.0f}"
        if package.name not in theirs:
            extra = "all"
        lines.append(
            f"| {package.name} | {total} | {package.own * 1e3:.0f} "
            f"| {package.modules} | {package.parent or '-'} | {extra} |"
        )
    late = ", ".join(f"{m.name} ({m.own * 1e3:.1f} ms)" for m in first) or "nothing"
    return [*lines, "", f"The first prediction imports {late}."]


if __name__ == "__main__":
    sys.exit(main())
