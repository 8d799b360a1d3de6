"""What all steps of a run share. Luigi makes tasks from plain parameters, so it is not one."""

from __future__ import annotations

import time
from dataclasses import dataclass, field
from typing import Any

from pipeline.live import LiveModel
from pipeline.store import Store
from training.owner import Options


@dataclass
class Context:
    """`user` is the module model.py, `files` it and what it imports, as they were at the start.

    `live` is what the candidate is compared with, None if there is no model yet. `memory` holds
    what steps of this process have made or read, by key; `shown` are the names of steps that were
    said to be done before.
    """

    store: Store
    run: str
    user: Any
    options: Options
    files: dict[str, bytes]
    live: LiveModel | None = None
    started: float = field(default_factory=time.time)
    memory: dict[str, Any] = field(default_factory=dict)
    shown: set[str] = field(default_factory=set)
    failure: BaseException | None = None
