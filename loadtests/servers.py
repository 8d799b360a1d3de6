"""The servers compared: how each is started, asked and understood.

One worker each. A server that can batch does: up to 64 requests and the wait that served most here,
or as its own adaptive default has it. Telemetry and access logs are off, except where a title says
so. Advice followed is cited beside the option it led to, here and in rivals/; where it left a
choice, the faster one.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from loadtests import agent

# Numbers, but for the nonsense that a server has to refuse.
Rows = Sequence[Sequence[Any]]


@dataclass(frozen=True)
class Answer:
    """What a server said of one row; protocols that carry probabilities only have no label."""

    score: float
    label: str | None = None


@dataclass(frozen=True)
class Server:
    """`command` and `prepare` run in the server's own environment and may use {port} and {state},
    a folder for the files it makes."""

    name: str
    title: str
    packages: tuple[str, ...]
    command: tuple[str, ...]
    path: str = "/predict"
    body: Callable[[Rows], Any] = lambda rows: {"instances": rows}
    read: Callable[[Any], list[Answer]] = lambda answer: [
        Answer(item["score"], item["label"]) for item in answer["predictions"]
    ]
    environ: Mapping[str, str] = field(default_factory=dict)
    prepare: tuple[str, ...] = ()
    # Whether its model was fitted to a data frame, and is asked with one.
    frame: bool = False
    # Whether it takes much of its core even if nobody asks it anything.
    polls: bool = False

    @property
    def rival(self) -> str:
        """Its folder in rivals/, and the name of its environment."""
        return self.name.removesuffix("-frame")


def _flat(rows: Rows) -> list[Any]:
    return [value for row in rows for value in row]


# gunicorn's defaults: no access log, 1,000 connections a worker. Its C parser (the "fast" extra) is
# left out on both sides, because the service under test does without it too.
GUNICORN = (
    "gunicorn",
    "--worker-class=gevent",
    "--workers=1",
    "--bind=127.0.0.1:{port}",
    "app:app",
)

CEILING = Server(
    name="ceiling",
    title="raw WSGI, no model (ceiling)",
    packages=("gunicorn", "gevent", "msgspec"),
    command=GUNICORN,
)

OURS = Server(
    name="ours",
    title="this template",
    packages=("gunicorn", "gevent", "flask", "msgspec", "scikit-learn"),
    # Everything else is what the template ships in gunicorn.conf.py.
    command=("gunicorn",),
    environ={
        "WEB_CONCURRENCY": "1",
        "BIND_HOST": "127.0.0.1",
        "PORT": "{port}",
        # Off, even where there is an agent.
        "DD_TRACE_ENABLED": "false",
        "DD_DOGSTATSD_URL": "",
        "DD_AGENT_HOST": "",
    },
)

_METRICS = {"DD_DOGSTATSD_URL": f"unix://{agent.METRICS}"}
_EVERY_TRACE = {
    "DD_TRACE_ENABLED": "true",
    "DD_TRACE_AGENT_URL": f"unix://{agent.TRACES}",
    "DD_SERVICE": "bench",
}
_TRACES = {**_EVERY_TRACE, "DD_ENV": agent.RATED}


def _observed(name: str, title: str, environ: Mapping[str, str]) -> Server:
    return replace(OURS, name=name, title=title, environ={**OURS.environ, **environ})


OBSERVED = _observed("observed", "this template, telemetry on", {**_METRICS, **_TRACES})
# What each part costs.
PARTS = (
    _observed("metrics", "this template, metrics only", _METRICS),
    _observed("traces", "this template, traces only", _TRACES),
    _observed("logs", "this template, a log line a request", {"LOG_SAMPLE": "1"}),
    _observed("every", "this template, metrics and every trace", {**_METRICS, **_EVERY_TRACE}),
)

FLASK = Server(
    name="flask",
    title="naive Flask on gunicorn",
    packages=("flask", "gunicorn", "gevent", "scikit-learn"),
    command=GUNICORN,
)

RIVALS = (
    FLASK,
    replace(FLASK, name="flask-frame", title="naive Flask, a data frame", frame=True),
    Server(
        name="fastapi",
        title="FastAPI on uvicorn",
        packages=("fastapi", "uvicorn", "uvloop", "scikit-learn"),
        # The "standard" extra brings uvloop and httptools, which uvicorn's documentation advises;
        # uvicorn then selects them by itself.
        command=("uvicorn", "app:app", "--port={port}", "--no-access-log", "--log-level=warning"),
    ),
    Server(
        name="litserve",
        title="LitServe",
        packages=("litserve", "uvicorn", "scikit-learn"),
        command=("python", "app.py", "{port}"),
        polls=True,
    ),
    Server(
        name="mlserver",
        title="MLServer",
        packages=("mlserver", "mlserver-sklearn", "scikit-learn"),
        # docs.seldon.ai/mlserver: "Adaptive batching" is off until model-settings.json asks for it;
        # the process pool of "Parallel inference" is for several cores, so settings.json has none:
        # on one core that takes less memory and is no slower.
        command=("mlserver", "start", "."),
        path="/v2/models/classifier/infer",
        body=lambda rows: {
            "inputs": [
                {
                    "name": "rows",
                    "datatype": "FP64",
                    "shape": [len(rows), len(rows[0])],
                    "data": _flat(rows),
                }
            ]
        },
        # Two probabilities a row, flattened: benign, malignant.
        read=lambda answer: [Answer(score) for score in answer["outputs"][0]["data"][1::2]],
        environ={
            "MLSERVER_HTTP_PORT": "{port}",
            "MLSERVER_GRPC_PORT": "{spare_port}",
            "MLSERVER_MODEL_URI": "{model}",
            "MLSERVER_METRICS_DIR": "{state}",
        },
    ),
    Server(
        name="bentoml",
        title="BentoML",
        packages=("bentoml", "uvicorn", "scikit-learn"),
        command=("bentoml", "serve", "service:Classifier", "--host=127.0.0.1", "--port={port}"),
        read=lambda answer: [Answer(item["score"], item["label"]) for item in answer],
        environ={
            "BENTOML_HOME": "{state}",
            "BENTOML_DO_NOT_TRACK": "true",
        },
    ),
    Server(
        name="mlflow",
        title="MLflow",
        packages=("mlflow", "uvicorn", "scikit-learn"),
        prepare=("python", "save.py", "{state}/model"),
        command=(
            *("mlflow", "models", "serve", "--model-uri={state}/model", "--env-manager=local"),
            *("--host=127.0.0.1", "--port={port}", "--workers=1"),
        ),
        path="/invocations",
        body=lambda rows: {"inputs": rows},
        read=lambda answer: [Answer(malignant) for _, malignant in answer["predictions"]],
        # MLflow starts uvicorn, which takes its options from here too.
        environ={"UVICORN_ACCESS_LOG": "false", "UVICORN_LOG_LEVEL": "warning"},
    ),
)

COMPARED = (CEILING, OURS, OBSERVED, *RIVALS)
SERVERS = {server.name: server for server in (*COMPARED, *PARTS)}
# The names under which the template runs.
TEMPLATE = {server.name for server in (OURS, OBSERVED, *PARTS)}
