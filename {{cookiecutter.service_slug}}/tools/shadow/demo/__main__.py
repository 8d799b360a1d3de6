"""`make ghost-demo`: live, a candidate and traffic between them, then the report and the verdict.

Four runs, each with its own processes: live beside itself (the noise floor), too little traffic for
a verdict, a good candidate, and a subtly worse one, which its training gates let pass.
"""

from __future__ import annotations

import argparse
import os
import shutil
import subprocess
import sys
import tempfile
import time
import webbrowser
from pathlib import Path
from typing import IO, NamedTuple

from rich.console import Console

from loadtests.serving import serving
from tools.shadow import events, gate, summary, thresholds
from tools.shadow.demo import model
from tools.shadow.gate import Decision
from tools.shadow.markdown import as_markdown
from tools.shadow.page import as_page
from tools.shadow.report import make_report

HERE = Path(__file__).parent
ROOT = HERE.parents[2]
USERS = 5  # with the 10 requests a second of loadtests/slo.toml each, 50 in all

GOOD = '''

def build() -> Any:
    """Another estimator: a small neural network."""
    from sklearn.neural_network import MLPClassifier
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import StandardScaler

    network = MLPClassifier((16,), alpha=1, max_iter=2000, random_state=SEED)
    return make_pipeline(StandardScaler(), network)
'''
WORSE = """

# A mistake that no training gate sees: accuracy stays above 0.95, but tumours are missed.
THRESHOLD = 0.9
"""


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

console = Console(highlight=False, soft_wrap=True)


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m tools.shadow.demo", description=__doc__)
    parser.add_argument("--out", type=Path, default=Path("ghost-demo"), help="folder for reports")
    out = parser.parse_args().out.resolve()
    out.mkdir(parents=True, exist_ok=True)
    asked = HERE / "thresholds.toml"
    console.print(f"[bold]thresholds of the demo[/] ({asked.relative_to(ROOT)})")
    console.print(asked.read_text(), markup=False)
    floor = out / f"{RUNS[0].name}.log"
    as_expected = True
    with tempfile.TemporaryDirectory(prefix="ghost-demo-") as scratch:
        folders = {
            "live": train(Path(scratch, "live"), ""),
            "good": train(Path(scratch, "good"), GOOD),
            "worse": train(Path(scratch, "worse"), WORSE),
        }
        rows = Path(scratch, "rows.json")
        rows.write_text(model.load_data()[0].to_json(orient="records", double_precision=15))
        for run in RUNS:
            console.print(f"[bold]{run.name}[/]: {run.about}, {run.seconds} s of traffic")
            log = out / f"{run.name}.log"
            with log.open("wb") as stream:
                drive(folders["live"], folders[run.candidate], rows, run.seconds, stream)
            decision = judge(run.name, sorted({floor, log}), out)
            console.print(f"  [bold]{decision.verdict}[/]: {decision.because}")
            console.print(f"  report: {out / run.name}.html")
            as_expected &= decision.verdict == run.expected
    if sys.stdout.isatty():
        webbrowser.open((out / "worse.html").as_uri())
    console.print("as expected" if as_expected else "[bold red]not as expected[/]")
    return 0 if as_expected else 1


def train(folder: Path, change: str) -> Path:
    """Make a service of the demo's model with `change` appended to it, and train it."""
    for name in ("service", "training", "loadtests", "gunicorn.conf.py", "service.toml"):
        if (ROOT / name).is_dir():
            shutil.copytree(
                ROOT / name, folder / name, ignore=shutil.ignore_patterns("__pycache__")
            )
        else:
            shutil.copy(ROOT / name, folder / name)
    (folder / "model.py").write_text((HERE / "model.py").read_text() + change)
    console.print(f"training [bold]{folder.name}[/]{' with this change:' if change else ''}")
    if change:
        console.print(change.strip(), markup=False, style="dim")
    done = subprocess.run(
        [sys.executable, "-m", "training"], cwd=folder, env=environment(folder), capture_output=True
    )
    if done.returncode:
        sys.exit(f"training failed:\n{done.stdout.decode()}{done.stderr.decode()}")
    return folder


def drive(live: Path, candidate: Path, rows: Path, seconds: int, log: IO[bytes]) -> None:
    """Send traffic to live, with ghost mode on; both services log to `log`."""
    rules = str(HERE / "rules.toml")
    with (
        serving(
            environment(candidate) | {"SHADOW_ROLE": "candidate"}, candidate, log
        ) as candidate_url,
        serving(
            environment(live) | {"SHADOW_URL": candidate_url, "SHADOW_RULES": rules}, live, log
        ) as live_url,
    ):
        command = [sys.executable, "-m", "locust", "--headless", "-f", f"{HERE}/traffic.py"]
        command += ["--host", live_url, "-u", str(USERS), "-r", str(USERS), "-t", f"{seconds}s"]
        # Its exit code is the load test's verdict on the SLO, which is not what is shown here.
        subprocess.run(
            [*command, "--only-summary", "--loglevel", "ERROR"],
            cwd=live,
            env=environment(live) | {"DEMO_ROWS": str(rows)},
            capture_output=True,
        )
        time.sleep(1)  # for the last copies to come back


def environment(folder: Path) -> dict[str, str]:
    """Return this process's environment without settings of the service, which are the demo's."""
    kept = {
        name: value
        for name, value in os.environ.items()
        if not name.startswith("SHADOW_") and name != "ARTIFACT_DIR"
    }
    return kept | {
        "PYTHONPATH": str(folder),
        "PYTHONDONTWRITEBYTECODE": "1",
        "WEB_CONCURRENCY": "1",
    }


def judge(name: str, files: list[Path], out: Path) -> Decision:
    """Write the report of a run, as `report` does, and return its verdict, as `gate` does."""
    limits = thresholds.read(HERE / "thresholds.toml")
    found = events.read_files(str(file) for file in files)
    seen = summary.summarise(found, limits)
    decision = gate.decide(seen, limits)
    report = make_report("ghost-demo", seen, found.reading, limits, decision)
    (out / f"{name}.html").write_text(as_page(report), encoding="utf-8")
    (out / f"{name}.md").write_text(as_markdown(report), encoding="utf-8")
    return decision


if __name__ == "__main__":
    sys.exit(main())
