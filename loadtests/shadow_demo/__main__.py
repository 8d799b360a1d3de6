"""`make shadow-demo`: live, a candidate and traffic between them, then the report and the verdict.

Four runs, each with its own processes: live beside itself (the noise floor), too little traffic for
a verdict, a good candidate, and a subtly worse one, which its training gates let pass. All are the
template's default service; the verdicts are those of its own `tools.shadow`.
"""

from __future__ import annotations

import json
import os
import shutil
import socket
import subprocess
import sys
import time
import urllib.request
import webbrowser
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import IO, NamedTuple

from cookiecutter.main import cookiecutter

HERE = Path(__file__).parent
ROOT = HERE.parents[1]
HOME = ROOT / "build" / "shadow-demo"
PYTHON = Path(os.environ.get("SERVICE_VENV", ROOT / "build" / "service-venv")) / "bin" / "python"
START_SECONDS = 60
USERS = 5  # of 10 requests a second each

# What a candidate has in its model.py in place of what live has.
CHANGES: dict[str, dict[str, str]] = {
    # Another estimator: a small neural network.
    "good": {
        "from sklearn.linear_model import LogisticRegression": (
            "from sklearn.neural_network import MLPClassifier"
        ),
        "LogisticRegression(max_iter=1000, random_state=SEED)": (
            "MLPClassifier((16,), alpha=1, max_iter=2000, random_state=SEED)"
        ),
    },
    # A mistake that no training gate sees: accuracy stays above 0.95, but tumours are missed.
    "worse": {"np.where(score >= 0.5": "np.where(score >= 0.9"},
}


class Run(NamedTuple):
    name: str
    about: str
    candidate: str
    seconds: int
    expected: str


RUNS = [
    Run("itself", "live as its own candidate: the noise floor", "live", 10, "inconclusive"),
    Run("early", "a good candidate, asked too early", "good", 5, "inconclusive"),
    Run("good", "the same candidate, given its time", "good", 60, "promote"),
    Run("worse", "a candidate with a subtle mistake", "worse", 60, "reject"),
]


def main(runs: Sequence[Run] = RUNS, home: Path = HOME) -> int:
    """Make the runs, with services and reports in the folder `home`; 1 if a verdict surprises."""
    shutil.rmtree(home, ignore_errors=True)
    live = Path(
        cookiecutter(str(ROOT), output_dir=str(home / "live"), no_input=True, default_config=True)
    )
    print((HERE / "shadow-gate.toml").read_text())
    for name in ("shadow-gate.toml", "shadow-rules.toml"):
        shutil.copy(HERE / name, live)
    folders = {"live": live}
    for name, changes in CHANGES.items():
        folders[name] = shutil.copytree(live.parent, home / name) / live.name
        change(folders[name] / "model.py", changes)
    for name, folder in folders.items():
        print(f"training {name}", *CHANGES.get(name, {}).values(), sep="\n    ", flush=True)
        run_in(folder, "-m", "pipeline")
    as_expected = True
    for run in runs:
        print(f"{run.name}: {run.about}, {run.seconds} s of traffic", flush=True)
        with (home / f"{run.name}.log").open("wb") as log:
            drive(live, folders[run.candidate], run.seconds, log)
        verdict, because = judge(live, home, run.name)
        print(f"    {verdict}: {because}\n    report: {home / run.name}.html")
        as_expected &= verdict == run.expected
    if sys.stdout.isatty():
        webbrowser.open((home / f"{runs[-1].name}.html").as_uri())
    print("as expected" if as_expected else "not as expected")
    return 0 if as_expected else 1


def change(model: Path, changes: dict[str, str]) -> None:
    source = model.read_text()
    for old, new in changes.items():
        if source.count(old) != 1:
            sys.exit(f"the template's model.py has not one {old!r}, which the demo changes")
        source = source.replace(old, new)
    model.write_text(source)


def drive(live: Path, candidate: Path, seconds: int, log: IO[bytes]) -> None:
    """Send traffic to live, which copies it to the candidate; both services log to `log`."""
    rows = live / "rows.json"
    to_json = "model.load_data()[0].to_json('rows.json', orient='records', double_precision=15)"
    run_in(live, "-c", f"import model; {to_json}")
    with (
        serving(candidate, log, SHADOW_ROLE="candidate") as candidate_url,
        serving(live, log, SHADOW_URL=candidate_url) as live_url,
    ):
        command = ["-m", "locust", "--headless", "-f", str(HERE / "traffic.py"), "--host", live_url]
        command += ["-u", str(USERS), "-r", str(USERS), "-t", f"{seconds}s"]
        command += ["--only-summary", "--exit-code-on-error", "0"]
        run_in(live, *command, ROWS=str(rows))
        time.sleep(1)  # for the last copies to come back


@contextmanager
def serving(folder: Path, log: IO[bytes], **settings: str) -> Iterator[str]:
    """Run the service of `folder` on a free port; yield its address once it is ready."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port = listener.getsockname()[1]
    url = f"http://127.0.0.1:{port}"
    env = environment(BIND_HOST="127.0.0.1", PORT=str(port), WEB_CONCURRENCY="1", **settings)
    process = subprocess.Popen(
        [PYTHON, "-m", "service"], cwd=folder, env=env, stdout=log, stderr=log
    )
    try:
        deadline = time.monotonic() + START_SECONDS
        while not ready(url):
            if process.poll() is not None or time.monotonic() > deadline:
                sys.exit(f"the service of {folder} did not become ready; see {log.name}")
            time.sleep(0.2)
        yield url
    finally:
        process.terminate()
        process.wait()


def ready(url: str) -> bool:
    with suppress(OSError), urllib.request.urlopen(f"{url}/readyz", timeout=5):
        return True
    return False


def judge(live: Path, home: Path, name: str) -> tuple[str, str]:
    """Write the report of a run; return its verdict, and why."""
    # The run of live beside itself measures the noise floor of all.
    logs = [str(log) for log in {home / "itself.log", home / f"{name}.log"} if log.exists()]
    run_in(live, "-m", "tools.shadow", "report", *logs, "--out", str(home / f"{name}.html"))
    answer = json.loads(run_in(live, "-m", "tools.shadow", "gate", *logs, most=2))
    return answer["verdict"], answer["because"]


def run_in(folder: Path, *arguments: str, most: int = 0, **env: str) -> str:
    """Run Python in a service's folder; return what it prints, if its exit code is at most that."""
    done = subprocess.run(
        [PYTHON, *arguments], cwd=folder, env=environment(**env), capture_output=True, text=True
    )
    if not 0 <= done.returncode <= most:
        sys.exit(f"python {' '.join(arguments)} failed:\n{done.stdout}{done.stderr}")
    return done.stdout


def environment(**settings: str) -> dict[str, str]:
    """Return this process's environment, without settings of the service: those are the demo's."""
    ours = {n: v for n, v in os.environ.items() if not n.startswith(("SHADOW_", "AB_"))}
    ours.pop("ARTIFACT_DIR", None)
    return ours | settings


if __name__ == "__main__":
    sys.exit(main())
