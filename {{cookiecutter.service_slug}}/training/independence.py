"""Whether a row gets the same answer in any company: the service puts rows of others beside it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np

from service.engine import Predictor, differing_field
from service.record import Answer, Row
from training.errors import TrainingError

HINT = (
    "an answer must not depend on the other rows of a call (a mean, rank or get_dummies of the "
    "frame belongs into fit), nor on chance"
)


def answer_alike(
    predict: Predictor, rows: Sequence[Row], among_all: Mapping[int, Answer]
) -> list[Answer]:
    """Return the answers to `rows`; raises TrainingError if one differs by the rows beside it.

    `among_all`: the answers to the same rows among all that were kept aside, by their number there.
    """
    names = list(among_all)
    order = np.random.default_rng(0).permutation(len(rows)).tolist()
    asked = [
        *(("alone", [i]) for i in range(len(rows))),
        ("shuffled", order),
        ("repeated", [*range(len(rows)), *range(len(rows))]),
        ("together", [*range(len(rows))]),
    ]
    expected = list(among_all.values())
    answers: list[Answer] = []
    for company, chosen in asked:
        try:
            answers = predict([rows[i] for i in chosen])
        except Exception as error:
            message = " ".join(f"{type(error).__name__}: {error}".split())[:300]
            row = f"row {names[chosen[0]]}" if len(chosen) == 1 else f"{len(chosen)} rows"
            raise TrainingError(
                f"predict: {row} of those kept aside cannot be answered {company}: {message}: "
                f"{HINT}"
            ) from error
        for i, answer in zip(chosen, answers, strict=True):
            if (name := differing_field(answer, expected[i])) is not None:
                said = (
                    f"{answer.get(name)!r:.60} {company}, {expected[i].get(name)!r:.60} among all"
                )
                raise TrainingError(
                    f"predict: {name!r} of row {names[i]} of those kept aside is {said}: {HINT}"
                )
    return answers
