"""Command lines that answer a mistake with one line, as the programs behind them do."""

from __future__ import annotations

import argparse
import math
from collections.abc import Callable
from typing import NoReturn


class Parser(argparse.ArgumentParser):
    """Says what is wrong after `refusal`, such as "not sized", and exits with `code`."""

    def __init__(self, module: str, about: str | None, refusal: str, code: int = 2) -> None:
        super().__init__(
            prog=f"python -m {module}",
            description=about,
            formatter_class=argparse.RawDescriptionHelpFormatter,
        )
        self._refusal, self._code = refusal, code

    def error(self, message: str) -> NoReturn:
        self.exit(self._code, f"{self._refusal}: {' '.join(message.split())}\n")

    def number(self, name: str, expected: str) -> Callable[[str], float]:
        """Return the type of an option that people know by a name, such as a variable of make."""

        def read(text: str) -> float:
            try:
                value = float(text)
            except ValueError:
                value = math.nan
            if not math.isfinite(value):
                self.error(f"{name}={text}: expected {expected}")
            return value

        return read
