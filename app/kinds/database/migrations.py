"""Migrations of Alembic: which ones a directory ends with, and running them where that is set.

Which ones there are is read without running any of them.
"""

from __future__ import annotations

import ast
import os
import sys
from collections.abc import Mapping
from pathlib import Path

from app.healing.background import BoundedCall
from app.healing.children import child_group
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


def upgrade(directory: Path, environ: Mapping[str, str], seconds: float, claim: int) -> bool:
    """Run what is pending with Alembic, in a child that has ended by then; whether it went well.

    Its ``alembic.ini`` is in the directory or beside it. ``claim`` is a descriptor that the child
    inherits. What it prints is discarded: it may hold values.

    Raises:
        OSError: no child can be started.
    """
    home = directory if (directory / "alembic.ini").exists() else directory.parent
    # What was healed is on this process's path alone.
    path = os.pathsep.join(entry for entry in sys.path if Path(entry).is_absolute())
    command = [sys.executable, "-m", "alembic", "upgrade", "heads"]
    with child_group(
        command,
        environ={**environ, "PYTHONPATH": path},
        directory=home,
        keep=() if claim < 0 else (claim,),
    ) as child:
        try:
            return BoundedCall(child.wait, "alembic").wait(seconds) == 0
        except TimeoutError:
            return False


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
