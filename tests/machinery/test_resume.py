"""A training that is killed goes on where it was; what is damaged in the store is made again."""

from __future__ import annotations

import functools
import multiprocessing
import os
import random
import shutil
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import obstore
import pytest
from moto_server import BUCKET, moto_server
from pipeline import records, values
from pipeline.store import Store
from pipeline.train import train

import toy
from service.artifact import read_manifest, runtime_versions
from training import package as packaging
from training import report
from training.owner import read
from training.serving import Served

STORES = ("folder", "s3")
RUN = "nightly"
STEPS = ("validate", "fit", "evaluate")

# One that has imported all and used nothing: a fork loses the threads of a store that is in use.
fresh = multiprocessing.get_context("forkserver")
fresh.set_forkserver_preload(["test_resume"])
os.environ["PYTHONPATH"] = os.pathsep.join(sys.path)  # where it looks for that


@pytest.fixture(scope="module", params=STORES)
def kind(request: pytest.FixtureRequest) -> Iterator[str]:
    if request.param == "s3":
        with moto_server():
            yield "s3"
    else:
        yield "folder"


@pytest.fixture
def urls(kind: str, tmp_path: Path) -> Iterator[str]:
    """Addresses of stores that nothing was in before."""
    root = f"s3://{BUCKET}/{tmp_path.name}" if kind == "s3" else str(tmp_path / "stores")
    return (f"{root}/{number}" for number in range(10**6))


def child(url: str, folder: Path, change: dict[str, Any], environ: dict[str, str]) -> None:
    """Train the toy, changed, in a process that may be killed."""
    with open(os.devnull, "w") as quiet:
        os.dup2(quiet.fileno(), 1)
    os.environ |= environ | {"RUN": RUN}
    patch = pytest.MonkeyPatch()
    served = Served(runtime_versions(), 0, 0)
    patch.setattr(packaging, "_serve", lambda manifest, model: served)
    # Pictures take most of the time, and are not what is tested.
    patch.setattr(packaging, "render_card", lambda manifest, evaluation: "")
    patch.setattr(report, "page", lambda shown: "")
    patch.setattr(toy, "IMPORTANCE_SECONDS", 0, raising=False)
    # The toy is done with a step in a moment; so that there is time to be killed in it.
    patch.setattr(values, "write", functools.partial(slow, values.write))
    for name, value in change.items():
        setattr(toy, name, value)
    done = train(Store(url), toy, read(toy), folder)
    os._exit(done.exit)


def slow(write: Any, *values: Any) -> Any:
    time.sleep(0.05)
    return write(*values)


def start(url: str, folder: Path, **change: Any) -> Any:
    process = fresh.Process(target=child, args=(url, folder, change, {**os.environ}))
    process.start()
    return process


def whole(url: str, folder: Path, **change: Any) -> str:
    """Have the toy trained to the end; return the version of its artifact."""
    process = start(url, folder, **change)
    process.join(60)
    assert process.exitcode == 0
    return read_manifest(folder).version


def made(url: str) -> set[str]:
    """Return the records of checkpoints: one for each time that a step was done."""
    store = Store(url)
    return {path for path in store.paths("checkpoints") if path.endswith(".json")}


def test_killed_anywhere_it_repeats_no_step_and_makes_the_same_model(
    urls: Iterator[str], tmp_path: Path, pytestconfig: pytest.Config
) -> None:
    kills = pytestconfig.getoption("kills")
    folder, url = tmp_path / "artifact", next(urls)
    version = whole(url, folder)
    objects = len(Store(url).paths(""))
    chance = random.Random(0)
    interrupted = 0
    reached = set()
    for number in range(kills):
        url = next(urls)
        shutil.rmtree(folder)
        process, written = start(url, folder), number * objects // kills
        while process.is_alive() and len(Store(url).paths("")) < written:
            time.sleep(0.005)
        time.sleep(chance.uniform(0, 0.1))
        process.kill()
        process.join()
        before = made(url)
        interrupted += records.run(Store(url), RUN) is None
        reached.add(len(before))
        if folder.exists() and any(folder.glob("manifest.json")):
            assert read_manifest(folder).version == version
        assert whole(url, folder) == version
        after = made(url)
        assert before <= after
        steps = [path.split("/")[1] for path in after]
        assert sorted(set(steps)) == sorted(steps), "a step was done twice"
    assert interrupted > kills / 2
    # Before the first step, between any two, and after the last.
    assert len(reached) >= 5, reached


@pytest.mark.parametrize("part", ["data/", *(f"checkpoints/{step}" for step in STEPS)])
@pytest.mark.parametrize("suffix", [".0", ".json"])
def test_what_is_damaged_is_refused_and_made_again(
    part: str, suffix: str, urls: Iterator[str], tmp_path: Path
) -> None:
    url, folder = next(urls), tmp_path / "artifact"
    version = whole(url, folder)
    store = Store(url)
    # As if it had been killed before it compared, so that all values before are read.
    ends = ("checkpoints/compare", "checkpoints/package", "models/", f"runs/{RUN}/run.json")
    obstore.delete(store._store, [path for path in store.paths("") if path.startswith(ends)])
    before = made(url)
    [damaged] = [p for p in store.paths("") if p.startswith(part) and p.endswith(suffix)]
    content = bytearray(store.get(damaged) or b"")
    content[len(content) // 2] ^= 1
    obstore.put(store._store, damaged, bytes(content))
    assert whole(url, folder) == version
    assert bytes(store.get(damaged) or b"") == content, "nothing is ever replaced"
    again = [path.split("/")[1].partition("-")[0] for path in made(url) - before]
    expected = {"compare", "package"} | ({part.rpartition("/")[2]} - {""})
    assert sorted(again) == sorted(expected)
