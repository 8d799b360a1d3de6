"""`make release`: the image that an environment runs is named in a file of its overlay.

`k8s/overlays/ENV/release/kustomization.yaml` holds the tag of the live image, and the candidate's
while there is one that gets copies of requests. Whatever applies the overlay applies these.
"""

from __future__ import annotations

import re
from pathlib import Path

from tools.deploy.service import NAME, REPOSITORY, ROOT, DeployError, git

OVERLAYS = ROOT / "k8s" / "overlays"
UNRELEASED = "unreleased"  # the tag before the first release
LIVE_TEXT = Path(__file__).with_name("live.txt")
CANDIDATE_TEXT = Path(__file__).with_name("candidate.txt")  # goes on where live.txt ends


def overlay(env: str) -> Path:
    """Return the folder of an environment; raises DeployError if there is none, or not for this."""
    known = sorted(path.parent.name for path in OVERLAYS.glob("*/kustomization.yaml"))
    if env not in known:
        raise DeployError(f"ENV={env}: there is {' and '.join(known)}, in k8s/overlays")
    text = (OVERLAYS / env / "kustomization.yaml").read_text()
    if not re.search(r"^ *- release$", text, re.MULTILINE):
        raise DeployError(
            f"k8s/overlays/{env}/kustomization.yaml does not take the release in: "
            "put `- release` first among its components"
        )
    return OVERLAYS / env


def render(env: str, tag: str, candidate: str = "") -> str:
    """Return the text of a release; raises DeployError for a tag that no image can have."""
    text = LIVE_TEXT.read_text().format(env=env, name=NAME, **_image("TAG", tag))
    if candidate:
        text += CANDIDATE_TEXT.read_text().format(name=NAME, **_image("CANDIDATE", candidate))
    return text


def _image(key: str, tag: str) -> dict[str, str]:
    # A tag as the OCI's distribution specification has it.
    if not re.fullmatch(r"\w[\w.-]{0,127}", tag, re.ASCII):
        raise DeployError(f"{key}={tag}: expected an image's tag, as `make image` says it")
    # The artifact's version, within what Kubernetes allows for the value of a label.
    version = tag.partition("-")[0][:63].strip("._")
    return {"image": f"{REPOSITORY}:{tag}", "version": version}


def write(env: str, text: str) -> None:
    """Make `text` the release of an environment; raises DeployError where there is none such."""
    path = _file(env)
    path.parent.mkdir(exist_ok=True)
    path.write_text(text)
    print(f"released to {env}: {', candidate '.join(tags(text))}")
    print(f"    commit {path.relative_to(ROOT)}")


def released(env: str) -> list[str]:
    """Return the tags that are released, live's first; raises DeployError if none is."""
    path = _file(env)
    found = tags(path.read_text()) if path.exists() else []
    if not found:
        raise DeployError(f"nothing is released to {env} yet: make release ENV={env} TAG=...")
    return found


def tags(text: str) -> list[str]:
    """Return the tags in the text of a release, live's first; none if nothing is released."""
    found = re.findall(r'^ +image: ".*:([\w.-]+)"$', text, re.MULTILINE)
    return [] if UNRELEASED in found else found


def before(env: str) -> str:
    """Return the text of the release before this one; raises DeployError if git knows none."""
    now, path = released(env), _file(env).relative_to(ROOT)
    commits = git("log", "--format=%H", "--", str(path)).split()
    history = [git("show", f"{commit}:./{path}") for commit in commits]
    # A release that is not committed is not among them: it came after them all.
    known = [tags(text) for text in history]
    for text in history[known.index(now) if now in known else 0 :]:
        if tags(text) not in ([], now):
            return f"{text}\n"
    raise DeployError(
        f"git knows no release to {env} before this one: "
        f"make release ENV={env} TAG=... with an older tag, then make deploy ENV={env}"
    )


def _file(env: str) -> Path:
    return overlay(env) / "release" / "kustomization.yaml"
