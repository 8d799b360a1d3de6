"""What gevent replaces in the standard library, and what not.

The same in a service and when training tries one, so that training sees what would hang.
"""

from __future__ import annotations

from typing import Any

from gevent import events, monkey

# gevent's child processes work in the hub's thread alone, and the model has another.
NATIVE = ("os", "signal", "subprocess")


def patch() -> None:
    """Make the process cooperative. So early that no lock, socket or logger is made before."""
    events.subscribers.append(_leave_native)  # also when gunicorn patches again, in the worker
    monkey.patch_all()
    import multiprocessing  # which makes locks

    # A forked child would have half of the hub, without the threads that the locks are held by.
    multiprocessing.set_start_method("spawn")


def _leave_native(event: Any) -> None:
    if isinstance(event, events.GeventWillPatchModuleEvent) and event.module_name in NATIVE:
        raise events.DoNotPatch
