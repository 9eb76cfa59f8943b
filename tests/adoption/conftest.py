"""A small project, and modules that were written for another one."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from app.adoption.proposal import Proposal, propose
from app.doctor.project import Project
from tests.support.processes import ROOT

MANIFEST = """# What is served.
[packages]
flask = "flask>=3.0"
redis = "redis>=5.0"  # a client

# Ours.
[blueprint.main]
import = "app.routes.main:main_bp"
paths = ["/"]
"""
MAIN = """
from flask import Blueprint
main_bp = Blueprint("main", __name__)
@main_bp.get("/")
def index(): ...
"""
REQUIREMENTS = "# what the image has\nflask>=3.0  # serves\n"


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """Make the project."""
    root = tmp_path / "project"
    (root / "app" / "routes").mkdir(parents=True)
    (root / "app" / "routes" / "main.py").write_text(MAIN)
    (root / "orchestrator.toml").write_text(MANIFEST)
    (root / "requirements-flask.txt").write_text(REQUIREMENTS)
    shutil.copy(ROOT / "requirements-flask.lock", root)
    return root


@pytest.fixture
def legacy(tmp_path: Path) -> Path:
    """Make the directory of the modules."""
    directory = tmp_path / "legacy"
    directory.mkdir()
    return directory


@pytest.fixture
def proposed(root: Path, legacy: Path) -> Callable[..., Proposal]:
    """Writes modules, by their names, and says what is proposed for their directory."""

    def read(**modules: str) -> Proposal:
        for name, text in modules.items():
            path = legacy / f"{name.replace('__', '/')}.py"
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(text)
        return propose(Project.at(root), [legacy])

    return read
