"""What is not whole, ours and right is refused; a crash while training breaks no artifact."""

from __future__ import annotations

import hashlib
import json
import os
import pickle
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any, Literal

import pytest
import runs

import toy
from service import artifact
from service.engine import Engine
from service.errors import Refusal
from service.settings import Settings
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


def file(folder: Path, kind: Literal["model", "card"]) -> Path:
    return folder / artifact.read_manifest(folder).files[kind].path


def change_content(path: Path, change: Callable[[bytes], bytes]) -> None:
    path.write_bytes(change(path.read_bytes()))


def cut(content: bytes) -> bytes:
    return content[:-1]


def flip(content: bytes) -> bytes:
    return bytes([content[0] ^ 1]) + content[1:]


Change = Callable[[Path], Any]
DAMAGES: dict[str, tuple[Change, str]] = {
    "no artifact": (shutil.rmtree, r"manifest\.json: No such file.*make train"),
    "no model": (lambda f: file(f, "model").unlink(), r"model-.*\.joblib: No such file"),
    "no card": (lambda f: file(f, "card").unlink(), r"card-.*\.html: No such file"),
    "model cut short": (
        lambda f: change_content(file(f, "model"), cut),
        "model-.*sha256.*altered or cut short",
    ),
    "model altered": (
        lambda f: change_content(file(f, "model"), flip),
        "model-.*sha256.*altered or cut short",
    ),
    "card cut short": (lambda f: change_content(file(f, "card"), cut), "card-.*sha256"),
    "card altered": (lambda f: change_content(file(f, "card"), flip), "card-.*sha256"),
    "manifest cut short": (
        lambda f: change_content(f / artifact.MANIFEST, cut),
        r"manifest\.json: not a manifest",
    ),
    "manifest of the future": (
        lambda f: edit(f, lambda m: m.update(format=99)),
        "format 99, this service reads 2",
    ),
    "manifest without a part": (lambda f: edit(f, lambda m: m.pop("inputs")), "missing.*inputs"),
}


@pytest.mark.parametrize("damage", DAMAGES)
def test_a_damaged_artifact_is_refused_in_one_line(artifact_dir: Path, damage: str) -> None:
    harm, message = DAMAGES[damage]
    harm(artifact_dir)
    with pytest.raises(Refusal, match=f"^[^\n]*{message}[^\n]*$"):
        boot(artifact_dir)


@pytest.mark.parametrize("text", ["", "{", "[]", "{}", '{"format": 2}', '"\xff"'])
def test_what_is_no_manifest_is_refused_in_one_line(text: str, artifact_dir: Path) -> None:
    (artifact_dir / artifact.MANIFEST).write_text(text, encoding="latin-1")
    with pytest.raises(Refusal, match=r"^[^\n]+$"):
        boot(artifact_dir)


class Bomb:
    """A pickle that makes a file when it is loaded."""

    def __init__(self, marker: Path) -> None:
        self.marker = marker

    def __reduce__(self) -> Any:
        return os.mkdir, (str(self.marker),)


@pytest.mark.parametrize("vouched_for", [False, True])
def test_nothing_is_unpickled_that_the_manifest_does_not_vouch_for(
    artifact_dir: Path, tmp_path: Path, vouched_for: bool
) -> None:
    marker = tmp_path / "ran"
    content = pickle.dumps(Bomb(marker))
    file(artifact_dir, "model").write_bytes(content)
    if vouched_for:  # shows that the bomb works
        sha256 = hashlib.sha256(content).hexdigest()
        edit(artifact_dir, lambda m: m["files"]["model"].update(sha256=sha256))
    with pytest.raises(Refusal):
        boot(artifact_dir)
    assert marker.exists() == vouched_for


@pytest.mark.parametrize("renamed", [False, True])
def test_what_is_unpickled_is_what_was_hashed(
    artifact_dir: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, renamed: bool
) -> None:
    def swap(*arguments: Any) -> None:  # when the hash was right, and before anything is loaded
        model, other = file(artifact_dir, "model"), tmp_path / "other"
        other.write_bytes(pickle.dumps(Bomb(tmp_path / "ran")))
        if renamed:
            other.replace(model)
        else:  # into the same file, which may be open
            model.write_bytes(other.read_bytes())
        check_runtime(*arguments)

    check_runtime = artifact.check_runtime
    monkeypatch.setattr(artifact, "check_runtime", swap)
    boot(artifact_dir)
    assert not (tmp_path / "ran").exists()


@pytest.mark.parametrize("package", [*artifact.RUNTIME_PACKAGES, "python"])
def test_other_versions_than_trained_with_are_refused_before_loading(
    package: str, artifact_dir: Path
) -> None:
    edit(artifact_dir, lambda m: m["runtime"].update({package: "2.7.0"}))
    with pytest.raises(Refusal, match=f"trained with {package} 2.7"):
        boot(artifact_dir)


def test_another_version_of_a_package_of_the_models_classes_is_refused(
    artifact_dir: Path,
) -> None:
    edit(artifact_dir, lambda m: m["runtime"].update(msgspec="0.1"))
    with pytest.raises(Refusal, match="trained with msgspec 0.1, but 0"):
        boot(artifact_dir)
    edit(artifact_dir, lambda m: m["runtime"].update({"msgspec": "0.22.0", "no-such": "1.0"}))
    with pytest.raises(Refusal, match="trained with no-such 1.0, but nothing is here"):
        boot(artifact_dir)


def test_other_code_than_trained_is_refused_before_loading(
    artifact_dir: Path, tmp_path: Path
) -> None:
    file(artifact_dir, "model").write_bytes(pickle.dumps(Bomb(tmp_path / "ran")))

    def change(manifest: dict[str, Any]) -> None:
        content = file(artifact_dir, "model").read_bytes()
        manifest["files"]["model"]["sha256"] = hashlib.sha256(content).hexdigest()
        manifest["source"]["sha256"] = "0" * 64

    edit(artifact_dir, change)
    with pytest.raises(Refusal, match=r"model\.py.* is not that of training; run `make train`$"):
        boot(artifact_dir)
    assert not (tmp_path / "ran").exists()


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


class Crash(BaseException):
    """The process ends here."""


# An artifact is three files, each synced, then renamed. The last, the manifest, makes it current;
# what the artifact before it left is removed after that.
@pytest.mark.parametrize("done", range(7))
def test_a_crash_at_any_step_leaves_an_artifact_that_boots(
    done: int, artifact_dir: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = artifact.read_manifest(artifact_dir).version
    steps = 0

    def crashing(original: Callable[..., Any]) -> Callable[..., Any]:
        def step(*arguments: Any, **options: Any) -> Any:
            nonlocal steps
            steps += 1
            if steps > done:
                raise Crash
            return original(*arguments, **options)

        return step

    monkeypatch.setattr(runs, "user", toy)
    monkeypatch.setattr(packaging, "render_card", lambda *_: "the card is not what this is about")
    monkeypatch.setattr(toy, "SEED", 8)
    with monkeypatch.context() as patch:
        patch.setattr(os, "fsync", crashing(os.fsync))
        patch.setattr(Path, "replace", crashing(Path.replace))
        patch.setattr(Path, "unlink", crashing(Path.unlink))
        with pytest.raises(Crash):
            runs.train(artifact_dir)
    assert (artifact.read_manifest(artifact_dir).version == before) == (done < 6)
    boot(artifact_dir)
    after = runs.train(artifact_dir)
    assert after.version != before
    assert {path.name for path in artifact_dir.iterdir()} == {
        artifact.MANIFEST,
        after.files["model"].path,
        after.files["card"].path,
    }
