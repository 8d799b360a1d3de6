"""A repository that a CI job and a colleague push to, by a real git."""

from __future__ import annotations

import subprocess
from pathlib import Path

from cluster import commit

from tools.deploy import release

FILE = "k8s/overlays/staging/release/kustomization.yaml"


def git(folder: Path, *arguments: str) -> str:
    who = ("-c", "user.name=Ann", "-c", "user.email=ann@example.com")
    command = ["git", "-C", str(folder), *who, *arguments]
    return subprocess.run(command, check=True, capture_output=True, text=True).stdout.strip()


class Forge:
    """The repository that all push to, a CI job's checkout of its first commit, and a colleague."""

    def __init__(self, folder: Path) -> None:
        self.origin, self.job, self.colleague = (
            folder.parent / name for name in ("origin", folder.name, "colleague")
        )
        commit(folder)
        git(folder, "branch", "-M", "main")
        subprocess.run(["git", "clone", "-q", "--bare", folder, self.origin], check=True)
        git(folder, "remote", "add", "origin", f"file://{self.origin}")
        subprocess.run(["git", "clone", "-q", self.origin, self.colleague], check=True)
        git(folder, "checkout", "-q", "--detach")

    def push(self, name: str, text: str) -> None:
        (self.colleague / name).write_text(text)
        git(self.colleague, "add", "-A")
        git(self.colleague, "commit", "-q", "-m", name)
        git(self.colleague, "pull", "-q", "--rebase")
        git(self.colleague, "push", "-q")

    def released(self, branch: str = "main") -> list[str]:
        return release.tags(git(self.origin, "show", f"{branch}:{FILE}"))

    def subjects(self, branch: str = "main") -> list[str]:
        return git(self.origin, "log", "--format=%s", branch).splitlines()

    def hook(self, name: str, script: str) -> None:
        path = self.origin / "hooks" / name
        path.write_text(f"#!/bin/sh\n{script}\n")
        path.chmod(0o755)
