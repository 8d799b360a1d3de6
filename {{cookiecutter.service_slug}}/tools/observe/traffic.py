"""How the service does: requests, latency, where the time goes, workers."""

from __future__ import annotations

import math
from collections.abc import Iterator

from rich.text import Text

from tools.observe import draw
from tools.observe.facts import RECENT, Facts
from tools.observe.windows import Windows

# All is well, or the worst first.
OUTCOMES = {
    "ok": draw.GOOD,
    "error": draw.BAD,
    "shed": draw.LOADED,
    "expired": draw.LOADED,
    "client_error": draw.CALLER,
    "cancelled": draw.CALLER,
}
FAILED = ("error", "shed", "expired")
STAGES = (
    ("decode", "inference.decode"),
    ("queue wait", "inference.queue_wait"),
    ("predict", "inference.predict_time"),
    ("encode", "inference.encode"),
)


def requests(windows: Windows, facts: Facts, width: int, height: int) -> Iterator[Text]:
    """Requests a second, by outcome; the foot of a column is what was not ok."""
    span = windows.age(RECENT)
    sums = windows.sums("inference.requests", "outcome", span)
    total = sum(sums.values())
    history = windows.each_sum("inference.requests", "outcome", width)
    top = max(sum(second.values()) for second in history)
    if not top:
        yield Text("none yet: try the command below,", "dim")
        yield Text("or make observe ARGS=--load", "dim")
        return

    head = Text.assemble((draw.rate(total / span), "bold"))
    if total:
        failed = sum(sums.get(outcome, 0.0) for outcome in FAILED) / total
        kept = failed <= facts.promise.error_ratio
        style = draw.GOOD if kept else f"bold {draw.BAD}"
        head.append(f"   failed {draw.share(failed)}", style)
    yield draw.apart(head, Text(f"peak {draw.rate(top)}", "dim"), width)

    across = next((n for n in (6, 3, 2) if width // n >= 19), 1)
    below = len(OUTCOMES) // across
    chart = [
        draw.Column(sum(s.values()), draw.GOOD, sum(s.values()) - s.get("ok", 0.0), _worst(s))
        for s in history
    ]
    yield from draw.columns(chart, max(height - 1 - below, 1), top)
    cells = [
        (f"{name.replace('_', ' ')} {draw.rate(number)}", style if number else "dim")
        for name, style in OUTCOMES.items()
        for number in [sums.get(name, 0.0) / span]
    ]
    for start in range(0, len(cells), across):
        room = width // across
        line = [(draw.fit(cell, room), style) for cell, style in cells[start : start + across]]
        yield Text.assemble(*line)


def _worst(outcomes: dict[str, float]) -> str:
    return next(
        (style for name, style in OUTCOMES.items() if name != "ok" and name in outcomes), ""
    )


def latency(windows: Windows, facts: Facts, width: int, height: int) -> Iterator[Text]:
    """Of requests that were answered well: refusals are quick, and would flatter it."""
    sketch = windows.sketches("inference.latency", "outcome", RECENT).get("ok")
    history = [s.get("ok") for s in windows.each_sketch("inference.latency", "outcome", width)]
    if not any(history):
        yield Text("no answers yet", "dim")
        return
    tail = [s.quantile(0.99) if s else math.nan for s in history]
    median = [s.quantile(0.5) if s else math.nan for s in history]
    promise = facts.promise.p99_ms / 1e3
    p50, p90, p99 = (sketch.quantile(q) if sketch else math.nan for q in (0.5, 0.9, 0.99))
    # Marked with the colours of the chart.
    yield Text.assemble(
        *(("p50", f"#000000 on {draw.TIME}"), (f" {draw.seconds(p50)}", "bold")),
        *("  p90 ", (draw.seconds(p90), "bold"), "  "),
        *(("p99", f"#ffffff on {draw.TAIL}"), " "),
        (draw.seconds(p99), f"bold {draw.BAD}" if p99 > promise else "bold"),
    )
    top = max(value for value in tail if not math.isnan(value))
    chart = [
        draw.Column(high, draw.LATE_TAIL, core, draw.LATE)
        if high > promise
        else draw.Column(high, draw.TAIL, core, draw.TIME)
        for high, core in zip(tail, median, strict=True)
    ]
    yield from draw.columns(chart, max(height - 2, 1), top)
    yield draw.apart(
        Text.assemble(
            (f"promised p99 ≤ {facts.promise.p99_ms:g} ms: ", "dim"),
            ("missed", f"bold {draw.BAD}") if p99 > promise else ("kept", draw.GOOD),
        ),
        Text(f"peak {draw.seconds(top)}", "dim"),
        width,
    )


def stages(windows: Windows, facts: Facts, width: int, height: int) -> Iterator[Text]:
    """Where a request's time goes, and what was not let in or given up."""
    chart = max(width - 12 - 2 * 9 - 1, 0)
    yield Text(f"{'':12}{'p50':>9}{'p99':>9}", "dim")
    for label, name in STAGES:
        yield _stage(windows, label, name, chart, draw.seconds)
    yield _stage(windows, "batch, rows", "inference.batch_size", chart, draw.whole)
    for label, name in (("shed", "inference.shed"), ("expired", "inference.expired")):
        span = windows.age(RECENT)
        reasons = windows.sums(name, "reason", span)
        total = sum(reasons.values()) / span
        line = Text(f"{label:12}{draw.rate(total):>9}", draw.LOADED if total else "dim")
        for reason, number in sorted(reasons.items(), key=lambda item: -item[1]):
            line.append(f"  {reason} {draw.rate(number / span)}", draw.LOADED)
        yield line


def _stage(windows: Windows, label: str, name: str, chart: int, show: draw.Show) -> Text:
    sketch = windows.sketches(name, "", RECENT).get("")
    p50, p99 = (sketch.quantile(q) if sketch else math.nan for q in (0.5, 0.99))
    line = Text(f"{label:12}{show(p50):>9}{show(p99):>9} ")
    if chart:
        history = [s.get("") for s in windows.each_sketch(name, "", chart)]
        tail = [s.quantile(0.99) if s else math.nan for s in history]
        top = max((value for value in tail if not math.isnan(value)), default=0.0)
        line.append_text(draw.columns([draw.Column(v, draw.TIME) for v in tail], 1, top * 8 / 7)[0])
    return line


def workers(windows: Windows, facts: Facts, width: int, height: int) -> Iterator[Text]:
    span = windows.age(RECENT)
    cpu = windows.sums("worker.cpu", "worker", span)
    rss = windows.gauges("worker.rss", "worker")
    names = sorted(rss.keys() | cpu.keys(), key=lambda name: (len(name), name))
    if not names:
        yield Text("no worker has reported yet", "dim")
        return
    gauges = [
        windows.gauges(metric, "worker")
        for metric in ("worker.connections", "inference.in_flight", "inference.queued_rows")
    ]
    pss = sum(windows.gauges("worker.pss", "worker").values())
    meter = max(width - 37, 0)

    def row(name: str, used: float, memory: float, values: list[float]) -> Text:
        style = draw.LOADED if used > 0.9 and name != "all" else draw.GOOD
        return Text.assemble(
            draw.fit(name, 4),
            (draw.bar(used, meter) if name != "all" else " " * meter, style),
            (f"{used:>6.0%}", style),
            f"{draw.size(memory):>9}",
            *(f"{value:>6.0f}" for value in values),
        )

    yield Text(f"{'':{meter + 4}}{'cpu':>6}{'memory':>9}{'open':>6}{'busy':>6}{'queue':>6}", "dim")
    room = height - 3 if len(names) <= height - 3 else height - 4
    for name in names[:room]:
        values = [found.get(name, 0.0) for found in gauges]
        yield row(name, cpu.get(name, 0.0) / span, rss.get(name, math.nan), values)
    if len(names) > room:
        yield Text(f"and {len(names) - room} more", "dim")
    totals = [sum(found.values()) for found in gauges]
    yield row("all", sum(cpu.values()) / span, pss or math.nan, totals)
    spare = height - 3 - len(names)
    if spare > 1:
        yield from _cpu(windows, width, spare)
    lag = windows.sketches("inference.hub_lag", "", RECENT).get("")
    late = lag.quantile(0.99) if lag else math.nan
    style = draw.LOADED if late > 0.05 else "bold"
    yield Text.assemble("hub lag p99 ", (draw.seconds(late), style))


def _cpu(windows: Windows, width: int, height: int) -> list[Text]:
    """Return a chart of what all workers use; reports come about, but not just, once a second."""
    history = [sum(s.values()) for s in windows.each_sum("worker.cpu", "", width + 2)]
    smooth = [sum(history[at : at + 3]) / 3 for at in range(width)]
    return draw.columns([draw.Column(v, draw.TIME) for v in smooth], height, max(smooth))
