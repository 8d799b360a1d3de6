"""Which rows judge the model: none changes sides when data grow, and no class is left out."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd
import pytest

from training.data import Data
from training.errors import TrainingError
from training.split import held_out, one_sided, row_hashes

ROWS = 2000
SHARE = 0.25


def table(rows: int = ROWS) -> pd.DataFrame:
    rng = np.random.default_rng(1)
    return pd.DataFrame(
        {
            "number": rng.normal(size=rows),
            "whole": rng.integers(0, 50, rows),
            "text": rng.choice(["a", "b", "c"], rows),
        }
    )


def aside(frame: pd.DataFrame, truth: Any = None, classes: Any = None) -> np.ndarray[Any, Any]:
    return held_out(Data(frame, truth), SHARE, classes)


def test_keeps_about_the_share_aside() -> None:
    assert aside(table()).mean() == pytest.approx(SHARE, abs=0.04)


def test_no_row_changes_sides_when_data_grow() -> None:
    frame = table()
    before = aside(frame[: ROWS // 2])
    assert (aside(frame)[: ROWS // 2] == before).all()


def test_no_row_changes_sides_when_rows_come_in_another_order() -> None:
    frame = table()
    order = np.random.default_rng(0).permutation(ROWS)
    moved = frame.iloc[order].reset_index(drop=True)
    assert (aside(moved) == aside(frame)[order]).all()


def test_no_row_changes_sides_when_columns_come_in_another_order() -> None:
    frame = table()
    assert (aside(frame[["text", "number", "whole"]]) == aside(frame)).all()


@pytest.mark.parametrize(
    ("values", "later"),
    [
        (pd.Series([1, 2]), pd.Series([1.0, 2.0, np.nan])),
        (pd.Series([1, 2]), pd.Series([1, 2, None], dtype="Int64")),
        (pd.Series([True, False]), pd.Series([True, False, None], dtype=object)),
        (pd.Series(["a", "b"]), pd.Series(["a", "b", None], dtype=object)),
        (pd.Series(["a", "b"], dtype="category"), pd.Series(["a", "b", "0"], dtype="category")),
        (pd.Series([1, 2], dtype="category"), pd.Series([1, 2, 0])),
        (pd.Series([0.0, 1.0]), pd.Series([-0.0, 1.0, 2.0])),
        (
            pd.to_datetime(pd.Series(["2026-01-01", "2026-01-02"])).astype("datetime64[ns]"),
            pd.to_datetime(pd.Series(["2026-01-01 00:00", "2026-01-02 00:00", "2026-01-03 10:00"])),
        ),
    ],
)
def test_a_value_keeps_its_hash_when_the_columns_type_changes(values: Any, later: Any) -> None:
    assert row_hashes([values]).tolist() == row_hashes([later])[:2].tolist()


def test_rows_that_differ_in_one_value_have_other_hashes() -> None:
    columns: list[Any] = [pd.Series([0.1, 0.1, 0.2, 0.2]), pd.Series(["x", "y", "x", "y"])]
    assert len(set(row_hashes(columns).tolist())) == 4
    assert set(row_hashes(columns).tolist()).isdisjoint(row_hashes(columns[::-1]).tolist())


def test_equal_rows_stay_on_one_side() -> None:
    frame = pd.concat([table(500)] * 3, ignore_index=True)
    held = aside(frame)
    assert (held[:500] == held[500:1000]).all() and (held[:500] == held[1000:]).all()


def test_a_frame_of_few_distinct_rows_is_divided() -> None:
    frame = pd.DataFrame({"sex": ["f", "m"] * 500, "member": [True, True, False, False] * 250})
    held = aside(frame)
    assert held.mean() == pytest.approx(SHARE, abs=0.1)
    assert len(frame[held].drop_duplicates()) == len(frame[~held].drop_duplicates()) == 4


@pytest.mark.parametrize("seed", range(20))
def test_each_class_of_two_rows_or_more_is_on_both_sides(seed: int) -> None:
    rng = np.random.default_rng(seed)
    frame = pd.DataFrame({"x": rng.normal(size=100)})
    truth = pd.Series(["common"] * 92 + ["rare"] * 2 + ["rarer"] * 2 + ["few"] * 3 + ["single"])
    held = aside(frame, truth, truth)
    assert {"common", "rare", "rarer", "few"} == set(truth[held])
    assert set(truth[~held]) == set(truth)
    [line] = one_sided(truth, held)
    assert line == "class single: no row to judge by was kept aside"


def test_a_rare_classs_row_that_was_learnt_is_not_kept_aside_later() -> None:
    rng = np.random.default_rng(0)
    frame = pd.DataFrame({"x": rng.normal(size=400)})
    truth = pd.Series(np.where(np.arange(400) % 40 == 0, "rare", "common"))
    before = aside(frame[:200], truth[:200], truth[:200])
    after = aside(frame, truth, truth)[:200]
    assert not (after & ~before).any()


@pytest.mark.parametrize("seed", range(20))
def test_few_rows_are_never_all_on_one_side(seed: int) -> None:
    frame = pd.DataFrame({"x": np.random.default_rng(seed).normal(size=4)})
    assert 0 < aside(frame).sum() < 4


def test_classes_of_one_row_each_are_refused() -> None:
    names = pd.Series([f"row {i}" for i in range(50)])
    with pytest.raises(TrainingError, match="every class has one row"):
        aside(table(50), names, names)


def test_a_group_stays_together_and_new_groups_move_none() -> None:
    group = pd.Series([f"patient {i % 300}" for i in range(ROWS)])
    held = held_out(Data(table(), group=group), SHARE, None)
    sides = pd.Series(held).groupby(group).nunique()
    assert (sides == 1).all()
    assert held.mean() == pytest.approx(SHARE, abs=0.1)
    fewer = group[group.isin([f"patient {i}" for i in range(100)])].reset_index(drop=True)
    again = held_out(Data(table(len(fewer)), group=fewer), SHARE, None)
    assert (
        dict(zip(fewer, again, strict=True)).items() <= dict(zip(group, held, strict=True)).items()
    )


@pytest.mark.parametrize("groups", [2, 3, 5])
def test_few_groups_are_on_both_sides(groups: int) -> None:
    for first in range(0, 100, groups):
        group = pd.Series([first + i % groups for i in range(30)])
        held = held_out(Data(table(30), group=group), SHARE, None)
        assert 0 < held.sum() < 30


def test_one_group_is_refused() -> None:
    with pytest.raises(TrainingError, match="GROUP: all rows have the same value"):
        held_out(Data(table(20), group=pd.Series(["x"] * 20)), SHARE, None)


@pytest.mark.parametrize(
    "time",
    [
        pd.Series(np.arange(100)[::-1].copy()),
        pd.Series(pd.date_range("2026-01-01", periods=100)[::-1]),
        pd.Series([f"2026-{1 + i // 28:02}-{1 + i % 28:02}" for i in range(100)][::-1]),
    ],
)
def test_the_last_share_by_time_is_kept_aside(time: Any) -> None:
    held = held_out(Data(table(100), time=time), SHARE, None)
    assert held.sum() == 25 and held[:25].all()


def test_rows_of_one_time_stay_on_one_side() -> None:
    day = pd.Series(np.arange(100) // 10)
    held = held_out(Data(table(100), time=day), SHARE, None)
    assert set(day[held]) == {7, 8, 9} and set(day[~held]) == set(range(7))
    mostly_first = pd.Series([0] * 99 + [1])
    assert held_out(Data(table(100), time=mostly_first), SHARE, None).sum() == 1


def test_times_that_have_no_order_are_refused() -> None:
    with pytest.raises(TrainingError, match="TIME: all rows have the same"):
        held_out(Data(table(20), time=pd.Series([1] * 20)), SHARE, None)
    with pytest.raises(TrainingError, match="TIME: the values cannot be put in order"):
        held_out(Data(table(2), time=pd.Series([1, "x"], dtype=object)), SHARE, None)


def test_classes_on_one_side_are_named() -> None:
    classes = pd.Series(["a", "b", "c", "d", "a"])
    held = np.array([False, False, False, True, True])
    assert one_sided(classes, held) == [
        "class b, c: no row to judge by was kept aside",
        "class d: no row to learn from, so the model cannot know it",
    ]
