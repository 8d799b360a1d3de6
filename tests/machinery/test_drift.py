from __future__ import annotations

from collections import defaultdict
from datetime import datetime
from pathlib import Path
from typing import Any

import msgspec
import pytest

from service import artifact
from service.artifact import Input, Manifest
from service.drift import Drift


class Ledger:
    def __init__(self) -> None:
        self.counts: defaultdict[tuple[str, ...], float] = defaultdict(float)
        self.values: defaultdict[tuple[str, ...], list[float]] = defaultdict(list)

    def count(self, name: str, value: float = 1, *tags: str) -> None:
        self.counts[(name, *tags)] += value

    def observe(self, name: str, value: float, *tags: str) -> None:
        self.values[(name, *tags)].append(value)


@pytest.fixture
def manifest(trained: Path) -> Manifest:
    return artifact.read_manifest(trained)


def watch(manifest: Manifest, rows: list[Any], answers: list[Any]) -> Ledger:
    ledger = Ledger()
    Drift(manifest, ledger).call(rows, answers)  # type: ignore[arg-type]
    return ledger


def test_rows_like_those_of_training_are_counted_by_class_and_no_more(manifest: Manifest) -> None:
    golden = manifest.golden
    rows = [tuple(instance.values()) for instance in golden.instances]
    ledger = watch(manifest, rows, golden.predictions)
    labels = [prediction["label"] for prediction in golden.predictions]
    expected: dict[tuple[str, ...], float] = {("model.rows",): len(rows)}
    for label in set(labels):
        expected["model.predictions", f"class:{label}"] = labels.count(label)
    found = {key: n for key, n in ledger.counts.items() if key[0] != "model.nulls"}
    assert found == expected
    assert ledger.values["model.value", "field:score"] == [p["score"] for p in golden.predictions]


def test_values_that_training_did_not_see_and_gaps_are_counted_by_input(
    manifest: Manifest,
) -> None:
    answers = [{"label": "stays", "score": 0.5}] * 3
    # age, monthly income, plan, member, region
    rows = [
        (17, 1e9, "basic", True, "north"),
        (30, None, "free", True, "north"),
        (91, 3000.0, None, False, "east"),
    ]
    counts = watch(manifest, rows, answers).counts
    assert counts["model.out_of_range", "input:age"] == 2
    assert counts["model.out_of_range", "input:monthly_income"] == 1
    assert counts["model.out_of_range", "input:plan"] == 1
    assert counts["model.out_of_range", "input:region"] == 1
    assert counts["model.nulls", "input:monthly_income"] == 1
    assert counts["model.nulls", "input:plan"] == 1
    assert ("model.nulls", "input:age") not in counts


def test_of_dates_and_free_text_only_the_gaps_are_counted(manifest: Manifest) -> None:
    at = Input(name="at", type="datetime", dtype="datetime64[us]", nullable=True)
    note = Input(name="note", type="string", dtype="str", nullable=True, public=False)
    manifest = msgspec.structs.replace(manifest, inputs=[at, note])
    rows = [(datetime(1970, 1, 1), "x"), (None, None), (None, "y")]
    counts = watch(manifest, rows, [{"label": "stays", "score": 0.5}] * 3).counts
    found = {key: n for key, n in counts.items() if key[0] in ("model.nulls", "model.out_of_range")}
    assert found == {("model.nulls", "input:at"): 2, ("model.nulls", "input:note"): 1}


def test_tags_stay_few_however_many_inputs_and_classes(manifest: Manifest) -> None:
    age = next(item for item in manifest.inputs if item.name == "age")
    wide = msgspec.structs.replace(
        manifest,
        inputs=[msgspec.structs.replace(age, name=f"age {n}") for n in range(200)],
        outputs=msgspec.structs.replace(
            manifest.outputs, classes=[f"class {n}" for n in range(100)]
        ),
    )
    answers = [{"label": f"class {n}", "score": 0.5} for n in range(101)]
    ledger = watch(wide, [(1000,) * 200] * 101, answers)
    inputs = {key for key in ledger.counts if key[0] == "model.out_of_range"}
    classes = {key for key in ledger.counts if key[0] == "model.predictions"}
    assert (len(inputs), len(classes)) == (51, 21)
    assert ledger.counts["model.out_of_range", "input:other"] == 150 * 101
    assert ledger.counts["model.predictions", "class:other"] == 81
