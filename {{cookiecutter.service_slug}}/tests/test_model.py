"""Yours, beside model.py: what your model must get right, whatever else changes."""

from __future__ import annotations

from pathlib import Path

import model
from service.artifact import load_model, read_manifest
from service.schema import Schema

ARTIFACT = Path(__file__).parent.parent / "artifact"


def test_scores_are_probabilities_and_labels_follow_from_them() -> None:
    manifest = read_manifest(ARTIFACT)
    rows = [tuple(i.values()) for i in manifest.golden.instances]
    frame = Schema(manifest.inputs, max_instances=1000).frame(rows)
    answers = model.predict(load_model(ARTIFACT, manifest), frame)
    assert ((answers["score"] >= 0) & (answers["score"] <= 1)).all()
    assert ((answers["label"] == "malignant") == (answers["score"] >= 0.5)).all()
