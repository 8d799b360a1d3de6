"""Numbers as people read them."""

from __future__ import annotations


def percent(share: float) -> str:
    """Return a share like 99.3% or 99.996%: only all is 100%, and only none is 0%."""
    for digits in range(2, 8):
        text = f"{share * 100:.{digits}f}"
        if float(text) not in (0, 100) or share in (0, 1):
            break
    return text.rstrip("0").rstrip(".") + "%"
