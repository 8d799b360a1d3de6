"""What is shown while a job is followed: each state once, with the time since the start."""

from __future__ import annotations

import time
from dataclasses import dataclass, field


@dataclass
class Progress:
    started: float = field(default_factory=time.monotonic)
    shown: str = ""

    def __call__(self, state: str) -> None:
        if state != self.shown:
            print(f"    {time.monotonic() - self.started:4.0f} s  {state}", flush=True)
            self.shown = state
