"""A failed import leaves nothing behind, and takes nothing away."""

from __future__ import annotations

import sys
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from app.kinds.dependency.diagnosing.failure import import_cleanly
from tests.conftest import World
from tests.healing.broken import Site, on_path, write_files

FAILING = "from half import a, b\nimport half.deep.leaf\nraise ValueError\n"
HALF = {
    "half/__init__.py": FAILING,
    "half/a.py": "",
    "half/b.py": "import beside\n",
    "half/deep/__init__.py": "",
    "half/deep/leaf.py": "",
    "beside.py": "",
}


@pytest.fixture
def place(tmp_path: Path) -> Path:
    """A directory that this process imports from."""
    return on_path(tmp_path / "site-packages")


def loaded(prefix: str) -> set[str]:
    """The loaded modules of a package."""
    return {name for name in sys.modules if name == prefix or name.startswith(f"{prefix}.")}


class TestAfterAFailure:
    """What ``sys.modules`` holds when an import has raised."""

    def test_no_submodule_is_left(self, place: Path) -> None:
        """The submodules that a failing package had imported are gone with it."""
        write_files(place, HALF)
        with pytest.raises(ValueError, match=r"^$"):
            import_cleanly("half")
        assert loaded("half") == set()

    def test_complete_modules_stay(self, place: Path) -> None:
        """What it had imported from elsewhere is complete, and stays."""
        write_files(place, HALF)
        with pytest.raises(ValueError, match=r"^$"):
            import_cleanly("half")
        assert "beside" in sys.modules

    def test_retry_starts_clean(self, place: Path) -> None:
        """Once mended, the package is imported anew, each submodule in its new state."""
        write_files(place, HALF)
        with pytest.raises(ValueError, match=r"^$"):
            import_cleanly("half")
        write_files(place, {"half/__init__.py": "from half import a", "half/a.py": "mended = True"})
        assert import_cleanly("half").a.mended

    def test_loaded_before(self, place: Path) -> None:
        """What was loaded before is the same object afterwards, in the same package too."""
        write_files(place, {"kept/__init__.py": "", "kept/a.py": "", "kept/bad/__init__.py": BAD})
        write_files(place, {"kept/bad/part.py": ""})
        package, part = import_cleanly("kept"), import_cleanly("kept.a")
        with pytest.raises(ZeroDivisionError):
            import_cleanly("kept.bad")
        assert sys.modules["kept"] is package
        assert sys.modules["kept.a"] is part
        assert loaded("kept") == {"kept", "kept.a"}

    def test_package_of_a_failing_submodule(self, place: Path) -> None:
        """A package that loads is complete, although the submodule asked for fails."""
        write_files(place, {"kept/__init__.py": "import kept.a", "kept/a.py": "",
                            "kept/bad.py": "1 / 0"})  # fmt: skip
        with pytest.raises(ZeroDivisionError):
            import_cleanly("kept.bad")
        assert loaded("kept") == {"kept", "kept.a"}

    def test_nested_failure(self, place: Path) -> None:
        """When a package fails because another one does, nothing of either is left."""
        write_files(place, {**HALF, "outer/__init__.py": "import outer.a\nimport half",
                            "outer/a.py": ""})  # fmt: skip
        with pytest.raises(ValueError, match=r"^$"):
            import_cleanly("outer")
        assert loaded("half") | loaded("outer") == set()

    def test_swallowed_failure(self, place: Path) -> None:
        """Nothing is left either of a package whose failure another one had caught."""
        catching = (
            "try:\n    import half\nexcept ValueError:\n    raise ImportError('no') from None"
        )
        write_files(place, {**HALF, "outer.py": catching})
        with pytest.raises(ImportError, match="no"):
            import_cleanly("outer")
        assert loaded("half") == set()

    @pytest.mark.parametrize("error", ["SystemExit", "KeyboardInterrupt", "GeneratorExit"])
    def test_exits(self, place: Path, error: str) -> None:
        """So it is when the module leaves the process instead of failing."""
        write_files(place, {"half/__init__.py": f"import half.a\nraise {error}", "half/a.py": ""})
        with pytest.raises(BaseException, match=r"^$") as caught:
            import_cleanly("half")
        assert caught.type.__name__ == error
        assert loaded("half") == set()

    def test_relative(self, place: Path) -> None:
        """A relative name is anchored as ``importlib`` does it, and cleaned up the same."""
        write_files(place, {"kept/__init__.py": "", "kept/half/__init__.py": BAD_HERE})
        write_files(place, {"kept/half/part.py": "", "kept/good.py": ""})
        import_cleanly("kept")
        with pytest.raises(ZeroDivisionError):
            import_cleanly(".half", "kept")
        assert loaded("kept") == {"kept"}
        assert import_cleanly(".good", "kept").__name__ == "kept.good"


