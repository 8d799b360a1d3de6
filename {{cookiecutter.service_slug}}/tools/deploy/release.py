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
NONE = "none"  # as a candidate: take it away
LIVE_TEXT = Path(__file__).with_name("live.txt")
CANDIDATE_TEXT = Path(__file__).with_name("candidate.txt")  # goes on where live.txt ends
# With a digest a tag is one image for ever, whatever the registry calls by it later.
DIGEST = "@sha256:[0-9a-f]{64}"


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


def file(env: str) -> Path:
    """Return the file that names the images of an environment; raises DeployError as `overlay`."""
    return overlay(env) / "release" / "kustomization.yaml"


def chosen(env: str, tag: str, candidate: str) -> str:
    """Return the text of the release that is asked for; raises DeployError.

    Without a tag live's stays if a candidate is named, or `none`; else it is what was pushed, and
    all stays if that is nothing.
    """
    overlay(env)
    if not tag:
        tag = released(env)[0] if candidate else _pushed(env)
    return render(env, tag, "" if candidate == NONE else candidate) if tag else _now(env)


def render(env: str, tag: str, candidate: str = "") -> str:
    """Return the text of a release; raises DeployError for a tag that no image can have."""
    text = LIVE_TEXT.read_text().format(env=env, name=NAME, **_image("TAG", tag))
    if candidate:
        text += CANDIDATE_TEXT.read_text().format(name=NAME, **_image("CANDIDATE", candidate))
    return text


def version(tag: str) -> str:
    """Return the artifact's version, which is the first part of a tag."""
    return re.split("[-@]", tag, maxsplit=1)[0]


def _image(key: str, tag: str) -> dict[str, str]:
    # A tag as the OCI's distribution specification has it.
    if not re.fullmatch(rf"\w[\w.-]{{0,127}}({DIGEST})?", tag, re.ASCII):
        raise DeployError(f"{key}={tag}: expected an image's tag, as `make image` says it")
    # Within what Kubernetes allows for the value of a label.
    return {"image": f"{REPOSITORY}:{tag}", "version": version(tag)[:63].strip("._")}


def _pushed(env: str) -> str:
    """Return what `make push` noted; raises DeployError if it has not run."""
    try:
        return (ROOT / "report" / "image.txt").read_text().strip()
    except OSError:
        raise DeployError(
            "no TAG is said, and report/image.txt does not say what was pushed: "
            f"make push, or make release ENV={env} TAG=..."
        ) from None


def write(env: str, text: str) -> None:
    """Make `text` the release of an environment; raises DeployError where there is none such."""
    path = file(env)
    path.parent.mkdir(exist_ok=True)
    path.write_text(text)


def released(env: str) -> list[str]:
    """Return the tags that are released, live's first; raises DeployError if none is."""
    return tags(_now(env))


def is_released(env: str, tag: str, candidate: str) -> bool:
    """Tell whether a tag and a candidate, if they are said, are what is released."""
    live, *others = released(env)
    return tag in ("", live) and candidate in ("", *(others or [NONE]))


def tags(text: str) -> list[str]:
    """Return the tags in the text of a release, live's first; none if nothing is released."""
    found = re.findall(rf'^ +image: "[^"@]*:([\w.-]+(?:{DIGEST})?)"$', text, re.MULTILINE)
    return [] if UNRELEASED in found else found


def before(env: str) -> str:
    """Return the text of the release before this one; raises DeployError if git knows none.

    From a release that is in git's history it goes on there: twice back is two releases back.
    """
    now, history = released(env), _history(env)
    # From the first time that it was released: a way back is a commit too, and from that one the
    # release before is what was just taken back. One that is not committed came after them all.
    first = max((at for at, text in enumerate(history) if tags(text) == now), default=0)
    return _other(env, now, history[first:])


def replaced(env: str) -> str:
    """Return the text of the release that ran until this one; raises DeployError for the first."""
    return _other(env, released(env), _history(env))


def _now(env: str) -> str:
    """Return the text that is released; raises DeployError if none is."""
    path = file(env)
    text = path.read_text() if path.exists() else ""
    if not tags(text):
        raise DeployError(f"nothing is released to {env} yet: make release ENV={env} TAG=...")
    return text


def _history(env: str) -> list[str]:
    """Return the texts that git knows, the newest first."""
    path = file(env).relative_to(ROOT)
    commits = git("log", "--format=%H", "--", str(path)).split()
    return [git("show", f"{commit}:./{path}") + "\n" for commit in commits]


def _other(env: str, now: list[str], history: list[str]) -> str:
    for text in history:
        if tags(text) not in ([], now):
            return text
    raise DeployError(
        f"git knows no release to {env} before this one: "
        f"make release ENV={env} TAG=... with an older tag, then make deploy ENV={env}"
    )
