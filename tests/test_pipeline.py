"""The way from data to a deployment, as a stranger goes it: real processes, a folder and an S3."""

from __future__ import annotations

import json
import os
import re
import shutil
import signal
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from cloud import cloud
from harness import PYTHON, bake, copied, edit, extend_model, manifest

STEPS = ["validate", "fit", "evaluate", "compare", "package"]
# Reads a file that grows, and takes no time to say which inputs matter.
READS = """

IMPORTANCE_SECONDS = 0


def load_data():
    frame = pd.read_csv("data/rows.csv")
    return frame.drop(columns="diagnosis"), frame["diagnosis"]
"""


@pytest.fixture(scope="module")
def grows(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A service whose data are in data/rows.csv, not trained."""
    folder = bake(tmp_path_factory.mktemp("grows"))
    (folder / "data").mkdir()
    code = "import model; frame, truth = model.load_data(); "
    code += "frame.assign(diagnosis=truth)[:500].to_csv('data/rows.csv', index=False)"
    subprocess.run([PYTHON, "-c", code], cwd=folder, check=True)
    extend_model(folder, READS)
    return folder


def pipeline(folder: Path, command: str = "train", exit_code: int = 0, **values: Any) -> str:
    """Run a command of the pipeline; return what it said."""
    done = subprocess.run(
        [PYTHON, "-m", "pipeline", command],
        cwd=folder,
        env=os.environ | values,
        capture_output=True,
        text=True,
        timeout=180,
    )
    assert done.returncode == exit_code, done.stdout + done.stderr
    assert "Traceback" not in done.stdout + done.stderr
    return done.stdout


def done_before(said: str) -> list[str]:
    return re.findall(r"^  = (\w+) +from a checkpoint of", said, re.M)


def done_now(said: str) -> list[str]:
    return re.findall(r"^  ✓ (\w+) ", said.replace("✓ gate ", ""), re.M)


def verdict(folder: Path) -> dict[str, Any]:
    found: dict[str, Any] = json.loads((folder / "report" / "verdict.json").read_text())
    return found


@pytest.fixture(scope="module", params=["folder", "s3"])
def store(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[dict[str, Any]]:
    """The one variable in which a team's store differs from a laptop's, beside the cloud's own."""
    if request.param == "folder":
        yield {}
    else:
        with cloud(tmp_path_factory.mktemp("cloud") / "log") as found:
            yield found.environment | {"STORE": f"s3://{found.bucket('training')}/tumours"}


def test_a_walk_from_data_to_a_deployment(
    grows: Path, tmp_path: Path, store: dict[str, Any]
) -> None:
    folder = copied(grows, tmp_path)
    said = pipeline(folder, **store)
    assert done_now(said) == ["data", *STEPS] and not done_before(said)
    first = manifest(folder)
    assert verdict(folder) == {
        "status": "good",
        "reason": verdict(folder)["reason"],
        "exit": 0,
        "version": first["version"],
    }
    assert "nothing new" in pipeline(folder, exit_code=3, **store)
    assert verdict(folder)["exit"] == 3

    # Another gate: nothing is fitted or judged again.
    edit(folder / "model.py", "accuracy >= 0.95", "accuracy >= 0.94")
    said = pipeline(folder, **store)
    assert done_before(said)[-2:] == ["fit", "evaluate"] and "package" in done_now(said)
    second = manifest(folder)
    assert second["version"] != first["version"] and second["metrics"] == first["metrics"]
    # Other answers: the same fit, judged again.
    edit(folder / "model.py", "score >= 0.5", "score >= 0.6")
    said = pipeline(folder, **store)
    assert "fit" in done_before(said) and "evaluate" in done_now(said)

    # More rows: compared with what is live.
    pipeline(folder, "promote", ENV="staging", APPROVER="Dr Grey", **store)
    release = folder / "k8s" / "overlays" / "staging" / "release" / "kustomization.yaml"
    live = manifest(folder)["version"]
    assert live in release.read_text()
    rows = (folder / "data" / "rows.csv").read_text().splitlines(keepends=True)
    (folder / "data" / "rows.csv").write_text("".join(rows + rows[-40:]))
    said = pipeline(folder, **store)
    assert not done_before(said) and done_now(said) == ["data", *STEPS]
    page = (folder / "report" / "report.html").read_text()
    assert live in page and "in staging since" in page
    assert len((folder / "report" / "summary.md").read_text().splitlines()) <= 30

    shown = pipeline(folder, "show", COLUMNS="200", **store)
    assert "nothing new" in shown and "staging" in shown and "540 rows" in shown
    way = pipeline(folder, "lineage", VERSION=live, COLUMNS="200", **store)
    assert "500 rows" in way and "by Dr Grey" in way and "fit " in way
    pipeline(folder, "lineage", exit_code=2, VERSION="nosuchmodel", **store)
    assert (folder / "runs").exists() == (not store)


def test_killed_in_any_step_it_goes_on_there(grows: Path, tmp_path: Path) -> None:
    whole = copied(grows, tmp_path / "whole")
    pipeline(whole)
    for number, step in enumerate(STEPS):
        folder = copied(grows, tmp_path / step)
        named: dict[str, Any] = {"RUN": "weekly"} if number % 2 else {}
        process = subprocess.Popen(
            [PYTHON, "-m", "pipeline"],
            cwd=folder,
            env=os.environ | named,
            stdout=subprocess.DEVNULL,
            start_new_session=True,
        )
        before = f"checkpoints/{STEPS[number - 1]}-*/*.json" if number else "runs/*/snapshot-*.json"
        deadline = time.monotonic() + 60
        while not any((folder / "runs").glob(before)) and time.monotonic() < deadline:
            time.sleep(0.001)
        os.killpg(process.pid, signal.SIGKILL)
        process.wait()
        said = pipeline(folder, **named)
        # What was done stays done, and the machine may have been quick to do one more.
        assert done_before(said)[: number + 1] == ["data", *STEPS][: number + 1]
        assert manifest(folder)["version"] == manifest(whole)["version"]


def test_data_that_callers_of_live_could_not_send_are_refused(grows: Path, tmp_path: Path) -> None:
    folder = copied(grows, tmp_path)
    pipeline(folder)
    pipeline(folder, "promote", ENV="production")
    before = manifest(folder)["version"]
    edit(folder / "data" / "rows.csv", "mean radius", "radius")
    said = pipeline(folder, exit_code=1)
    assert "'mean radius'" in said or "“mean radius”" in said
    assert manifest(folder)["version"] == before and verdict(folder)["exit"] == 1
    # The code that makes the data says that it is meant.
    extend_model(folder, "\n\n_load = load_data\n\n\ndef load_data():\n    return _load()\n")
    pipeline(folder)
    assert verdict(folder)["status"] == "undecided"


def test_worse_than_live_is_refused_and_what_cannot_be_compared_is_for_people(
    grows: Path, tmp_path: Path
) -> None:
    folder = copied(grows, tmp_path)
    edit(folder / "model.py", 'GATES = ["accuracy >= 0.95", "roc_auc >= 0.98"]', "GATES = []")
    pipeline(folder)
    pipeline(folder, "promote", ENV="production")
    live = manifest(folder)["version"]
    edit(folder / "model.py", "score >= 0.5", "score >= 0.999999")
    said = pipeline(folder, exit_code=1)
    assert "worse than the live model" in " ".join(said.split())
    assert manifest(folder)["version"] == live
    pipeline(folder, "promote", exit_code=2, ENV="production", RUN="nosuch")

    def undecided() -> str:
        said = " ".join(pipeline(folder).split())
        assert verdict(folder)["status"] == "undecided"
        return said

    # Rows kept aside otherwise: live has learnt from some of them.
    edit(folder / "model.py", "TEST_SHARE = 0.25", "TEST_SHARE = 0.3")
    assert "may have learnt from these rows" in undecided()
    edit(folder / "model.py", "TEST_SHARE = 0.3", "TEST_SHARE = 0.25")
    # Somebody took it away.
    edit(folder / "model.py", "score >= 0.999999", "score >= 0.5")
    shutil.rmtree(folder / "runs" / "models" / live)
    assert "it is not in the store" in undecided()


def test_data_of_other_types_are_other_data(grows: Path, tmp_path: Path) -> None:
    folder = copied(grows, tmp_path)
    pipeline(folder)
    typed = 'read_csv("data/rows.csv", dtype={"mean area": "float32"})'
    edit(folder / "model.py", 'read_csv("data/rows.csv")', typed)
    assert "fit" in done_now(pipeline(folder))


def test_a_fitted_model_in_a_file_is_part_of_the_code(grows: Path, tmp_path: Path) -> None:
    folder = copied(grows, tmp_path)
    extend_model(
        folder,
        "\n\n_build = build\n\n\ndef build():\n"
        "    open('strength.txt').read()\n    return _build()\n",
    )
    (folder / "strength.txt").write_text("1")
    pipeline(folder)
    pipeline(folder, exit_code=3)
    (folder / "strength.txt").write_text("2")
    assert "fit" in done_now(pipeline(folder))


def test_prepare_is_a_step_of_its_own(grows: Path, tmp_path: Path) -> None:
    folder = copied(grows, tmp_path)
    extend_model(
        folder,
        "\n\ndef load_data():\n    return pd.read_csv('data/rows.csv')\n"
        "\n\ndef prepare(frame):\n"
        "    return frame.drop(columns='diagnosis'), frame['diagnosis']\n",
    )
    said = pipeline(folder)
    assert done_now(said)[:3] == ["data", "prepare", "validate"]
    edit(folder / "model.py", "random_state=SEED", "random_state=SEED, C=0.5")
    assert "prepare" in done_before(pipeline(folder))


def test_smoke_trains_on_little_and_leaves_nothing(baked: Path, tmp_path: Path) -> None:
    folder = copied(baked, tmp_path)
    edit(folder / "model.py", "accuracy >= 0.95", "accuracy >= 0.9999")
    before = sorted(str(path) for path in folder.rglob("*"))
    said = pipeline(folder, "smoke")
    assert "✗ gate       accuracy >= 0.9999" in said
    assert "is intact and answers as it did when trained" in said
    after = sorted(str(path) for path in folder.rglob("*"))
    assert [path for path in after if "/report" not in path] == [
        p for p in before if "/report" not in p
    ]


@pytest.mark.parametrize(
    ("values", "exit_code", "line"),
    [
        ({"STORE": "nosuch://bucket"}, 2, "STORE: "),
        ({"STORE": "s3://bucket/x", "AWS_EC2_METADATA_DISABLED": "true"}, 2, "no credentials"),
        (
            {"STORE": "s3://bucket/x", "AWS_ENDPOINT_URL": "http://127.0.0.1:1"}
            | {"AWS_ACCESS_KEY_ID": "a", "AWS_SECRET_ACCESS_KEY": "b"},
            75,
            "; try again",
        ),
    ],
)
def test_a_store_that_is_not_there_is_one_line(
    grows: Path, values: dict[str, Any], exit_code: int, line: str
) -> None:
    said = pipeline(grows, exit_code=exit_code, **values)
    assert line in said and len(said.strip().splitlines()) == 1


OWN_STEP = """
from pipeline.step import Step
from pipeline.steps.evaluate import Evaluate


class Fairness(Step):
    name = "fairness"

    def requires(self):
        return [Evaluate(data=self.data)]

    def make(self, say, judged):
        assert len(judged.answers) > 1, "too few"
        say("looked at")


STEPS = [Fairness]
"""


def test_steps_of_the_owners_are_done_once_and_may_refuse(grows: Path, tmp_path: Path) -> None:
    folder = copied(grows, tmp_path)
    (folder / "steps.py").write_text(OWN_STEP)
    assert done_now(pipeline(folder))[-2:] == ["fairness", "package"]
    before = manifest(folder)["version"]
    edit(folder / "model.py", "accuracy >= 0.95", "accuracy >= 0.94")
    assert "fairness" in done_before(pipeline(folder))
    edit(folder / "steps.py", "> 1", "> 1000000")
    edit(folder / "model.py", "accuracy >= 0.94", "accuracy >= 0.93")
    assert "too few" in pipeline(folder, exit_code=1)
    assert manifest(folder)["version"] != before  # that of the second training