class TestLazyImports:
    """``lazy import`` of Python 3.15 (PEP 810)."""

    def test_resolved_at_once(self, place: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        """They are run as others are from then on, where Python has them."""
        modes: list[str] = []
        monkeypatch.setattr(sys, "set_lazy_imports", modes.append, raising=False)
        write_files(place, {"kept/__init__.py": ""})
        import_cleanly("kept")
        assert modes == ["none"]


class TestEmptiedDirectory:
    """What an interrupted uninstall leaves of a package."""

    def test_is_no_module(self, place: Path) -> None:
        """A directory without a module in it cannot be imported, and is not kept."""
        write_files(place, {"left/__pycache__/core.pyc": "", "left/data/notes.txt": ""})
        with pytest.raises(ModuleNotFoundError, match="No module named 'left'") as caught:
            import_cleanly("left")
        assert caught.value.name == "left"
        assert loaded("left") == set()

    def test_namespace_package(self, place: Path) -> None:
        """A namespace package with a module in it can, however deep that is."""
        write_files(place, {"space/deep/deeper/leaf.py": ""})
        assert import_cleanly("space").__name__ == "space"


BAD = "import kept.bad.part\n1 / 0\n"
BAD_HERE = "from . import part\n1 / 0\n"


class TestOtherThreads:
    """Imports of other threads while one fails."""

    def test_completed_meanwhile(self, place: Path, gate: Gate) -> None:
        """A package that another thread completes while an import fails stays, whole."""
        waiting = "import half.a\nimport gate_of_test\ngate_of_test.wait()\nraise ValueError\n"
        write_files(place, {"half/__init__.py": waiting, "half/a.py": ""})
        write_files(place, {"whole/__init__.py": "import whole.a", "whole/a.py": ""})
        failing = threading.Thread(target=gate.import_and_fail, args=("half",))
        failing.start()
        assert gate.reached.wait(10)
        whole = import_cleanly("whole")
        gate.opened.set()
        failing.join(10)
        assert gate.failures == ["ValueError"]
        assert loaded("half") == set()
        assert sys.modules["whole"] is whole
        assert loaded("whole") == {"whole", "whole.a"}

    def test_still_running(self, place: Path, gate: Gate) -> None:
        """A package whose body another thread is still running is left alone."""
        waiting = "import slow.a\nimport gate_of_test\ngate_of_test.wait()\nimport slow.b\n"
        write_files(place, {**HALF, "slow/__init__.py": waiting})
        write_files(place, {"slow/a.py": "", "slow/b.py": ""})
        running = threading.Thread(target=import_cleanly, args=("slow",))
        running.start()
        assert gate.reached.wait(10)
        part = sys.modules["slow.a"]
        with pytest.raises(ValueError, match=r"^$"):
            import_cleanly("half")
        gate.opened.set()
        running.join(10)
        assert loaded("slow") == {"slow", "slow.a", "slow.b"}
        assert sys.modules["slow.a"] is part


class Gate:
    """Holds a module's body back until the test has done something else."""

    def __init__(self) -> None:
        self.reached = threading.Event()
        self.opened = threading.Event()
        self.failures: list[str] = []

    def wait(self) -> None:
        """Called by the module."""
        self.reached.set()
        assert self.opened.wait(10)

    def import_and_fail(self, name: str) -> None:
        """Import in a thread and note how that ended."""
        try:
            import_cleanly(name)
        except ValueError as error:
            self.failures.append(type(error).__name__)


@pytest.fixture
def gate(monkeypatch: pytest.MonkeyPatch) -> Iterator[Gate]:
    """A gate that a module reaches by importing ``gate_of_test``."""
    gate = Gate()
    monkeypatch.setitem(sys.modules, "gate_of_test", gate)
    yield gate
    gate.opened.set()


class TestHealedRetry:
    """The same through the engine."""

    def test_half_imported_package(self, world: World, tmp_path: Path) -> None:
        """A package that failed for a missing part is imported anew after the heal."""
        body = "import asker.state\nasker.state.count.append(1)\nimport part\n"
        files = {"asker/__init__.py": body, "asker/state.py": "count = []\n"}
        Site.on_path(tmp_path).unpack(world.publish("asker", files=files))
        world.publish("part", needed_by=["asker"])
        report = world.fixer().import_module("asker")
        assert report.healed
        assert sys.modules["asker.state"].__dict__["count"] == [1]
