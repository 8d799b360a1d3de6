"""What the model says and is asked, beside what training saw."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping

from rich.text import Text

from service.artifact import Histogram
from service.metrics import tag
from tools.observe import draw
from tools.observe.facts import LONGER, RECENT, Facts
from tools.observe.sketch import Sketch
from tools.observe.windows import Windows

BINS = 20
QUANTILES = (("5 %", 0.05), ("median", 0.5), ("95 %", 0.95))


def predictions(windows: Windows, facts: Facts, width: int, height: int) -> Iterator[Text]:
    """The mix of classes; of a regression, how its values spread."""
    span = windows.age(RECENT)
    pace = draw.rate(windows.total("model.rows", span) / span).replace("/", " rows/")
    outputs = facts.manifest.outputs
    if outputs.kind == "regression":
        field, sketch = _headline(windows, facts)
        yield Text(f"{field}, {pace}", "dim")
        for name, q in QUANTILES:
            value = sketch.quantile(q) if sketch else math.nan
            yield Text.assemble(f"{name:8}", (f"{draw.number(value):>10}", "bold"))
        return
    mix = windows.sums("model.predictions", "class", LONGER)
    if not (total := sum(mix.values())):
        yield Text("no predictions yet", "dim")
        return
    trained = _trained(facts, outputs.fields[0].name)
    label = min(max(map(len, mix)), width - 25) if width > 32 else width - 17
    meter = width - 17 - label
    pace = pace if len(pace) < width - 16 else ""
    yield Text(f"{pace:{width - 16}}{'now':>7}{'training':>9}", "dim")
    for name, count in sorted(mix.items(), key=lambda item: -item[1])[: height - 1]:
        yield Text.assemble(
            draw.fit(name, label) + " ",
            (draw.bar(count / total, meter), draw.MODEL),
            (f"{draw.share(count / total):>7}", "bold"),
            (f"{draw.share(trained.get(name, math.nan)):>9}", "dim"),
        )


def values(windows: Windows, facts: Facts, width: int, height: int) -> Iterator[Text]:
    """How the first number of the answers is distributed, with that of training below."""
    field, sketch = _headline(windows, facts)
    if not sketch:
        yield Text("no values yet", "dim")
        return
    trained = facts.manifest.baseline.outputs.get(field)
    if trained and trained.edges:
        edges, before = trained.edges, [float(count) for count in trained.counts]
    else:
        edges, before = _even(sketch), []

    def chart(counts: list[float], lines: int, style: str) -> list[Text]:
        stretched = [counts[at * len(counts) // width] for at in range(width)]
        return draw.columns([draw.Column(count, style) for count in stretched], lines, max(counts))

    below = (1 if height < 9 else height // 3) if before else 0
    yield from chart(sketch.histogram(edges), max(height - below - 1, 1), draw.MODEL)
    if before:
        yield from chart(before, below, draw.TRAINED)
    places = max(0, 1 - math.floor(math.log10(edges[-1] - edges[0] or 1.0)))
    low, high = (f"{round(edge, places) + 0.0:,.{places}f}" for edge in (edges[0], edges[-1]))
    yield Text(low + high.rjust(width - len(low)), "dim")


def inputs(windows: Windows, facts: Facts, width: int, height: int) -> Iterator[Text]:
    """Values outside the range of training, and missing ones: the share of rows that have them."""
    rows = windows.total("model.rows", LONGER)
    if not rows:
        yield Text("no rows yet", "dim")
        return
    found = [
        (count / rows, f"{note}{name}")
        for metric, note in (("model.out_of_range", ""), ("model.nulls", "missing "))
        for name, count in windows.sums(metric, "input", LONGER).items()
    ]
    found.sort(reverse=True)
    if not found:
        yield Text("none: all as in training", draw.GOOD)
    meter = min(max(width - 34, 0), 30)
    room = height if len(found) <= height else height - 1
    for part, name in found[:room]:
        yield Text.assemble(
            draw.fit(name.replace("_", " "), width - meter - 9) + " ",
            (draw.bar(part, meter), draw.LOADED),
            (f"{draw.share(part):>8}", "bold"),
        )
    if len(found) > room:
        yield Text(f"and {len(found) - room} more", "dim")


def _headline(windows: Windows, facts: Facts) -> tuple[str, Sketch | None]:
    """Return the field of the answers that is shown, and its values."""
    sketches = windows.sketches("model.value", "field", LONGER)
    return facts.value, sketches.get(tag("field", facts.value).partition(":")[2])


def _trained(facts: Facts, field: str) -> Mapping[str, float]:
    """Return the share that each class had in training, by the class's tag."""
    histogram = facts.manifest.baseline.outputs.get(field, Histogram(counts=[]))
    total = sum(histogram.counts)
    return {
        tag("class", value).partition(":")[2]: count / total
        for value, count in zip(histogram.values or [], histogram.counts, strict=False)
    }


def _even(sketch: Sketch) -> list[float]:
    low, high = sketch.minimum, sketch.maximum
    step = (high - low) / BINS or 1.0
    return [low + step * at for at in range(BINS + 1)]
