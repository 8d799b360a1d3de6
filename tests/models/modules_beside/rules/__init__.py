"""What the business says."""

from rules.bands import band

__all__ = ["band"]
