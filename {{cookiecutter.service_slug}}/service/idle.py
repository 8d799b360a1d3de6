"""When there is nothing to do, for work that must not be in the way of requests."""

from __future__ import annotations

import gevent
from gevent.event import Event
from gevent.lock import BoundedSemaphore


class Idle(Event):
    """Set while the model has nothing to do."""

    def __init__(self) -> None:
        super().__init__()
        self._one_waits = BoundedSemaphore()

    def wait_for_hub(self, seconds: float) -> bool:
        """Return True when the hub has nothing to do either, False after so many seconds.

        The model, in its thread, would have to share the interpreter with such work. One waits at a
        time, so that the hub looks at its sockets between one piece of work and the next.
        """
        with gevent.Timeout(seconds, False), self._one_waits:  # type: ignore[arg-type]
            gevent.idle()
            while not self.is_set():
                self.wait()
                gevent.idle()
            return True
        return False
