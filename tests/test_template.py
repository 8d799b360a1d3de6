"""What cookiecutter makes of the template: which files, their words, and which answers it takes."""

from __future__ import annotations

import re
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest
from harness import ROOT, TEMPLATE, bake

NASTY = """Zoë's "best" model \\ <b>&amp; $(touch pwned) `id` %s {0} #1 日本"""
OTHER_SYSTEMS = ("gitlab", "jenkins", "azure", "aws")


@pytest.fixture(scope="module")
def fresh(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return bake(tmp_path_factory.mktemp("fresh"))


@pytest.fixture(scope="module")
def nasty(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return bake(tmp_path_factory.mktemp("nasty"), service_name=NASTY, service_slug="plain")


def files(folder: Path) -> list[str]:
    return sorted(str(path.relative_to(folder)) for path in folder.rglob("*") if path.is_file())


def texts(folder: Path) -> list[str]:
    return [name for name in files(folder) if not name.endswith(".png")]


def test_every_file_is_in_git(fresh: Path, tmp_path: Path) -> None:
    # cookiecutter copies what lies there, cruft what is in git: they must not differ.
    listed = subprocess.run(
        ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"],
        cwd=TEMPLATE,
        capture_output=True,
        text=True,
        check=True,
    ).stdout.split("\0")
    # Each CI system brings files of its own.
    made = {*files(fresh)}.union(*(files(bake(tmp_path / ci, ci=ci)) for ci in OTHER_SYSTEMS))
    assert made == {name for name in listed if name and (TEMPLATE / name).exists()}


def test_nothing_is_left_unrendered(fresh: Path) -> None:
    for name in texts(fresh):
        # Some are copied as they are, and have braces of their own.
        copied = name.endswith((".py", ".html"))
        copied |= name.startswith(("datadog/", "k8s/argo/", ".github/"))
        jinja = r"cookiecutter\.\w" if copied else r"\{\{|\{%|cookiecutter\.\w"
        assert not re.search(jinja, (fresh / name).read_text()), name


def test_answers_land_in_service_toml(tmp_path: Path) -> None:
    answers = {"service_slug": "churn", "team": "growth", "image_registry": "ghcr.io/acme"}
    folder = bake(tmp_path, **answers)
    assert folder.name == "churn"
    found = tomllib.loads((folder / "service.toml").read_text())
    assert found == {"name": "churn", "team": "growth", "image_registry": "ghcr.io/acme"}


def test_slug_follows_from_the_name(tmp_path: Path) -> None:
    assert bake(tmp_path, service_name="Churn Model (EU)").name == "churn-model-eu"


def test_free_text_reaches_the_readme_only(fresh: Path, nasty: Path) -> None:
    assert NASTY in (nasty / "README.md").read_text()
    for name in texts(fresh):
        if name != "README.md":
            expected = (fresh / name).read_text()
            if not name.startswith("docs/"):  # pictures, of the service by the default name
                expected = expected.replace("tumour-classifier", "plain")
            assert (nasty / name).read_text() == expected, name


def test_free_text_is_not_run(nasty: Path) -> None:
    assert not list(nasty.parent.rglob("pwned"))


@pytest.mark.parametrize("slug", ["a", "a" * 40, "churn-model-2", "a--b"])
def test_good_slug(tmp_path: Path, slug: str) -> None:
    assert bake(tmp_path, service_slug=slug).name == slug


@pytest.mark.parametrize("team", ["x", "ml-platform", "ml.platform_2", "t" * 63])
def test_good_team(tmp_path: Path, team: str) -> None:
    assert f'team = "{team}"' in (bake(tmp_path, team=team) / "service.toml").read_text()


@pytest.mark.parametrize("registry", ["localhost:5000", "ghcr.io/acme", "r.example.com/a/b_c/d-e"])
def test_good_registry(tmp_path: Path, registry: str) -> None:
    text = (bake(tmp_path, image_registry=registry) / "service.toml").read_text()
    assert f'image_registry = "{registry}"' in text


BAD = {
    "service_slug": [
        "Churn",
        "churn_model",
        "2churn",
        "-churn",
        "churn-",
        "a" * 41,
        "churn model",
        "churn;id",
        "$(touch pwned)",
        "`id`",
        "churn\nmodel",
        "churn\n",
        'a"b',
        "a'b",
        '"""',
        "a\\",
        "a/b",
        "a//",
        "../churn",
        "../../c/d",
        "/tmp/churn",
        "éa",
        "{{ 1 }}",
    ],
    "team": [
        "",
        "ML",
        "ml platform",
        "-ml",
        "ml-",
        "t" * 64,
        "ml:platform",
        'ml"',
        "ml\nx",
        "ml\\",
    ],
    "image_registry": [
        "",
        "https://ghcr.io/acme",
        "ghcr.io/acme:latest",
        "ghcr.io/Acme",
        "ghcr.io/acme/",
        "ghcr.io//acme",
        "ghcr io",
        "ghcr.io/$(id)",
        'ghcr.io"',
        "ghcr.io\n",
    ],
}


def run_cookiecutter(into: Path, *answers: str) -> subprocess.CompletedProcess[str]:
    command = [f"{Path(sys.executable).parent}/cookiecutter", str(ROOT), "--no-input"]
    command += ["--default-config", "-o", str(into), *answers]
    return subprocess.run(command, cwd=into, capture_output=True, text=True)


@pytest.mark.parametrize(
    ("field", "value"), [(field, value) for field, values in BAD.items() for value in values]
)
def test_bad_answer_is_refused(tmp_path: Path, field: str, value: str) -> None:
    into = tmp_path / "out" / "side"
    into.mkdir(parents=True)
    done = run_cookiecutter(into, f"{field}={value}")
    assert done.returncode == 1
    # cookiecutter adds a traceback of its own, on the other stream; ours is one line.
    ours = [line for line in done.stderr.splitlines() if line.startswith("ERROR: ")]
    assert len(ours) == 1, done.stderr
    assert ours[0].startswith(f"ERROR: {field} ") and "will not do: use " in ours[0]
    assert "Error" not in done.stderr.replace("ERROR: ", ""), done.stderr
    left = [path for path in tmp_path.rglob("*") if path not in (into, into.parent)]
    assert left == []


@pytest.mark.parametrize("slug", ["", ".", ".."])
def test_slug_that_is_a_folder_leaves_it_as_it_is(tmp_path: Path, slug: str) -> None:
    # cookiecutter itself objects, before our hook: the folder exists.
    into = tmp_path / "out" / "side"
    into.mkdir(parents=True)
    (into / "bystander").touch()
    assert run_cookiecutter(into, f"service_slug={slug}").returncode == 1
    assert files(tmp_path) == ["out/side/bystander"]
