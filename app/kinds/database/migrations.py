"""Which migrations an Alembic directory ends with, read without running any of them."""

from __future__ import annotations

import ast
from pathlib import Path

from app.settings.files import read_bounded

MAX_BYTES = 1 << 20


def heads(directory: Path) -> frozenset[str]:
    """The revisions that no other one follows; more than one means that branches were not merged.

    Raises:
        OSError: the directory, or a file in it, cannot be read.
        ValueError: a file is no Python.
    """
    revisions: set[str] = set()
    followed: set[str] = set()
    for path in sorted((directory / "versions").iterdir()):
        if path.suffix == ".py":
            names = _assigned(read_bounded(path, MAX_BYTES))
            revisions |= names.get("revision", set())
            followed |= names.get("down_revision", set()) | names.get("depends_on", set())
    return frozenset(revisions - followed)


def _assigned(source: bytes) -> dict[str, set[str]]:
    """The texts that a module assigns to each of its names."""
    try:
        module = ast.parse(source)
    except (SyntaxError, RecursionError) as error:
        raise ValueError("a migration is no Python") from error
    found: dict[str, set[str]] = {}
    for statement in module.body:
        targets = statement.targets if isinstance(statement, ast.Assign) else []
        if isinstance(statement, ast.AnnAssign):
            targets = [statement.target]
        value = getattr(statement, "value", None)
        for target in targets:
            if isinstance(target, ast.Name) and value is not None:
                texts = [each.value for each in ast.walk(value) if isinstance(each, ast.Constant)]
                found[target.id] = {text for text in texts if isinstance(text, str)}
    return found
