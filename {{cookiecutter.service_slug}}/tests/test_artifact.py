from __future__ import annotations

import json
import os
import pickle
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from service import artifact
from service.engine import Engine
from service.errors import Refusal
from service.settings import Settings
from tests import toy
from training import __main__ as training
from training import package as packaging


def boot(folder: Path) -> None:
    engine = Engine(Settings(artifact_dir=folder), toy.predict)
    try:
        engine.start()
    finally:
        engine.batcher.close()


def edit(folder: Path, change: Callable[[dict[str, Any]], None]) -> None:
    path = folder / artifact.MANIFEST
    manifest = json.loads(path.read_text())
    change(manifest)
    path.write_text(json.dumps(manifest))


def model_file(folder: Path) -> Path:
    return folder / artifact.read_manifest(folder).files["model"].path


def test_an_intact_artifact_boots(artifact_dir: Path) -> None:
    boot(artifact_dir)


def test_a_missing_artifact_is_refused(tmp_path: Path) -> None:
    with pytest.raises(Refusal, match="No such file.*make train"):
        boot(tmp_path)


@pytest.mark.parametrize("kind", ["model", "card"])
@pytest.mark.parametrize("damage", ["missing", "truncated", "altered"])
def test_a_damaged_file_is_refused(kind: Any, damage: str, artifact_dir: Path) -> None:
    path = artifact_dir / artifact.read_manifest(artifact_dir).files[kind].path
    content = path.read_bytes()
    if damage == "missing":
        path.unlink()
    elif damage == "truncated":
        path.write_bytes(content[:-1])
    else:
        path.write_bytes(content[:-1] + bytes([content[-1] ^ 1]))
    with pytest.raises(Refusal, match="No such file" if damage == "missing" else "sha256"):
        boot(artifact_dir)


class Bomb:
    """A pickle that makes a file when it is loaded."""

    def __init__(self, marker: Path) -> None:
        self.marker = marker

    def __reduce__(self) -> Any:
        return os.mkdir, (str(self.marker),)


def test_nothing_is_unpickled_before_its_hash_is_right(artifact_dir: Path, tmp_path: Path) -> None:
    marker = tmp_path / "ran"
    model_file(artifact_dir).write_bytes(pickle.dumps(Bomb(marker)))
    with pytest.raises(Refusal, match="sha256"):
        boot(artifact_dir)
    assert not marker.exists()


@pytest.mark.parametrize("package", [*artifact.RUNTIME_PACKAGES, "python"])
def test_other_versions_than_trained_with_are_refused_before_loading(
    package: str, artifact_dir: Path
) -> None:
    edit(artifact_dir, lambda m: m["runtime"].update({package: "2.7.0"}))
    with pytest.raises(Refusal, match=f"trained with {package} 2.7"):
        boot(artifact_dir)


def test_another_patch_level_of_python_is_fine() -> None:
    artifact.check_runtime({"python": "3.11.7"}, {"python": "3.11.99"})


@pytest.mark.parametrize(
    "change",
    [
        lambda m: m["golden"]["predictions"][3].update(score=0.123),
        lambda m: m["golden"]["predictions"][0].update(label="other"),
        lambda m: m["golden"]["predictions"][0].pop("score"),
    ],
)
def test_a_golden_answer_that_does_not_come_out_is_refused(
    change: Callable[[dict[str, Any]], None], artifact_dir: Path
) -> None:
    edit(artifact_dir, change)
    with pytest.raises(Refusal, match="golden instance"):
        boot(artifact_dir)


def test_golden_answers_may_differ_in_the_last_places(artifact_dir: Path) -> None:
    def nudge(manifest: dict[str, Any]) -> None:
        for prediction in manifest["golden"]["predictions"]:
            prediction["score"] *= 1 + 1e-9

    edit(artifact_dir, nudge)
    boot(artifact_dir)


@pytest.mark.parametrize(
    "text",
    ["", "{", "[]", "{}", '{"format": 99}', '{"format": 1}', '"\xff"'],
)
def test_what_is_no_manifest_is_refused_in_one_line(text: str, artifact_dir: Path) -> None:
    (artifact_dir / artifact.MANIFEST).write_text(text, encoding="latin-1")
    with pytest.raises(Refusal, match=r"^[^\n]+$"):
        boot(artifact_dir)


class Crash(BaseException):
    """The process ends here."""


@pytest.mark.parametrize("writes", range(6))  # three files, each written then renamed
def test_a_crash_at_any_write_leaves_an_artifact_that_boots(
    writes: int, artifact_dir: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = artifact.read_manifest(artifact_dir).version
    steps = 0

    def crashing(original: Callable[..., Any]) -> Callable[..., Any]:
        def step(*arguments: Any, **options: Any) -> Any:
            nonlocal steps
            steps += 1
            if steps > writes:
                raise Crash
            return original(*arguments, **options)

        return step

    monkeypatch.setattr(training, "user", toy)
    monkeypatch.setattr(packaging, "render_card", lambda *_: "the card is not what this is about")
    monkeypatch.setattr(toy, "SEED", 8)
    with monkeypatch.context() as patch:
        patch.setattr(os, "fsync", crashing(os.fsync))
        patch.setattr(Path, "replace", crashing(Path.replace))
        with pytest.raises(Crash):
            training.train(artifact_dir)
    assert artifact.read_manifest(artifact_dir).version == before
    boot(artifact_dir)
    after = training.train(artifact_dir)
    assert after.version != before
    assert {path.name for path in artifact_dir.iterdir()} == {
        artifact.MANIFEST,
        after.files["model"].path,
        after.files["card"].path,
    }
