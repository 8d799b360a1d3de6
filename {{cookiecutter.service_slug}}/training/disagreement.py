"""The held-out rows to which two models answer differently, and which of the two is right there."""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
import pandas as pd

from service.artifact import Input
from training.evaluate import Array, Evaluation
from training.plots import label, number

MAX_PAIRS = 12
MAX_ROWS = 20
MAX_INPUTS = 5


class Table(NamedTuple):
    head: list[str]
    rows: list[list[str]]


class Disagreement(NamedTuple):
    """In words and figures, and by rows, of which `which` says how they were chosen."""

    words: str
    figures: Table
    which: str
    rows: Table


def disagreement(inputs: list[Input], candidate: Evaluation, live: Evaluation) -> Disagreement:
    """Return where two models of one kind, classification or regression, differ on the same rows.

    Of the rows it shows those `inputs` that matter most to the candidate, and no free text.
    """
    differ = candidate.answer.astype(object) != live.answer.astype(object)
    if not differ.any():
        words = f"They give the same answer to all {len(differ):,} rows."
        return Disagreement(words, Table([], []), "", Table([], []))
    compare = _classes if candidate.kind == "classification" else _numbers
    words, figures, which, order = compare(candidate, live, np.flatnonzero(differ))
    return Disagreement(words, figures, which, _rows(inputs, candidate, live, order[:MAX_ROWS]))


def _classes(
    candidate: Evaluation, live: Evaluation, differ: Array
) -> tuple[str, Table, str, Array]:
    truth, of_live, of_this = (
        found[differ].astype(object) for found in (candidate.truth, live.answer, candidate.answer)
    )
    said = pd.DataFrame({"live": of_live, "this": of_this})
    said = said.assign(live_right=of_live == truth, this_right=of_this == truth)
    counted = said.groupby(["live", "this"], sort=False).agg(
        rows=("live_right", "size"),
        live_right=("live_right", "sum"),
        this_right=("this_right", "sum"),
    )
    counted = counted.sort_values("rows", ascending=False, kind="stable")
    rows, (live_right, this_right) = len(candidate.truth), counted.sum()[1:]
    words = (
        f"They disagree on {len(differ):,} of {rows:,} rows ({len(differ) / rows:.1%}): this model "
        f"is right on {this_right:,} of them, the live model on {live_right:,}."
    )
    if len(counted) > MAX_PAIRS:
        words += f" The {MAX_PAIRS} commonest of {len(counted):,} pairs of answers are shown."
    figures = Table(
        ["Live model", "This model", "Rows", "Live right", "This right"],
        [
            [label(live_said, 40), label(this_said, 40), *(f"{count:,}" for count in counts)]
            for (live_said, this_said), *counts in counted.head(MAX_PAIRS).itertuples()
        ],
    )
    # What an expert fears most comes first: losses, gains, then rows on which both are wrong.
    rank = np.select([said["live_right"], said["this_right"]], [0, 1], 2)
    order = differ[np.argsort(rank, kind="stable")]
    return words, figures, "Those that only the live model gets right come first.", order


def _numbers(
    candidate: Evaluation, live: Evaluation, differ: Array
) -> tuple[str, Table, str, Array]:
    of_live, of_this = live.answer.astype(float), candidate.answer.astype(float)
    live_error, this_error = (np.abs(said - candidate.truth) for said in (of_live, of_this))
    apart = np.abs(of_this - of_live)[differ]
    words = (
        f"Their answers differ on {len(differ):,} of {len(of_this):,} rows, by "
        f"{number(float(apart.max()), 3)} at most: this model is nearer the truth on "
        f"{np.sum(this_error < live_error):,} of them, the live model on "
        f"{np.sum(live_error < this_error):,}."
    )
    figures = Table(
        ["Share of rows", "Live model: error at most", "This model: error at most"],
        [
            [
                f"{share:.0%}",
                *(number(float(np.quantile(e, share))) for e in (live_error, this_error)),
            ]
            for share in (0.5, 0.9, 0.99, 1)
        ],
    )
    order = differ[np.argsort(-apart, kind="stable")]
    return words, figures, "Those farthest apart come first.", order


def _rows(inputs: list[Input], candidate: Evaluation, live: Evaluation, order: Array) -> Table:
    public = {item.name for item in inputs if item.public}
    names = dict.fromkeys([*(item.name for item in candidate.importance), *candidate.frame.columns])
    shown = [name for name in names if name in public][:MAX_INPUTS]
    columns = [candidate.frame[name].iloc[order].tolist() for name in shown]
    truth, of_live, of_this = (
        found[order].tolist() for found in (candidate.truth, live.answer, candidate.answer)
    )
    if candidate.kind == "classification":
        of_live, of_this = (
            [_marked(*pair) for pair in zip(said, truth, strict=True)]
            for said in (of_live, of_this)
        )
    rows = zip(truth, of_live, of_this, *columns, strict=True)
    head = ["Truth", "Live model", "This model", *shown]
    return Table(head, [[_cell(value) for value in row] for row in rows])


def _marked(said: Any, truth: Any) -> str:
    return f"{label(said, 38)} {'✓' if said == truth else '✗'}"


def _cell(value: Any) -> str:
    if pd.isna(value):
        return "missing"
    if isinstance(value, bool):
        return "true" if value else "false"
    return number(value) if isinstance(value, float) else label(value, 40)
