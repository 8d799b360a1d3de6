"""The code that answers: model.py, and the modules of this folder that it imports.

Training writes its fingerprint into the manifest. A service of other code does not start: it would
answer under the version and the card of a model that nobody judged.

    python -m service.source                          # prints the files, for the Dockerfile
    python -m service.source steps.py                 # the same from another file
    python -m service.source artifact/manifest.json   # fails if they were edited, for `make run`

It needs the standard library alone: `make image` runs without the service's environment.
"""

from __future__ import annotations

import ast
import hashlib
import json
import sys
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parent.parent
DOCUMENTED = (ast.Module, ast.ClassDef, ast.FunctionDef, ast.AsyncFunctionDef)


def files(root: Path = ROOT, start: str = "model.py") -> list[str]:
    """Return `start`, then the modules of `root` that it imports, directly or through others."""
    return [start, *modules(root, [tree(root / start)])]


def modules(root: Path, code: list[ast.AST]) -> list[str]:
    """Return the files of `root` that some code of model.py imports, directly or through others.

    Imports inside functions count, `service` does not: it is part of every image anyway.
    """
    found = [file for part in code for mod in _imported(part, ()) for file in _resolve(root, mod)]
    for name in found:  # which grows on the way
        for module in imports(root, name):
            found += [file for file in _resolve(root, module) if file not in found]
    return sorted({*found} - {"model.py"})


def fingerprint(root: Path = ROOT) -> str:
    """Return a hash of the code: comments, docstrings and layout do not count."""
    code = [(name, plain(tree(root / name))) for name in files(root)]
    return hashlib.sha256(repr(code).encode()).hexdigest()


def edited(trained: str, root: Path = ROOT) -> str:
    """Return a line that says that the code is another than `trained`, its fingerprint; or ""."""
    if fingerprint(root) == trained:
        return ""
    return f"the code that answers ({', '.join(files(root))}) is not that of training"


def imports(root: Path, file: str) -> list[list[str]]:
    """Return the modules, by the parts of their names, that the code in `file` may mean."""
    return _imports((root / file).read_bytes(), Path(file).parts[:-1])


@cache  # each step of a training asks for most of the same files
def _imports(content: bytes, package: tuple[str, ...]) -> list[list[str]]:
    return [*_imported(_parsed(content), package)]


def _imported(code: ast.AST, package: tuple[str, ...]) -> Iterator[list[str]]:
    for node in ast.walk(code):
        if isinstance(node, ast.Import):
            yield from (alias.name.split(".") for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            start = [*package[: len(package) - node.level + 1]] if node.level else []
            start += node.module.split(".") if node.module else []
            # Each name may be a module in a package, or something in a module.
            yield from ([*start, alias.name] for alias in node.names)


def tree(path: Path) -> ast.AST:
    """Return a file's syntax; of one that is not Python, its bytes."""
    return _parsed(path.read_bytes())


def _parsed(content: bytes) -> ast.AST:
    try:
        return ast.parse(content)
    except SyntaxError:  # the import of model.py says it better
        return ast.Constant(content)


def _resolve(root: Path, module: list[str]) -> Iterator[str]:
    """Yield the files in `root` that importing `module` runs: its packages', then its own."""
    for length in range(1, len(module) + 1 if module[0] != "service" else 0):
        stem = "/".join(module[:length])
        for file in (f"{stem}/__init__.py", f"{stem}.py"):
            if (root / file).is_file():
                yield file
                break


def plain(node: Any) -> Any:
    """Return a syntax tree without docstrings as plain values, alike for all versions of Python.

    `ast.dump` is not: newer versions have fields that older ones do not know.
    """
    if isinstance(node, list):
        return [plain(item) for item in node]
    if not isinstance(node, ast.AST):
        return node
    fields = dict(ast.iter_fields(node))
    if isinstance(node, DOCUMENTED) and ast.get_docstring(node, clean=False) is not None:
        fields["body"] = node.body[1:]
    known = {name: plain(value) for name, value in fields.items() if value not in (None, [])}
    return type(node).__name__, known


if __name__ == "__main__":
    if sys.argv[1:] and sys.argv[1].endswith(".json"):
        manifest = json.loads(Path(sys.argv[1]).read_text())
        sys.exit(edited(manifest["source"]["sha256"]) or None)
    print(*files(ROOT, *sys.argv[1:]), sep="\n")
