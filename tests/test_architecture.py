"""The healer stands on the standard library alone, and importing starts nothing."""

from __future__ import annotations

import ast
import json
import subprocess
import sys
from typing import TYPE_CHECKING

import pytest

from tests.support.processes import ROOT, base_environ

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

STANDARD_LIBRARY_ONLY = [
    "app/settings",
    "app/healing",
    "app/kinds/dependency",
    "app/utils",
    "app/isolation/states.py",
    "app/isolation/workers.py",
    "app/telemetry/logs.py",
    "app/access/tokens.py",
]
LOOK_AROUND = """
import json, os, sys, threading
sys.path.insert(0, sys.argv[1])
import app, app.utils.auto_fix
tasks = len(os.listdir("/proc/self/task"))
print(json.dumps({"threads": threading.active_count(), "tasks": tasks}))
"""


def imported(file: Path) -> Iterator[str]:
    """The top-level names that a file imports, wherever in it."""
    for node in ast.walk(ast.parse(file.read_text())):
        if isinstance(node, ast.Import):
            yield from (alias.name.partition(".")[0] for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module and not node.level:
            yield node.module.partition(".")[0]


@pytest.mark.parametrize("part", STANDARD_LIBRARY_ONLY)
def test_the_healer_imports_the_standard_library_alone(part: str) -> None:
    """Not even inside a function does it import what it may have to heal."""
    place = ROOT / part
    files = [place] if place.is_file() else sorted(place.rglob("*.py"))
    assert files
    allowed = {*sys.stdlib_module_names, "app"}
    strangers = {(file.name, name) for file in files for name in {*imported(file)} - allowed}
    assert strangers == set()


def test_importing_the_application_needs_no_package_and_starts_nothing(tmp_path: Path) -> None:
    """An interpreter without site-packages imports it; no thread runs and no file appears."""
    result = subprocess.run(
        [sys.executable, "-I", "-S", "-B", "-c", LOOK_AROUND, str(ROOT)],
        cwd=tmp_path,
        env=base_environ(AUTO_FIX_HOME=str(tmp_path / "home")),
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert result.returncode == 0, result.stderr
    assert json.loads(result.stdout) == {"threads": 1, "tasks": 1}
    assert list(tmp_path.iterdir()) == []
