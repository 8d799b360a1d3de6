"""Models judged and compared by hand, their manifests, and what a browser makes of a page."""

from __future__ import annotations

import base64
from dataclasses import replace
from html.parser import HTMLParser
from typing import Any
from xml.etree import ElementTree

import msgspec
import numpy as np
import pandas as pd

from service.artifact import Baseline, Data, Golden, Manifest, Output, Outputs, Source
from training.comparison import Compared, Outcome
from training.evaluate import Array, Evaluation
from training.inputs import describe, histogram
from training.report import Live
from training.validation import Finding

ROWS = 60
FRAME = pd.DataFrame({"age": np.arange(ROWS) / 2, "plan": ["basic", "plus", "pro"] * (ROWS // 3)})
GOLDEN = Golden(
    instances=[{"age": 33.5, "plan": None}], predictions=[{"label": "stays", "score": 0.9}]
)


NAME = "9f2c31aa, in production since 2026-11-20"
SHIFT = Finding("age", "its values moved up by 20 years", distance=0.4)
GONE = Finding("region", "gone", breaking=True)


class Page(HTMLParser):
    """What a browser makes of the page: tags, links, pictures by their alt, text."""

    def __init__(self, html: str) -> None:
        super().__init__()
        self.tags: set[str] = set()
        self.links: list[str] = []
        self.pictures: dict[str, ElementTree.Element] = {}
        self.text = ""
        self.feed(html)
        self.text = " ".join(self.text.split())

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.add(tag)
        self.text += " "
        found = {name: value or "" for name, value in attrs}
        self.links += [found[name] for name in ("src", "href") if name in found]
        if tag == "img":
            svg = base64.b64decode(found["src"].removeprefix("data:image/svg+xml;base64,"))
            self.pictures[found["alt"]] = ElementTree.fromstring(svg)

    def handle_data(self, data: str) -> None:
        self.text += data


def manifest_of(
    judged: Evaluation,
    frame: pd.DataFrame = FRAME,
    gates: tuple[str, ...] = (),
    golden: Golden = GOLDEN,
    private: tuple[str, ...] = (),
) -> Manifest:
    """Return the manifest of a model that learnt from `frame` and was judged as given."""
    described = [
        msgspec.structs.replace(item, public=item.public and item.name not in private)
        for item in describe(frame)
    ]
    drawn = [item.name for item in described if item.public and item.type != "datetime"]
    fields = [
        Output(name=name, type="string", public=name not in private)
        for name in golden.predictions[0]
    ]
    outputs = Outputs(kind=judged.kind, classes=judged.classes, fields=fields)
    return Manifest(
        format=1,
        name="churn",
        version="0a1b2c3d",
        created_at="2024-02-03T04:05:06+00:00",
        files={},
        runtime={"python": "3.11.7", "numpy": "2.0.0"},
        source=Source(git_sha="f" * 40, dirty=True, sha256="a" * 64, modules=["model.py"]),
        data=Data(origin="A survey", rows=len(frame), sha256="b" * 64),
        seed=7,
        inputs=described,
        outputs=outputs,
        metrics=judged.metrics,
        gates=list(gates),
        baseline=Baseline(inputs={n: histogram(frame[n]) for n in drawn}, outputs={}),
        golden=golden,
    )


def evaluation(
    truth: Any,
    answer: Any,
    classes: list[Any],
    probability: Array | None = None,
    /,
    **metrics: float,
) -> Evaluation:
    return Evaluation(
        kind="classification" if classes else "regression",
        classes=classes,
        frame=FRAME,
        truth=np.asarray(truth),
        answer=np.asarray(answer),
        probability=probability,
        metrics=metrics,
        importance=[],
    )


def classifier(classes: list[Any], seen: int | None = None, rows: int = ROWS) -> Evaluation:
    """Judge a model that is mostly right, on rows of the first `seen` of the classes."""
    rng = np.random.default_rng(0)
    code = np.arange(rows) % (seen or len(classes))
    logits = rng.normal(0, 1, (rows, len(classes))) + 2 * np.eye(len(classes))[code]
    probability = np.exp(logits) / np.exp(logits).sum(axis=1, keepdims=True)
    truth = np.array(classes)[code]
    answer = np.array(classes)[probability.argmax(axis=1)]
    metrics = {"accuracy": float(np.mean(truth == answer))}
    if seen is None:  # of a single class, no curve has an area
        metrics["roc_auc"] = 0.9
    return evaluation(truth, answer, classes, probability, **metrics)


def binary() -> Evaluation:
    return classifier(["leaves", "stays"])


def multiclass() -> Evaluation:
    return classifier([1, 2, 3])


def without_probability() -> Evaluation:
    return evaluation(["a", "b"] * 30, ["a"] * ROWS, ["a", "b"], accuracy=0.5)


def regression(rows: int = ROWS) -> Evaluation:
    rng = np.random.default_rng(0)
    truth = rng.normal(100, 20, rows)
    return evaluation(truth, truth + rng.normal(0, 5, rows), [], r2=0.94, rmse=5.0, mae=4.0)


def compared(outcome: Outcome, metric: str = "accuracy", **given: Any) -> Compared:
    low = {"better": 0.01, "good": -0.004, "undecided": -0.03, "worse": -0.05}[outcome]
    found = Compared(metric, 0.9, low + 0.92, True, 0.01, (low, low + 0.04), outcome)
    return replace(found, **given)


def live(judged: Evaluation | None, **given: Any) -> Live:
    return Live("9f2c31aa", NAME, judged, **given)
