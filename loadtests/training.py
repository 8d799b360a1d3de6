"""What the training of a large data set costs, and what it costs once more.

    python -m loadtests.training        a million rows, 2 minutes; writes results/training.{md,json}
python -m loadtests.training --rows 50000
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import tempfile
import time
from dataclasses import asdict, dataclass
from pathlib import Path

from cookiecutter.main import cookiecutter

from loadtests import outcome

ROOT = Path(__file__).parents[1]
PYTHON = ROOT / "build" / "service-venv" / "bin" / "python"
COLUMNS = 50
LARGEST_SHARE = 0.5  # of what the first training takes, if nothing is new
LOAD = f"""

def load_data():
    random = np.random.default_rng(0)
    values = random.normal(size=(ROWS, {COLUMNS}))
    hidden = values @ random.normal(size={COLUMNS}) + random.normal(scale=2, size=ROWS)
    frame = pd.DataFrame(values, columns=[f"input_{{n}}" for n in range({COLUMNS})])
    return frame, pd.Series(np.where(hidden > 0, "malignant", "benign"))


GATES = ["accuracy >= 0.8"]
"""


@dataclass(frozen=True)
class Cost:
    """A start of training: seconds on the clock and of the processor, and the most memory in MB."""

    name: str
    seconds: float
    cpu_seconds: float
    most_mb: float


def train(folder: Path, name: str) -> Cost:
    """Train, and measure that with all of its processes but none of an earlier start."""
    print(name, flush=True)
    started = time.monotonic()
    process = subprocess.Popen([PYTHON, "-m", "pipeline"], cwd=folder)
    _, status, usage = os.wait4(process.pid, 0)
    seconds = time.monotonic() - started
    if os.waitstatus_to_exitcode(status) not in (0, 3):
        sys.exit("the training failed; see above")
    return Cost(name, seconds, usage.ru_utime + usage.ru_stime, usage.ru_maxrss / 1024)


def steps(folder: Path) -> dict[str, float]:
    """Return how long each step of the first run took, in seconds."""
    first = min((folder / "runs" / "runs").glob("*/run.json"))
    return {step["name"]: step["seconds"] for step in json.loads(first.read_text())["steps"]}


def main() -> int:
    parser = outcome.parser(__doc__)
    parser.add_argument("--rows", type=int, default=1_000_000)
    options = parser.parse_args()
    into = Path(tempfile.mkdtemp())
    try:
        made = cookiecutter(str(ROOT), output_dir=str(into), no_input=True, default_config=True)
        folder = Path(made)
        model = folder / "model.py"
        model.write_text(model.read_text() + LOAD.replace("ROWS", str(options.rows)))
        costs = [train(folder, "first"), train(folder, "again: nothing new")]
        model.write_text(model.read_text().replace("accuracy >= 0.8", "accuracy >= 0.81"))
        costs.append(train(folder, "a gate was edited"))
        taken = steps(folder)
    finally:
        shutil.rmtree(into)
    lines = [
        f"{options.rows:,} rows of {COLUMNS} numbers, logistic regression.",
        "",
        "| training | seconds | CPU seconds | most memory, MB |",
        "|---|--:|--:|--:|",
        *(f"| {c.name} | {c.seconds:.1f} | {c.cpu_seconds:.1f} | {c.most_mb:.0f} |" for c in costs),
        "",
        f"Steps of the first: {', '.join(f'{n} {s:.1f} s' for n, s in taken.items())}.",
    ]
    share = costs[1].seconds / costs[0].seconds
    failures = []
    if share > LARGEST_SHARE:
        failures.append(f"to find nothing new costs {share:.0%} of a training")
    document = {"rows": options.rows, "costs": [asdict(cost) for cost in costs], "steps": taken}
    return outcome.leave(
        options.out,
        "training",
        lines,
        document,
        failures=failures,
        kept=f"to find nothing new costs {share:.0%} of a training, at most {LARGEST_SHARE:.0%}",
    )


if __name__ == "__main__":
    sys.exit(main())
