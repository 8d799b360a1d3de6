"""The worker that `make fuzz` compares with: all is read in gunicorn's own loop."""

from __future__ import annotations

from gunicorn.workers.ggevent import GeventWorker

from service import worker


class Worker(worker.Worker):
    handle = GeventWorker.handle
    handle_request = GeventWorker.handle_request
