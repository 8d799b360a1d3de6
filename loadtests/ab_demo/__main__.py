"""`make ab-demo`: half of the users get a candidate's answers, then the report and the verdict.

Three runs, each with its own processes: a good candidate, too early and in time, and a subtly worse
one, which its training gates let pass. What users are told comes back with the truth a second
later. The verdicts are those of the service's own `tools.ab`.
"""

from __future__ import annotations

import json
import shutil
import sys
import time
import webbrowser
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

from cookiecutter.main import cookiecutter

from loadtests.shadow_demo.__main__ import CHANGES, ROOT, change, run_in, serving

HERE = Path(__file__).parent
HOME = ROOT / "build" / "ab-demo"
USERS = 10  # of 10 customers a second each
ROWS = """
import json, model
frame, truth, *_ = model.load_data()
rows = json.loads(frame.to_json(orient="records", double_precision=15))
print(json.dumps([{"instance": row, "truth": t} for row, t in zip(rows, truth)]))
"""


class Run(NamedTuple):
    name: str
    about: str
    candidate: str
    seconds: int
    expected: str


RUNS = [
    Run("early", "a good candidate, asked too early", "good", 6, "inconclusive"),
    Run("good", "the same candidate, given its time", "good", 75, "promote"),
    Run("worse", "a candidate that misses tumours", "worse", 75, "reject"),
]


def main(runs: Sequence[Run] = RUNS, home: Path = HOME) -> int:
    """Make the runs, with services and reports in the folder `home`; 1 if a verdict surprises."""
    shutil.rmtree(home, ignore_errors=True)
    live = Path(
        cookiecutter(str(ROOT), output_dir=str(home / "live"), no_input=True, default_config=True)
    )
    print((HERE / "ab-gate.toml").read_text())
    shutil.copy(HERE / "ab-gate.toml", live)
    folders = {"live": live}
    for name in dict.fromkeys(run.candidate for run in runs):
        folders[name] = shutil.copytree(live.parent, home / name) / live.name
        change(folders[name] / "model.py", CHANGES[name])
    for name, folder in folders.items():
        print(f"training {name}", *CHANGES.get(name, {}).values(), sep="\n    ", flush=True)
        run_in(folder, "-m", "pipeline")
    (home / "rows.json").write_text(run_in(live, "-c", ROWS))
    as_expected = True
    for run in runs:
        print(f"{run.name}: {run.about}, {run.seconds} s of traffic", flush=True)
        drive(live, folders[run.candidate], home, run)
        verdict, because = judge(live, home, run.name)
        print(f"    {verdict}: {because}\n    report: {home / run.name}.html")
        as_expected &= verdict == run.expected
    if sys.stdout.isatty():
        webbrowser.open((home / f"{runs[-1].name}.html").as_uri())
    print("as expected" if as_expected else "not as expected")
    return 0 if as_expected else 1


def drive(live: Path, candidate: Path, home: Path, run: Run) -> None:
    """Send users to live, half of whom the candidate answers; both services log to one file."""
    with (
        (home / f"{run.name}.log").open("wb") as log,
        serving(candidate, log, SHADOW_ROLE="candidate") as candidate_url,
        serving(
            live,
            log,
            SHADOW_URL=candidate_url,
            SHADOW_PERCENT="0",
            AB_PERCENT="50",
            AB_KEY_HEADER="X-Customer",
            AB_EXPERIMENT=run.name,
        ) as live_url,
    ):
        command = ["-m", "locust", "--headless", "-f", str(HERE / "traffic.py"), "--host", live_url]
        command += ["-u", str(USERS), "-r", str(USERS), "-t", f"{run.seconds}s"]
        command += ["--only-summary", "--exit-code-on-error", "1"]
        run_in(live, *command, ROWS=str(home / "rows.json"))
        time.sleep(1)  # for the last lines of the log


def judge(live: Path, home: Path, name: str) -> tuple[str, str]:
    """Write the report of a run; return its verdict, and why."""
    log, page = str(home / f"{name}.log"), str(home / f"{name}.html")
    run_in(live, "-m", "tools.ab", "report", log, "--out", page)
    answer = json.loads(run_in(live, "-m", "tools.ab", "gate", log, most=2))
    return answer["verdict"], answer["because"]


if __name__ == "__main__":
    sys.exit(main())
