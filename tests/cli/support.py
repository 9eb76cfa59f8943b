"""Runs the commands for real: a copy of the project, a subprocess, an environment of its own."""

from __future__ import annotations

import json
import subprocess
import sys
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from tests.support.image import copy_image
from tests.support.processes import base_environ

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path


@dataclass(frozen=True, slots=True)
class Ended:
    """How a command ended."""

    code: int
    out: str
    err: str

    @property
    def json(self) -> Any:  # noqa: ANN401 - a JSON document can be anything
        """Standard output as JSON; it must be that and nothing else, and stderr silent."""
        assert self.err == ""
        return json.loads(self.out)


@dataclass(frozen=True, slots=True)
class Checkout:
    """A copy of the project in which commands run."""

    root: Path
    environ: Mapping[str, str]
    python: str = sys.executable

    def run(self, *arguments: str, **environ: str) -> Ended:
        """``python -m app.cli``."""
        return self.command([self.python, "-m", "app.cli", *arguments], **environ)

    def flask(self, *arguments: str, **environ: str) -> Ended:
        """``flask auto-fix``."""
        return self.command([self.python, "-m", "flask", "auto-fix", *arguments], **environ)

    def command(self, command: list[str], **environ: str) -> Ended:
        """Any command, in the copy."""
        result = subprocess.run(
            command,
            cwd=self.root,
            env=base_environ(**{**self.environ, **environ}),
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=100,
            check=False,
        )
        return Ended(result.returncode, result.stdout, result.stderr)

    def read(self, name: str) -> str:
        """A file of the copy."""
        return (self.root / name).read_text()

    def write(self, name: str, text: str | bytes) -> Path:
        """Replace a file of the copy."""
        path = self.root / name
        path.write_bytes(text if isinstance(text, bytes) else text.encode())
        return path

    def drop(self, requirement: str, name: str = "requirements-flask.txt") -> None:
        """Take a requirement's line out of the copy."""
        lines = self.read(name).splitlines(keepends=True)
        self.write(name, "".join(line for line in lines if not line.startswith(requirement)))

    def approve(self, *requirements: str) -> None:
        """Put requirements, each called as it is imported, into the map of the copy."""
        lines = (f'{line.partition(">")[0]} = "{line}"\n' for line in requirements)
        text = self.read("orchestrator.toml")
        packages = f"[packages]\n{''.join(lines)}"
        self.write("orchestrator.toml", text.replace("[packages]\n", packages))

    def snapshot(self) -> dict[str, bytes]:
        """Every file of the copy but caches."""
        files = (path for path in self.root.rglob("*") if path.is_file())
        return {
            str(path.relative_to(self.root)): path.read_bytes()
            for path in files
            if "__pycache__" not in path.parts
        }


def copy_project(root: Path) -> Path:
    """Copy what the commands work on, with its bytecode: each of them would compile it anew."""
    # Python renames what it has compiled: a name may be gone before it is copied.
    return copy_image(root, "*.pyc.*")
