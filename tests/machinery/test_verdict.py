"""What a training run decides, and the sentence that says why."""

from __future__ import annotations

import pytest
from judged import GONE, SHIFT, binary, compared, live

from training.comparison import Outcome
from training.evaluate import Evaluation
from training.report import decide
from training.validation import Finding


@pytest.mark.parametrize(
    ("failed", "outcomes", "findings", "beside", "status", "said"),
    [
        ([], [], [], None, "good", "no model is live"),
        ([], ["good"], [], binary(), "good", "as good as the live model: accuracy 0.916 against"),
        ([], ["better"], [], binary(), "good", "better than the live model"),
        ([], ["better", "good"], [], binary(), "good", "as good as the live model"),
        ([], ["better", "undecided"], [], binary(), "undecided", "between -0.03 and +0.01"),
        ([], ["better", "worse"], [], binary(), "refused", "worse than the live model: accuracy"),
        (["accuracy >= 0.99 (reached 0.9)"], [], [], None, "refused", "0.99 (reached 0.9)"),
        (["r2 >= 0.5 (reached 0)"], ["worse"], [], binary(), "refused", "between -0.05 and -0.01"),
        ([], [], [], "scikit-learn 1.7 is gone", "undecided", "scikit-learn 1.7 is gone"),
        ([], [], [], binary(), "undecided", "nothing is measured"),
        ([], ["good"], [SHIFT], binary(), "good", "the data have changed in “age”"),
        ([], ["worse"], [SHIFT], binary(), "refused", "the data have changed in “age”"),
        ([], ["good"], [GONE], binary(), "undecided", "could not call this one"),
    ],
)
def test_decides(
    failed: list[str],
    outcomes: list[Outcome],
    findings: list[Finding],
    beside: Evaluation | str | None,
    status: str,
    said: str,
) -> None:
    model = live(None, why_not=beside) if isinstance(beside, str) else live(beside)
    verdict = decide(failed, [compared(o) for o in outcomes], findings, model if beside else None)

    assert verdict.status == status
    assert said in verdict.reason
    assert verdict.reason[0].isupper() and verdict.reason.endswith(".")
    assert ".." not in verdict.reason
