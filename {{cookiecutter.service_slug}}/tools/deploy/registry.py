"""The registry that service.toml names: log in, take from it, push to it."""

from __future__ import annotations

import os
import re
import uuid
from pathlib import Path
from tempfile import TemporaryDirectory

from tools.deploy.service import REPOSITORY, DeployError
from tools.deploy.tags import image, is_fixed
from tools.programs import output

HOST = REPOSITORY.partition("/")[0]
AWS, ECR = "AWS", r"\d+\.dkr\.ecr\.([a-z0-9-]+)\.amazonaws\.com(\.cn)?"


def log_in(builder: str, host: str = HOST) -> None:
    """Log in as REGISTRY_USER, at AWS's registry as `aws` says; without either, stay as one is.

    Raises DeployError if the registry refuses.
    """
    user, password = (os.environ.get(name, "") for name in ("REGISTRY_USER", "REGISTRY_PASSWORD"))
    if bool(user) != bool(password):
        raise DeployError("REGISTRY_USER and REGISTRY_PASSWORD go together: set both or none")
    # There, AWS is the only user. A CI file may set another, for all registries alike.
    if user != AWS and (found := re.fullmatch(ECR, host)):
        user, password = AWS, output("aws", "ecr", "get-login-password", "--region", found[1])
    if user:
        output(builder, "login", "--username", user, "--password-stdin", host, given=password)


def take(builder: str, tag: str) -> bool:
    """Get an image from the registry, if REUSE=1 asks for it and it was pushed; tell whether."""
    if os.environ.get("REUSE") != "1" or not is_fixed():
        return False
    try:
        log_in(builder)
        output(builder, "pull", image(tag))
    except DeployError as error:
        print(f"    {tag} is built here: {error}", flush=True)
        return False
    print(f"    {tag} is taken from the registry", flush=True)
    return True


def push(builder: str, tag: str) -> str:
    """Have an image in the registry, and return its digest there; raises DeployError.

    One that is there already stays as it is, since clusters may run it by its digest.
    """
    if is_fixed() and (digest := _digest(builder, tag)):
        print(f"    {tag} is there already", flush=True)
        return digest
    print(f"    {tag} is pushed", flush=True)
    if builder == "docker":
        found = re.search(r"digest: (sha256:\w{64})", output(builder, "push", image(tag)))
        if not found:
            raise DeployError(f"docker push did not say the digest of {image(tag)}")
        return found[1]
    with TemporaryDirectory() as folder:
        file = Path(folder) / "digest"
        output(builder, "push", "--digestfile", str(file), image(tag))
        return file.read_text().strip()


def _digest(builder: str, tag: str) -> str:
    """Return the digest that an image has in the registry; "" if it cannot be found there."""
    try:
        if builder == "docker":
            form = "{{.Manifest.Digest}}"
            return output(builder, "buildx", "imagetools", "inspect", "--format", form, image(tag))
        # These say the digest of an image elsewhere only as an item of a list. `create` alone would
        # not log in.
        items = f"localhost/{uuid.uuid4().hex}"
        output(builder, "manifest", "create", items)
        try:
            output(builder, "manifest", "add", items, f"docker://{image(tag)}")
            found = re.search(r'"digest": "(.*)"', output(builder, "manifest", "inspect", items))
        finally:
            output(builder, "manifest", "rm", items)
        return found[1] if found else ""
    except DeployError:
        return ""
