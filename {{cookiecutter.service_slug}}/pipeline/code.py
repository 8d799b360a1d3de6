"""Which code a step's result depends on: of model.py only what the step calls, directly or not.

So an edit of `predict` fits nothing anew, and one of a gate judges nothing anew. The template's own
code, and the versions of Python and of all packages, count for every step.
"""

from __future__ import annotations

import ast
import hashlib
import platform
from collections.abc import Iterable
from functools import cache
from importlib import metadata
from pathlib import Path
from typing import Any

from packaging.utils import canonicalize_name

from service import source
from service.source import ROOT
from training.requirements import installed

OURS = ("service", "training", "pipeline")
DYNAMIC = {"eval", "exec", "globals", "__import__", "import_module"}
TRAINING = "requirements-train.txt"
LONGEST = 200  # characters of a file's name
DATA_CODE = ("load_data", "prepare")
IMPORTS = (ast.Import, ast.ImportFrom)


@cache
def code(names: tuple[str, ...], root: Path = ROOT) -> str:
    """Return a hash of all code behind what model.py calls `names`; comments do not count.

    Nor do environment variables; files beside model.py do, where the code has their names. Once
    computed, it stays: model.py may be edited while the run goes on with what it imported.
    """
    statements, files = reached(names, root)
    trees = [*statements, *(source.tree(root / file) for file in files)]
    parts = [owners_code(names, root), ours(root), packages(root), _read_files(trees, root)]
    return hashlib.sha256(repr(parts).encode()).hexdigest()


@cache
def owners_code(names: tuple[str, ...], root: Path = ROOT) -> str:
    """Return a hash of what model.py, and what it imports from its folder, have behind `names`."""
    statements, files = reached(names, root)
    parts: list[Any] = [source.plain(statement) for statement in statements]
    parts += [(file, source.plain(source.tree(root / file))) for file in files]
    return hashlib.sha256(repr(parts).encode()).hexdigest()


def _read_files(trees: Iterable[ast.AST], root: Path) -> list[tuple[str, str]]:
    """Return the hashes of files, such as a model that is fitted already, that code may read."""
    nodes = (node for tree in trees for node in ast.walk(tree))
    said = {node.value for node in nodes if isinstance(node, ast.Constant)}
    found = []
    for name in sorted(text for text in said if isinstance(text, str) and len(text) < LONGEST):
        path = root / name
        if "\0" not in name and path.is_file() and path.resolve().is_relative_to(root.resolve()):
            with path.open("rb") as stream:
                found.append((name, hashlib.file_digest(stream, "sha256").hexdigest()))
    return found


def reached(names: Iterable[str], root: Path) -> tuple[list[ast.stmt], list[str]]:
    """Return the statements of model.py that `names` depend on, and the files that they import.

    Statements that define no name, such as calls and ifs, count for all; so do imports of what
    nobody mentions, which must be for what they do.
    """
    tree = source.tree(root / "model.py")
    body = tree.body if isinstance(tree, ast.Module) else []
    if body and ast.get_docstring(tree) is not None:  # type: ignore[arg-type]
        body = body[1:]
    defined = [(_defines(statement), statement) for statement in body]
    wanted, kept = set(names), set[int]()
    mentions = {node.id for node in ast.walk(tree) if isinstance(node, ast.Name)}
    everything = bool(DYNAMIC & mentions)
    grown = True
    while grown:
        grown = False
        for place, (own, statement) in enumerate(defined):
            unused = isinstance(statement, IMPORTS) and not own & mentions
            if place not in kept and (everything or not own or own & wanted or unused):
                kept.add(place)
                wanted |= {node.id for node in ast.walk(statement) if isinstance(node, ast.Name)}
                grown = True
    statements = [body[place] for place in sorted(kept)]
    return statements, source.modules(root, [*statements])


@cache
def ours(root: Path = ROOT) -> str:
    """Return a hash of the template's own code."""
    digest = hashlib.sha256()
    for folder in OURS:
        for path in sorted((root / folder).rglob("*")):
            if path.suffix in (".py", ".html", ".css"):
                digest.update(f"{path.relative_to(root)}\0".encode() + path.read_bytes() + b"\0")
    return digest.hexdigest()


@cache
def packages(root: Path = ROOT) -> dict[str, str]:
    """Return the versions of what requirements-train.txt brings, and of what that needs."""
    names = {canonicalize_name(name) for name in installed(root / TRAINING)}
    found = {canonicalize_name(d.metadata["Name"]): d.version for d in metadata.distributions()}
    python = ".".join(platform.python_version_tuple()[:2])
    return {"python": python} | {name: found[name] for name in sorted(names & found.keys())}


def _defines(statement: ast.stmt) -> set[str]:
    """Return the names that a statement gives a meaning to, and does nothing else."""
    if isinstance(statement, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef):
        return {statement.name}
    if isinstance(statement, IMPORTS):
        names = {(alias.asname or alias.name).partition(".")[0] for alias in statement.names}
        return names - {"*"}
    if isinstance(statement, ast.Assign | ast.AnnAssign):
        targets = statement.targets if isinstance(statement, ast.Assign) else [statement.target]
        if all(isinstance(target, ast.Name) for target in targets):
            return {target.id for target in targets if isinstance(target, ast.Name)}
    return set()
