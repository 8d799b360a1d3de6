"""What is damaged or amiss in the store stops no more than it has to, and is said in a line."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from moto_server import BUCKET, moto_server
from pipeline import live, models, records, values
from pipeline.exits import GOOD
from pipeline.records import Deployment, Failed, Run
from pipeline.store import Corrupt, Store, StoreError, StoreMisused
from pipeline.train import train

import toy
from service.artifact import read_manifest
from training import package as packaging
from training import report
from training.owner import read

CONTENTS = {"artifact/manifest.json": b"{}", "artifact/model": b"weights", "code/model.py": b"pass"}


class Changed:
    """A class that the code of a later day no longer has."""


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return tmp_path / "store"


@pytest.fixture
def store(folder: Path) -> Store:
    return Store(str(folder))


@pytest.fixture
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    """No pictures are drawn: they take most of a training's time."""
    monkeypatch.setattr(packaging, "render_card", lambda manifest, evaluation: "")
    monkeypatch.setattr(report, "page", lambda shown: "")
    monkeypatch.setattr(toy, "IMPORTANCE_SECONDS", 0, raising=False)


def damage(path: Path) -> None:
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 0x80  # which makes text no UTF-8
    path.write_bytes(content)


def ended(name: str, **fields: Any) -> Run:
    return Run(name, "good", "", started=name, seconds=1, where="here", **fields)


def trained(store: Store, artifact: Path, monkeypatch: pytest.MonkeyPatch, name: str) -> Run:
    monkeypatch.setenv("RUN", name)
    done = train(store, toy, read(toy), artifact)
    assert done.exit == GOOD
    assert read_manifest(artifact).version == done.run.version
    return done.run


@pytest.mark.parametrize("below", ["", "/runs"])
def test_a_file_is_no_store(below: str, tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(StoreMisused, match=r"^STORE=.*file.*; name another folder$"):
        Store(f"{tmp_path}/file{below}")


def test_a_bucket_that_does_not_exist_is_the_addresss_fault() -> None:
    with moto_server():
        assert Store(f"s3://{BUCKET}/x").paths("") == []
        store = Store("s3://nonesuch/x")
        for use in (
            lambda: store.put("a", b""),
            lambda: store.paths("runs"),
            lambda: store.folders("runs"),
        ):
            with pytest.raises(StoreMisused, match="^STORE: there is no such bucket"):
                use()


@pytest.mark.parametrize(
    "url", ["https://user:SECRET@h.invalid/a?sig=SECRET", "https://SECRET@h.invalid/a"]
)
def test_an_address_is_shown_without_what_is_secret_in_it(url: str) -> None:
    assert Store(url).url == "https://h.invalid/a"


@pytest.mark.parametrize("url", ["foo://a:SECRET@h?x=SECRET", "foo://a:x/SECRET@h", "s3://SECRET@"])
def test_nor_is_it_in_an_error(url: str) -> None:
    with pytest.raises(StoreMisused) as said:
        Store(url).paths("")
    assert "SECRET" not in str(said.value)


def test_a_value_that_this_code_cannot_load_is_as_good_as_damaged(
    store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    parts = values.write(store, "data/1/a", Changed())
    assert isinstance(values.read(store, parts), Changed)
    with monkeypatch.context() as patch:
        patch.delattr(f"{__name__}.Changed")
        with pytest.raises(Corrupt, match="cannot load it .*Changed"):
            values.read(store, parts)

    def away(path: str) -> None:
        raise StoreError("away")

    monkeypatch.setattr(store, "get", away)
    with pytest.raises(StoreError):
        values.read(store, parts)


def test_damaged_records_are_passed_over(
    store: Store, folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for name in "abc":
        store.put_record(f"runs/{name}/run.json", ended(name))
    damage(folder / "runs/c/run.json")
    store.put_record("runs/d/run.json", Failed("of another kind", "now"))
    assert [run.run for run in records.runs(store)] == ["b", "a"]
    for number in (1, 2):
        done = Deployment("production", number, f"v{number}", "a", "tag", "me", "now")
        store.put_record(f"deployments/production/{number:06}.json", done)
    damage(folder / "deployments/production/000002.json")
    assert [each.number for each in records.deployments(store, "production")] == [1]
    said = capsys.readouterr().out
    assert all(path in said for path in ("runs/c/run.json", "runs/d/run.json", "000002.json"))


@pytest.mark.parametrize("name", ["*.json", "*/artifact/model"])
def test_a_damaged_model_is_written_again_beside_it(name: str, store: Store, folder: Path) -> None:
    models.write(store, "v", "a", CONTENTS)
    models.write(store, "v", "b", CONTENTS)
    first = records.model(store, "v")
    assert first and first.run == "a", "one that is whole is not written again"
    [path] = (folder / "models/v").glob(name)
    damage(path)
    damaged = path.read_bytes()
    assert records.model(store, "v") is None
    models.write(store, "v", "c", CONTENTS)
    again = records.model(store, "v")
    assert again and again.run == "c"
    assert models.contents(store, again, models.CODE) == {"model.py": b"pass"}
    assert path.read_bytes() == damaged, "nothing is ever replaced"


def test_a_model_that_was_damaged_is_packaged_again(
    store: Store, folder: Path, tmp_path: Path, quick: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    version = trained(store, tmp_path / "artifact", monkeypatch, "a").version
    [model] = folder.glob(f"models/{version}/*/artifact/model-*")
    damage(model)
    (folder / "runs/a/run.json").unlink()  # as if it had been killed before its end
    assert trained(store, tmp_path / "artifact", monkeypatch, "a").version == version
    assert records.model(store, version)


def test_a_damaged_live_model_and_damaged_data_stop_no_training(
    store: Store, folder: Path, tmp_path: Path, quick: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    first = trained(store, tmp_path / "artifact", monkeypatch, "a")
    done = Deployment("production", 1, first.version, "a", "tag", "me", "2026-01-01")
    store.put_record("deployments/production/000001.json", done)
    [model] = folder.glob(f"models/{first.version}/*/artifact/model-*")
    [data] = folder.glob("data/*/*.json")
    damage(model)
    damage(data)
    again = trained(store, tmp_path / "artifact", monkeypatch, "b")
    assert again.status == "undecided"
    assert "cannot be compared: it is not in the store, or damaged there" in again.reason
    assert again.data == first.data and len([*folder.glob("data/*/*.json")]) == 2
    # This code and these data make the live model again.
    found = live.find(store)
    assert found and found.manifest and found.version == again.version == first.version
    for path in folder.glob(f"models/{first.version}/*/artifact/model-*"):
        damage(path)
    with pytest.raises(live.NotComparable, match="damaged"):
        live.answers(store, found, toy.load_data()[0])


def test_a_model_that_is_not_in_the_store_is_not_live(store: Store) -> None:
    store.put_record("runs/a/run.json", ended("a", version="v"))
    assert live.find(store) is None
