"""The confusion matrix: which classes the model takes for which."""

from __future__ import annotations

from collections import Counter
from typing import Any

import numpy as np

from training.evaluate import Evaluation
from training.figures import INK, SHADES, Plot, one_plot, styled, svg
from training.plots import label

MAX_CLASSES = 20


@styled
def confusion(evaluation: Evaluation) -> Plot:
    """Draw the answers of a classification against the truth."""
    classes = frequent_classes(evaluation, MAX_CLASSES)
    size = len(classes)
    pairs = Counter(zip(evaluation.truth.tolist(), evaluation.answer.tolist(), strict=True))
    rows = Counter(evaluation.truth.tolist())
    counts = np.array([[pairs[true, said] for said in classes] for true in classes])
    shares = counts / np.array([[max(rows[true], 1)] for true in classes])
    figure, axes = one_plot(height=max(3.7, 0.24 * size + 1))
    axes.pcolormesh(shares, cmap=SHADES, vmin=0, vmax=1, edgecolors="#dde3e9", linewidth=0.8)
    for (i, j), count in np.ndenumerate(counts):
        share = f"\n{shares[i, j]:.0%}" if size <= 6 else ""
        color = "white" if shares[i, j] > 0.55 else INK
        text = f"{count:,}{share}" if count or size <= 6 else ""
        font = 10 if size <= 6 else 7
        axes.text(j + 0.5, i + 0.5, text, ha="center", va="center", color=color, fontsize=font)
    names = [label(name, 14) for name in classes]
    slope = 60 if sum(map(len, names)) > 48 else 0
    axes.set_xticks(np.arange(size) + 0.5, names, rotation=slope)
    axes.set_yticks(np.arange(size) + 0.5, names)
    axes.tick_params(length=0)
    axes.invert_yaxis()
    axes.spines[:].set_visible(False)
    axes.set(xlabel="the model's answer", ylabel="the truth")
    right = sum(pairs[name, name] for name in evaluation.classes)
    return Plot(
        "Confusion matrix",
        f"Confusion matrix: {right} of {len(evaluation.truth)} held-out rows on the diagonal",
        "Each row of the matrix holds the held-out rows of one true class, spread over the answers "
        "they got; the darker, the larger the share of the class. The diagonal is right."
        f"{of_many(evaluation, size)}",
        svg(figure),
    )


def frequent_classes(evaluation: Evaluation, limit: int) -> list[Any]:
    """Return the classes in their order; of more than `limit`, those commonest in held-out rows."""
    common = {value for value, _ in Counter(evaluation.truth.tolist()).most_common(limit)}
    few = len(evaluation.classes) <= limit
    return [value for value in evaluation.classes if few or value in common]


def of_many(evaluation: Evaluation, shown: int) -> str:
    """Return a caption's note on the classes that are not shown, "" if all are."""
    hidden = len(evaluation.classes) - shown
    return f" The {shown} commonest of {len(evaluation.classes)} classes." if hidden else ""
