"""The planted faults are all found, and nothing else is."""

from __future__ import annotations

import shutil
import tomllib
from pathlib import Path
from typing import Any

import pytest

from app.doctor.findings import Finding
from app.doctor.imports import ImportChecker
from app.doctor.project import Graph, Project
from app.doctor.requirements import load
from app.manifest import FILE
from tests.support.processes import ROOT

CORPUS = Path(__file__).parent / "corpus"
#: Files of the corpus that plant faults; the others hold what must not be taken for one.
PLANTED = ("missing", "misspelt", "guarded", "conditional", "dynamic", "transitive")
MANIFEST = """
[blueprint.edge_functions]
import = "app.routes.edge_functions:edge_functions_bp"

"""
BASE = {
    "app/__init__.py": "",
    "app/routes/__init__.py": "",
    "app/routes/health.py": "import flask\n",
    "app/routes/edge_functions.py": "import flask\n",
    "app/services/__init__.py": "",
    "app/utils/__init__.py": "",
}
REQUIREMENTS = "flask>=3.0\nwerkzeug>=3.0\ngunicorn>=27.0.1\nrequests>=2.31\n"


def variants() -> list[Any]:
    """Every variant of the corpus with the name of its file."""
    return [
        pytest.param(variant, id=f"{path.stem}: {variant['name']}")
        for path in sorted(CORPUS.glob("*.toml"))
        for variant in tomllib.loads(path.read_text())["variant"]
    ]


def plant(variant: dict[str, Any], root: Path) -> Project:
    """Write a variant's small project, locked as this one is."""
    for name, text in {**BASE, **variant.get("files", {})}.items():
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    (root / "requirements-flask.txt").write_text(variant.get("requirements", REQUIREMENTS))
    shutil.copy(ROOT / "requirements-flask.lock", root)
    packages = (ROOT / FILE).read_text().partition("[blueprint.")[0]
    (root / FILE).write_text(f"{MANIFEST}{packages}")
    return Project.at(root)


def examined(project: Project) -> list[Finding]:
    """What the doctor finds in the imports."""
    checker = ImportChecker(Graph(project), load(project.requirements_path))
    return list(checker.findings())


@pytest.mark.parametrize("variant", variants())
def test_finds_what_is_planted_and_nothing_else(variant: dict[str, Any], tmp_path: Path) -> None:
    """Severity, code, place and subject of each finding are exactly the expected ones."""
    found = examined(plant(variant, tmp_path))
    listed = [f"{one.severity} {one.code} {one.place} {one.subject}" for one in found]
    assert sorted(listed) == sorted(variant.get("expect", []))
    if "advice" in variant:
        assert variant["advice"] in found[0].advice
    if "chain" in variant:
        assert [list(one.chain) for one in found] == [variant["chain"]]


def test_the_corpus_is_as_large_as_promised() -> None:
    """At least forty variants plant something."""
    planted = [tomllib.loads((CORPUS / f"{name}.toml").read_text())["variant"] for name in PLANTED]
    assert all(variant["expect"] for file in planted for variant in file)
    assert sum(map(len, planted)) >= 40
