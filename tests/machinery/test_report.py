"""The report on a training run: what a reader finds in it, whatever the run was like."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import pandas as pd
import pytest
from judged import (
    FRAME,
    GONE,
    NAME,
    ROWS,
    SHIFT,
    Page,
    binary,
    classifier,
    compared,
    evaluation,
    live,
    manifest_of,
    multiclass,
    regression,
    without_probability,
)
from markdown_it import MarkdownIt

from service.artifact import Baseline
from training.comparison import Compared
from training.evaluate import Evaluation, Importance
from training.inputs import histogram
from training.report import Live, Report, decide, page, summary
from training.validation import Finding


def reported(
    candidate: Evaluation,
    beside: Live | None = None,
    found: Sequence[Compared] = (),
    findings: Sequence[Finding] = (),
    failed: Sequence[str] = (),
    frame: pd.DataFrame = FRAME,
    **given: Any,
) -> Report:
    """Return the report on a run whose candidate learnt from `frame`."""
    names = [str(name) for name in frame.columns]
    candidate = replace(
        candidate, frame=frame, importance=[Importance(name, 0.1, 0.02) for name in names]
    )
    return Report(
        run="2026-11-26-a1b2",
        manifest=manifest_of(candidate, frame, **given),
        evaluation=candidate,
        verdict=decide(list(failed), list(found), list(findings), beside),
        live=beside,
        compared=list(found),
        findings=list(findings),
        facts={"code": "commit 1234abcd", "took": "41 s"},
    )


def worse(judged: Evaluation, rows: int = 12) -> Evaluation:
    """Return a model that answers the first `rows` otherwise."""
    other = np.roll(np.array(judged.classes), 1) if judged.classes else judged.truth + 9
    answer = judged.answer.copy()
    for row in range(rows):
        answer[row] = other[judged.classes.index(answer[row])] if judged.classes else other[row]
    return replace(judged, answer=answer, metrics={name: 0.9 for name in judged.metrics})


def test_a_metric_that_one_model_lacks_is_for_the_expert() -> None:
    lacking = compared("undecided", live=np.nan, margin=np.nan, interval=None)
    report = reported(binary(), live(without_probability()), [lacking])

    assert report.verdict.status == "undecided"
    assert "nan" not in Page(page(report)).text + summary(report)


@pytest.mark.parametrize("judged", [binary, multiclass, regression, without_probability])
def test_shows_both_models_side_by_side(judged: Any) -> None:
    candidate, other = judged(), worse(judged())
    metric = next(iter(candidate.metrics))
    report = reported(candidate, live(other), [compared("better", metric)])
    found = Page(page(report))

    assert "✓ Good" in found.text and NAME in found.text
    assert "✓ better" in found.text and "between +0.01 and +0.05" in found.text
    assert any(alt.startswith("Difference in ") for alt in found.pictures)
    drawn = [alt for alt in found.pictures if "live" in alt]
    assert len(drawn) == (0 if judged is without_probability else 3)
    assert "Rows on which they differ" in found.text
    assert "How good it is" in found.text and "What the data look like" in found.text  # the card
    assert "run 2026-11-26-a1b2" in found.text and "commit 1234abcd" in found.text
    assert all(link.startswith("data:") for link in found.links)
    assert "script" not in found.tags
    assert page(report) == page(report)


def test_tells_how_often_each_is_right_where_they_disagree() -> None:
    names = ["no", "yes"]
    truth = ["yes"] * 30 + ["no"] * 30
    this = evaluation(truth, ["yes"] * 28 + ["no"] * 32, names, accuracy=58 / 60)
    other = evaluation(truth, ["yes"] * 23 + ["no"] * 6 + ["yes"] + ["no"] * 30, names)
    text = Page(page(reported(this, live(other)))).text

    assert "disagree on 6 of 60 rows (10.0%): this model is right on 5 of them" in text
    assert "no yes 5 0 5" in text  # live says no, this yes: 5 rows, live right on none
    assert "yes no 1 1 0" in text
    losses, gains = text.index("yes ✓ no ✗"), text.index("no ✗ yes ✓")
    assert losses < gains


def test_tells_which_of_two_regressions_is_nearer() -> None:
    truth = np.arange(60.0)
    this = evaluation(truth, truth + 1, [], rmse=1.0)
    other = evaluation(truth, truth + np.where(truth < 40, 3.0, 0.0), [], rmse=2.4)
    text = Page(page(reported(this, live(other)))).text

    assert "differ on 60 of 60 rows, by 2 at most: this model is nearer the truth on 40" in text
    assert "50% 3 1" in text  # of live, of this


def test_says_so_if_two_models_answer_the_same() -> None:
    report = reported(binary(), live(binary()), [compared("good", interval=(0.0, 0.0))])

    assert "no difference" in report.verdict.reason
    assert "same answer to all 60 rows" in Page(page(report)).text
    assert "same answer to all 60 rows" in summary(report)


def test_draws_what_shifted_and_lists_what_breaks_callers_first() -> None:
    baseline = Baseline(inputs={str(name): histogram(FRAME[name]) for name in FRAME}, outputs={})
    findings = [Finding("plan", "9% are new", distance=0.2), SHIFT, GONE]
    found = Page(page(reported(binary(), live(binary(), baseline=baseline), [], findings)))

    order = [found.text.index(line) for line in ("gone", SHIFT.line, "9% are new")]
    assert order == sorted(order)
    drawn = [alt for alt in found.pictures if alt.startswith("Histograms of ")]
    assert [alt.split()[2] for alt in drawn] == ["age:", "plan:"]


def test_renders_without_a_live_model_to_compare_with() -> None:
    first = Page(page(reported(binary(), gates=("accuracy >= 0.5",))))
    refused = Page(page(reported(binary(), gates=("accuracy >= 1",), failed=["accuracy >= 1"])))
    apart = Page(page(reported(binary(), live(None, why_not="numpy 1 is gone"), [], [SHIFT])))
    other = Page(page(reported(binary(), live(regression()))))

    assert "✓ Good" in first.text and "No model is live yet" in first.text
    assert "✗ Refused" in refused.text and "✗ failed accuracy ≥ 1" in refused.text
    assert "? For you to decide" in apart.text and "numpy 1 is gone" in apart.text
    assert SHIFT.line in apart.text
    for found in (first, refused, apart, other):
        assert "Rows on which they differ" not in found.text
        assert any(alt.startswith("ROC curve") for alt in found.pictures)


def test_renders_a_model_that_only_judge_judges() -> None:
    none = np.empty(0)
    judged = Evaluation("other", [], FRAME, none, none, None, {"ndcg": 0.9}, [])
    report = reported(judged, live(replace(judged, metrics={"ndcg": 0.8})), [compared("good")])

    assert "ndcg 0.8 0.9 +0.1" in Page(page(report)).text
    assert "| ndcg | 0.8 | 0.9 | +0.1 |" in summary(report)


def test_survives_a_live_model_of_other_classes() -> None:
    fewer, only_a = classifier(["a", "b"]), classifier(["a", "b"], seen=1)
    more = replace(classifier(["c", "b", "a"]), truth=fewer.truth)
    other = classifier(["a", "c"], seen=1)
    for candidate, beside in ((fewer, more), (more, fewer), (only_a, other)):
        found = Page(page(reported(candidate, live(beside)))).pictures
        assert any(alt.startswith("Calibration") for alt in found)


def test_survives_gaps_in_the_rows_it_shows() -> None:
    gaps = FRAME.assign(
        age=pd.array([None] * ROWS, dtype="Int64"),
        at=pd.Series([pd.NaT] * ROWS),
        plan=pd.Categorical([None] * ROWS, categories=["a"]),
    )
    report = reported(binary(), live(worse(binary())))
    report = replace(report, evaluation=replace(report.evaluation, frame=gaps))

    assert "missing missing" in Page(page(report)).text


HOSTILE = "<script>alert(1)</script>|`x`[a](http://b)*c*"


def test_shows_hostile_names_as_they_are() -> None:
    frame = FRAME.rename(columns={"age": HOSTILE})
    names = [HOSTILE, "fine"]
    finding = Finding(HOSTILE, f"{HOSTILE} is new", distance=0.3)
    report = reported(
        classifier(names), live(worse(classifier(names))), [compared("good")], [finding], [], frame
    )
    report = replace(report, run=HOSTILE, facts={HOSTILE: HOSTILE})
    report = replace(report, live=Live("1", HOSTILE, worse(classifier(names))))

    found = Page(page(report))
    assert "script" not in found.tags and found.text.count(HOSTILE) >= 4
    shown = MarkdownIt("js-default").render(summary(report))
    assert not {"script", "a", "em", "code"} & Page(shown).tags
    assert HOSTILE in Page(shown).text
    assert Page(shown).text.count("Difference") == 1


def test_shows_no_free_text() -> None:
    frame = FRAME.assign(note=[f"I live in street {n}" for n in range(ROWS)])
    report = reported(binary(), live(worse(binary())), frame=frame, private=("plan",))
    html = page(report)

    assert "Rows on which they differ" in html
    assert "in street" not in html + summary(report)
    assert "basic" not in html and "note" in html


def test_summary_is_short_and_has_one_table() -> None:
    findings = [Finding(f"column {n}", "moved") for n in range(50)]
    judged = classifier(["a", "b"])
    metrics = {f"metric_{n}": n / 20 for n in range(20)}
    judged = replace(judged, metrics=judged.metrics | metrics)
    text = summary(reported(judged, live(worse(judged)), [compared("undecided")], findings))

    assert len(text.splitlines()) <= 25
    assert text.startswith("## ? For you to decide: churn 0a1b2c3d\n")
    assert "? cannot be told (-0.03 to +0.01)" in text
    assert "disagree on 12 of 60 rows" in text and "and 47 more" in text
    html = MarkdownIt("commonmark").enable("table").render(text)
    assert html.count("<table>") == 1


def test_stays_small_for_many_rows() -> None:
    judged = classifier(["a", "b", "c"], rows=50_000)
    wide = pd.DataFrame({"age": np.arange(50_000.0)})

    assert len(page(reported(judged, live(worse(judged, 9000)), frame=wide))) < 1_500_000
