"""What the workers use of gunicorn is listed, and where a name is missing gunicorn's own serve."""

from __future__ import annotations

import ast
import dis
import importlib
import inspect
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType

import pytest

from app.serving.workers import CLASSES, GUNICORN_NAMES, missing_names
from tests.support.processes import ROOT, serve

ROOM = ROOT / "app/serving"
MODULES = sorted(
    file.stem for file in ROOM.glob("*.py") if file.stem not in {"__init__", "workers"}
)


def listed(module: str) -> set[str]:
    """The names that the list has for a module of the room."""
    return {
        f"{source}:{name}"
        for source, names in GUNICORN_NAMES[module].items()
        for name in names.split()
    }


def imported(tree: ast.Module) -> Iterator[str]:
    """What a module imports of gunicorn, and takes of gunicorn's modules that it imports."""
    modules = {}
    for node in ast.walk(tree):
        if isinstance(node, ast.ImportFrom) and (node.module or "").split(".")[0] == "gunicorn":
            for name in node.names:
                try:
                    modules[name.name] = importlib.import_module(f"{node.module}.{name.name}")
                except ImportError:
                    yield f"{node.module}:{name.name}"
    for node in ast.walk(tree):
        if isinstance(node, ast.Attribute):
            owner = modules.get(ast.unparse(node.value))
            if owner is not None:
                yield f"{owner.__name__}:{node.attr}"


def origin(kind: type, attribute: str) -> str | None:
    """The class of gunicorn that a class has an attribute from."""
    bases = [kind for kind in inspect.getmro(kind) if kind.__module__.split(".")[0] == "gunicorn"]
    own = {
        step.argval
        for base in bases
        if inspect.isfunction(vars(base).get("__init__"))
        for step in dis.get_instructions(vars(base)["__init__"])
        if step.opname == "STORE_ATTR"
    }
    if bases and (attribute in own or hasattr(bases[0], attribute)):
        return f"{bases[0].__module__}:{bases[0].__qualname__}.{attribute}"
    return None


def inherited(tree: ast.Module, module: ModuleType) -> Iterator[str]:
    """What its classes override of gunicorn's, and use of themselves that is gunicorn's."""
    for node in tree.body:
        if not isinstance(node, ast.ClassDef):
            continue
        kind = vars(module)[node.name]
        names = {method.name for method in node.body if isinstance(method, ast.FunctionDef)}
        for inner in ast.walk(node):
            if isinstance(inner, ast.Attribute):
                value = inner.value
                is_self = isinstance(value, ast.Name) and value.id == "self"
                is_super = isinstance(value, ast.Call) and ast.unparse(value.func) == "super"
                names |= {inner.attr} if is_self or is_super else set()
        for name in names:
            found = None if name.startswith("__") else origin(kind, name)
            if found is not None:
                yield found


@pytest.mark.parametrize("name", MODULES)
class TestList:
    """The list is what the code uses."""

    def test_is_complete(self, name: str) -> None:
        """Whatever a module imports, overrides or inherits of gunicorn's is in the list."""
        tree = ast.parse((ROOM / f"{name}.py").read_text())
        module = importlib.import_module(f"app.serving.{name}")
        assert {*imported(tree), *inherited(tree, module)} <= listed(name)

    def test_has_nothing_else(self, name: str) -> None:
        """What is listed is used, by its own name."""
        tree = ast.parse((ROOM / f"{name}.py").read_text())
        nodes = list(ast.walk(tree))
        used = {node.attr for node in nodes if isinstance(node, ast.Attribute)}
        used |= {node.id for node in nodes if isinstance(node, ast.Name)}
        used |= {node.name for node in nodes if isinstance(node, ast.FunctionDef)}
        used |= {
            name.name for node in nodes if isinstance(node, ast.ImportFrom) for name in node.names
        }
        assert {entry.rpartition(":")[2].rpartition(".")[2] for entry in listed(name)} <= used

    def test_is_there(self, name: str) -> None:
        """The installed gunicorn has all of it."""
        assert missing_names(name) == []


def test_every_module_is_in_the_list() -> None:
    """And a worker's class is in one of its modules."""
    assert sorted(GUNICORN_NAMES) == MODULES
    for path, modules in CLASSES.values():
        assert path.split(".")[2] in modules


#: Takes one name from gunicorn before anything of this project is imported.
WITHOUT = """
import gunicorn.workers.base, gunicorn.http.message, gunicorn.http.errors
del gunicorn.http.errors.ForbiddenProxyRequest
"""
WARNING = "gunicorn's own worker serves, slow clients can hold it"


@pytest.mark.parametrize("worker", sorted(CLASSES))
def test_another_gunicorn(tmp_path: Path, worker: str) -> None:
    """A name that is missing costs the protection from slow clients, with a warning, no more."""
    (tmp_path / "site").mkdir()
    (tmp_path / "site/sitecustomize.py").write_text(WITHOUT)
    environ = {
        "PYTHONPATH": str(tmp_path / "site"),
        "AUTO_FIX_HOME": str(tmp_path / "home"),
        "AUTO_FIX_MODE": "report",
        "LOG_FORMAT": "json",
        "WORKER_CLASS": worker,
    }
    with serve(tmp_path / "log", environ) as server:
        assert server.get("/livez").status == 200
        lines = server.lines(event=WARNING, worker=worker)
        own = {"sync": "gunicorn.workers.sync.SyncWorker"}
        assert {line["serves"] for line in lines} == {
            own.get(worker, "gunicorn.workers.gthread.ThreadWorker")
        }
        assert lines[0]["level"] == "WARNING"
        assert lines[0]["missing"] == "gunicorn.http.errors.ForbiddenProxyRequest"


def test_this_gunicorn(tmp_path: Path) -> None:
    """Where nothing is missing there is no warning, and our classes serve."""
    environ = {"AUTO_FIX_HOME": str(tmp_path / "home"), "AUTO_FIX_MODE": "report"}
    with serve(tmp_path / "log", environ) as server:
        assert WARNING not in server.log_text
