"""`make image`, `train-image` and `push`: the Dockerfile's images, and the registry they go to."""

from __future__ import annotations

from urllib.parse import urlsplit

from service import source
from tools.deploy import registry, release, tags
from tools.deploy.builder import build, first_that_works, has
from tools.deploy.service import ROOT, DeployError, git


def build_serve(options: list[str]) -> None:
    """Build the image of the artifact that is here; its tag is `<artifact version>-<commit>`.

    `options` go to the builder. Raises DeployError, also for an artifact that would not start; of
    code that was edited since training, before anything is built.
    """
    artifact = tags.manifest()
    if reason := source.edited(artifact["source"]["sha256"]):
        raise DeployError(f"{reason}; run `make train`")
    builder, tag = first_that_works(), tags.serve(artifact)
    build(
        builder,
        "serve",
        tag,
        _base(builder, tags.python(artifact), options),
        VERSION=artifact["version"],
        REVISION=tags.revision(),
        SOURCE=_origin(),
    )
    print(f"\nbuilt {tags.image(tag)}\n    make push")


def build_train(options: list[str]) -> None:
    """Build the image that trains elsewhere; its tag is `train-<commit>`. Raises DeployError."""
    builder = first_that_works()
    image = train_image(builder, options)
    print(f"    {builder} push {image}")


def train_image(builder: str, options: list[str]) -> str:
    """Have the image that trains, and return its name; raises DeployError."""
    tag = tags.train()
    image = tags.image(tag)
    if not registry.take(builder, tag):
        options = _base(builder, tags.PYTHON, options)
        build(builder, "train", tag, options, IMAGE=image, REVISION=tags.commit(length=40))
        print(f"\nbuilt {image}")
    return image


def push() -> None:
    """Push the image of the artifact that is here, and those of its commit that others start from.

    Its digest is in report/image.txt then, for `make release`; nothing is in there if production
    runs that image already, so that nobody is asked to approve it. Raises DeployError.
    """
    artifact = tags.manifest()
    builder, tag = first_that_works(), tags.serve(artifact)
    registry.log_in(builder)
    if not has(builder, tag):
        raise DeployError(f"{tags.image(tag)} is not here: make image")
    of_commit = {tags.base(tags.python(artifact)), tags.base(tags.PYTHON), tags.train()}
    for other in sorted(of_commit) if tags.is_fixed() else ():
        if has(builder, other):
            registry.push(builder, other)
    pushed = f"{tag}@{registry.push(builder, tag)}"
    file = ROOT / "report" / "image.txt"
    file.parent.mkdir(exist_ok=True)
    if _runs(tag):
        file.write_text("")
        print(f"\nproduction runs {tags.image(pushed)} already")
        return
    file.write_text(f"{pushed}\n")
    print(f"\npushed {tags.image(pushed)}\n    make release ENV=staging")


def _runs(tag: str) -> bool:
    """Tell whether production has an image by this tag, which then can be no other."""
    try:
        return tags.is_fixed() and release.released("production")[0].partition("@")[0] == tag
    except DeployError:
        return False  # nothing is released yet


def _base(builder: str, python: str, options: list[str]) -> list[str]:
    """Have the image of Python and the packages; return the options of builds that start from it.

    It is that of the registry, or in the builder's cache. Of edited code, which nobody else has,
    there is none by itself.
    """
    tag, options = tags.base(python), [f"--build-arg=PYTHON={python}", *options]
    if registry.take(builder, tag):
        # In place of the stage of this name, and of what that would be built from.
        return [f"--build-context=base=docker-image://{tags.image(tag)}", *options]
    if tags.is_fixed():
        build(builder, "base", tag, options)
    return options


def _origin() -> str:
    """Return where the source is, without the password that such an address may hold."""
    parts = urlsplit(git("remote", "get-url", "origin"))
    return parts._replace(netloc=parts.netloc.rpartition("@")[2]).geturl()
