"""make drift DATA=file compares recent inputs with those that the model learnt from."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pandas as pd
import pytest
from msgspec.structs import replace

import toy
from service.artifact import Input
from service.errors import Refusal
from tools.drift import DriftError, Found, recent
from tools.drift.recent import _lenient, check

Write = Callable[[pd.DataFrame, Path], Path]


def csv(frame: pd.DataFrame, folder: Path) -> Path:
    frame.to_csv(folder / "recent.csv", index=False)
    return folder / "recent.csv"


def objects(frame: pd.DataFrame, folder: Path) -> Path:
    frame.to_json(folder / "recent.jsonl", orient="records", lines=True, double_precision=15)
    return folder / "recent.jsonl"


def lists(frame: pd.DataFrame, folder: Path) -> Path:
    rows = json.loads(frame.to_json(orient="values", double_precision=15))
    (folder / "recent.json").write_text("\n".join(map(json.dumps, rows)) + "\n\n")
    return folder / "recent.json"


# And Parquet, for which a service has no library by itself: ../test_drift.py
WRITERS = [csv, objects, lists]


def learnt() -> pd.DataFrame:
    return toy.load_data()[0]


def findings(found: Found) -> dict[str, str]:
    return {column: line for column, line in found.rows if line != recent.NO_FINDING}


@pytest.mark.parametrize("write", WRITERS)
def test_the_same_data_differ_in_nothing(write: Write, trained: Path, tmp_path: Path) -> None:
    found = check(write(learnt(), tmp_path), trained)
    assert not found.drift and found.head == ("input", "finding")
    assert found.rows == [(name, "as in training") for name in learnt()]


@pytest.mark.parametrize("write", WRITERS)
def test_shifted_data_are_drift(write: Write, trained: Path, tmp_path: Path) -> None:
    frame = learnt().assign(age=lambda f: f["age"] // 4 + 60)
    found = check(write(frame, tmp_path), trained)
    assert found.drift and list(findings(found)) == ["age"]
    assert "Jensen-Shannon distance" in findings(found)["age"]


@pytest.mark.parametrize("write", WRITERS)
def test_words_and_gaps_that_training_did_not_see(
    write: Write, trained: Path, tmp_path: Path
) -> None:
    frame = learnt()
    region = frame["region"].astype(object).where(frame.index % 20 > 0, "west")
    found = check(write(frame.assign(region=region), tmp_path), trained)
    assert findings(found) == {"region": "has new categories in 10 of 200 rows (5.00%): west"}
    gaps = frame.assign(
        age=frame["age"].astype("Int64").where(frame.index > 0),
        member=frame["member"].astype("boolean").where(frame.index > 1),
    )
    assert findings(check(write(gaps, tmp_path), trained)) == {
        "age": "has gaps in 1 of 200 rows (0.50%), live had none",
        "member": "has gaps in 2 of 200 rows (1.00%), live had none",
    }


@pytest.mark.parametrize("write", WRITERS[:2])
def test_a_column_that_is_gone_and_one_that_is_no_input(
    write: Write, trained: Path, tmp_path: Path
) -> None:
    frame = learnt().drop(columns="plan").assign(label="stays", at="2026-11-26T10:00:00")
    assert findings(check(write(frame, tmp_path), trained)) == {"plan": "is gone"}


def test_words_that_look_like_numbers_stay_words(tmp_path: Path) -> None:
    inputs = [
        Input(name="code", type="string", dtype="str", nullable=False),
        Input(name="n", type="int", dtype="int64", nullable=True),
    ]
    (tmp_path / "x.csv").write_text("n,code,other\n1,007,1\n,1e5,2\n")
    assert recent._instances(tmp_path / "x.csv", inputs) == [
        {"code": "007", "n": 1.0},
        {"code": "1e5", "n": None},
    ]


@pytest.mark.parametrize("zone", ["", ", UTC"])
def test_dates(zone: str, tmp_path: Path) -> None:
    item = Input(name="at", type="datetime", dtype=f"datetime64[us{zone}]", nullable=False)
    suffix = "Z" if zone else ""
    (tmp_path / "x.csv").write_text(f"at\n2026-11-26T10:00:00{suffix}\n")
    ((value,),) = [row.values() for row in recent._instances(tmp_path / "x.csv", [item])]
    assert value == "2026-11-26T10:00:00" + ("+00:00" if zone else "")
    assert _lenient(item) == replace(item, nullable=True)


@pytest.mark.parametrize(
    ("name", "text", "says"),
    [
        ("none.csv", None, "No such file"),
        ("x.csv", "", "No columns"),
        ("x.csv", "age\n", "has no rows"),
        ("x.jsonl", "\n", "has no rows"),
        ("x.jsonl", '{"age": 3}\n{"age"', "line 2: expected an instance as JSON: "),
        ("x.jsonl", "7", "line 1: expected an instance as JSON: "),
        ("x.jsonl", "[1, 2]", "line 1: expected 5 values, got 2"),
        ("x.jsonl", '{"age": "old"}', "age: expected"),
        ("x.csv", "age\nold\n", "age: expected"),
        ("x.csv", "age\n2.5\n", "age: expected a whole number"),
        ("x.jsonl", b"\xff", "line 1: "),
        ("x.parquet", "no", ""),
    ],
)
def test_a_file_that_will_not_do_is_one_line(
    name: str, text: str | bytes | None, says: str, trained: Path, tmp_path: Path
) -> None:
    path = tmp_path / name
    if text is not None:
        path.write_bytes(text if isinstance(text, bytes) else text.encode())
    with pytest.raises(DriftError) as caught:
        check(path, trained)
    assert str(caught.value).startswith(f"DATA={path}: ") and says in str(caught.value)
    assert "\n" not in str(caught.value)


def test_without_an_artifact_there_is_nothing_to_compare_with(tmp_path: Path) -> None:
    with pytest.raises(Refusal, match="run `make train` first"):
        check(csv(learnt(), tmp_path), tmp_path)


@pytest.mark.parametrize(("factor", "code"), [(1.0, 0), (1.5, 3)])
def test_the_command(factor: float, code: int, tmp_path: Path) -> None:
    """With the model of the service itself; Datadog's keys are not asked for."""
    write = f"model.load_data()[0].mul({factor}).to_csv({str(tmp_path / 'x.csv')!r}, index=False)"
    subprocess.run([sys.executable, "-c", f"import model; {write}"], check=True, timeout=60)
    done = subprocess.run(
        [sys.executable, "-m", "tools.drift"],
        env=os.environ | {"DATA": str(tmp_path / "x.csv"), "DD_API_KEY": ""},
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert done.returncode == code, done.stderr
    lines = done.stdout.splitlines()
    assert lines[0].split() == ["input", "finding"] and len(lines) >= 32
    assert lines[-1] == ("drift" if code else "no drift")
