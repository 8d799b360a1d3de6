"""Ghost mode: how a candidate's answers compare with the live ones."""

from __future__ import annotations

from collections.abc import Iterator

from rich.text import Text

from tools.observe import draw
from tools.observe.facts import LONGER, RECENT, Facts
from tools.observe.windows import Windows

AGREE = ("match", "within_tolerance")
UNKNOWN = ("not_compared", "expired")
STYLES = dict.fromkeys(AGREE, draw.GOOD) | dict.fromkeys(UNKNOWN, draw.CALLER)


def active(windows: Windows) -> bool:
    """Tell whether the service is in ghost mode, or was until just now."""
    gauges = windows.gauges("shadow.percent", "worker")
    return bool(gauges or windows.sums("shadow.requests", "", LONGER))


def compared(windows: Windows, facts: Facts, width: int, height: int) -> Iterator[Text]:
    if any(windows.gauges("shadow.breaker.open", "worker").values()):
        yield Text("breaker open: the candidate fails, copies wait", f"bold {draw.BAD}")
    yield from _verdicts(windows, width)
    roles = windows.sketches("shadow.inference", "role", RECENT)
    for role in ("live", "candidate"):
        if sketch := roles.get(role):
            p50, p99 = (draw.seconds(sketch.quantile(q)) for q in (0.5, 0.99))
            yield Text(f"{role:10} p50 {p50:>8}  p99 {p99:>8}")
    span = windows.age(RECENT)
    outcomes = windows.sums("shadow.requests", "outcome", span)
    parts = (f"{name.replace('_', ' ')} {draw.rate(n / span)}" for name, n in outcomes.items())
    yield Text(", ".join(parts) or "no copies yet", "dim")


def _verdicts(windows: Windows, width: int) -> Iterator[Text]:
    verdicts = windows.sums("shadow.compare", "verdict", LONGER)
    total = sum(verdicts.values())
    pairs = total - sum(verdicts.get(verdict, 0.0) for verdict in UNKNOWN)
    if pairs:
        agreement = sum(verdicts.get(verdict, 0.0) for verdict in AGREE) / pairs
        yield Text.assemble(
            ("agreement ", "bold"),
            (draw.share(agreement), f"bold {draw.GOOD if agreement == 1 else draw.LOADED}"),
            (f" of {pairs:,.0f} pairs", "dim"),
        )
    meter = min(max(width - 34, 0), 40)
    for verdict, count in sorted(verdicts.items(), key=lambda item: -item[1]):
        style = STYLES.get(verdict, draw.BAD)
        yield Text.assemble(
            draw.fit(verdict.replace("_", " "), min(width - 9, 17)) + " ",
            (draw.bar(count / total, meter), style),
            (f"{draw.share(count / total):>8}", style),
        )
