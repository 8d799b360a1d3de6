"""What can be wrong with a question."""

from __future__ import annotations

import argparse
import math


class SizingError(Exception):
    """Cannot be measured or planned; the message is one line for people."""


def positive(text: str) -> float:
    """Return the number of an argument; argparse says what was expected otherwise."""
    try:
        value = float(text)
    except ValueError:
        value = math.nan
    if not 0 < value < math.inf:
        raise argparse.ArgumentTypeError(f"{text!r}: expected a number over 0")
    return value
