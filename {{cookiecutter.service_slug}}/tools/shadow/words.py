"""Numbers as people read them."""

from __future__ import annotations

from datetime import timedelta

MARKS = {"passed": "✓", "failed": "✗", "open": "…"}


def percent(share: float) -> str:
    """Return a share like 99.3% or 99.996%: only all is 100%, and only none is 0%."""
    for digits in range(2, 8):
        text = f"{share * 100:.{digits}f}"
        if float(text) not in (0, 100) or share in (0, 1):
            break
    return text.rstrip("0").rstrip(".") + "%"


def period(time: timedelta) -> str:
    """Return a time like 40 seconds, 3.5 hours or 2 days."""
    seconds = time.total_seconds()
    units = (("day", 86400), ("hour", 3600), ("minute", 60), ("second", 1))
    name, unit = next((u for u in units if seconds >= u[1]), units[-1])
    count = f"{seconds / unit:.3g}"
    return f"{count} {name}{'' if count == '1' else 's'}"
