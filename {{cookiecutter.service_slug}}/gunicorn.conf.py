"""How gunicorn runs the service: read by `gunicorn` without a flag, when started in this folder."""

import gc

# All that is loaded now is loaded for good: looking for garbage in between only takes time.
# service/lifecycle.py switches the collector on again.
gc.disable()

from service import tracing, unified  # noqa: E402

# Datadog's variables first, then ddtrace, then gevent's patches, then all else: ddtrace reads the
# environment when it is loaded, and loaded after the patches it would undo some of them unnoticed.
unified.complete()
if tracing.wanted():
    tracing.load()

# So early that no lock, socket or logger is made unpatched before the fork.
from gevent import monkey  # noqa: E402

monkey.patch_all()

import logging  # noqa: E402
import os  # noqa: E402
import resource  # noqa: E402
import signal  # noqa: E402
import sys  # noqa: E402

from service.errors import exit_if_refused  # noqa: E402
from service.lifecycle import Lifecycle  # noqa: E402
from service.settings import Settings, cpu_quota  # noqa: E402

with exit_if_refused():
    settings = Settings.from_env()

# In a container this is process 1, for which the kernel ignores signals without a handler. gunicorn
# sets its own when the model is loaded; a pod told to stop before that would wait to be killed.
signal.signal(signal.SIGTERM, lambda signum, frame: sys.exit(0))

wsgi_app = "service.app:main()"
bind = f"{settings.bind_host}:{settings.port}"
worker_class = "service.worker.Worker"
logger_class = "service.logs.Logger"
workers = settings.workers
keepalive = settings.keepalive_seconds
max_requests = settings.max_requests
max_requests_jitter = settings.max_requests // 10  # not all workers at once
# An open connection costs a descriptor, so allow as many as the system does; what a worker does not
# accept would queue unseen in the kernel, probes included. Who may wait is decided in the batcher.
_, most_files = resource.getrlimit(resource.RLIMIT_NOFILE)
resource.setrlimit(resource.RLIMIT_NOFILE, (most_files, most_files))
worker_connections = settings.max_connections
if most_files != resource.RLIM_INFINITY:
    worker_connections = min(worker_connections, max(1, most_files - 100))
# Loaded once, before the fork, and shared: a further worker costs its own pages only.
preload_app = True
# gunicorn's remote control: a thread that does not survive the fork, and a socket nobody uses.
control_socket_disable = True
# The arbiter waits this long before it kills, so it has to count the time of draining too.
graceful_timeout = settings.drain_seconds + settings.graceful_timeout_seconds

# As many threads in BLAS and OpenMP as the quota leaves each worker; they would take all the
# host's cores. Has to be known before numpy is imported, which is why nothing above imports it.
for library in ("OMP", "OPENBLAS", "MKL", "BLIS", "NUMEXPR"):
    os.environ.setdefault(f"{library}_NUM_THREADS", str(max(1, cpu_quota() // workers)))

# gunicorn takes a client that was dropped for not reading (lifecycle.py) for an error of ours.
logging.getLogger("gunicorn.error").addFilter(
    lambda record: not (record.exc_info and isinstance(record.exc_info[1], TimeoutError))
)

lifecycle = Lifecycle(settings)
when_ready = lifecycle.when_ready
pre_fork = lifecycle.pre_fork
post_worker_init = lifecycle.post_worker_init
worker_exit = lifecycle.worker_exit
child_exit = lifecycle.child_exit
