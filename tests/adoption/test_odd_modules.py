"""Whatever a module holds, it is not run, ends nothing, and leaves whole files."""

from __future__ import annotations

import ast
import os
import stat
import subprocess
import sys
import tomllib
import warnings
from collections.abc import Iterator
from pathlib import Path

import pytest

from app.adoption.proposal import propose
from app.doctor.project import Project
from app.locking.edit import write_all
from tests.adoption import odd
from tests.support.processes import ROOT, base_environ

#: Ends the process at the rename of the given number, as a power cut would.
INTERRUPTED = """
import os, sys
from pathlib import Path
from app.adoption.proposal import propose
from app.locking.edit import write_all
from app.doctor.project import Project
root, legacy, left = Path(sys.argv[1]), Path(sys.argv[2]), int(sys.argv[3])
found = propose(Project.at(root), [legacy])
def count(event, arguments):
    global left
    if event == "os.rename":
        left -= 1
        if left < 0:
            os._exit(9)
sys.addaudithook(count)
write_all(found.changes)
"""
#: Writes where no file may grow beyond the given number of bytes.
BOUNDED = """
import resource, sys
from pathlib import Path
from app.adoption.proposal import propose
from app.locking.edit import write_all
from app.doctor.project import Project
from app.settings.errors import CannotWrite
root, legacy, limit = Path(sys.argv[1]), Path(sys.argv[2]), int(sys.argv[3])
found = propose(Project.at(root), [legacy])
resource.setrlimit(resource.RLIMIT_FSIZE, (limit, limit))
try:
    write_all(found.changes)
except CannotWrite as error:
    sys.exit(73)
"""


def snapshot(root: Path) -> dict[str, bytes]:
    """Every file of a directory."""
    return {str(p.relative_to(root)): p.read_bytes() for p in root.rglob("*") if p.is_file()}


def run(script: str, *arguments: object) -> int:
    """Run a script in a process of its own; its exit status."""
    command = [sys.executable, "-B", "-c", script, *map(str, arguments)]
    environ = base_environ(PYTHONPATH=str(ROOT))
    return subprocess.run(command, env=environ, check=False, timeout=100).returncode


@pytest.fixture(scope="module")
def directory(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Write all of them, and beside them an empty directory for their traces."""
    directory = tmp_path_factory.mktemp("corpus")
    (directory / "legacy").mkdir()
    (directory / "traces").mkdir()
    for name, content in odd.modules(str(directory / "traces")):
        (directory / "legacy" / name).write_bytes(content)
    return directory


@pytest.fixture
def strange(tmp_path: Path) -> Iterator[dict[str, Path]]:
    """What is no file of a module, by what is wrong with it."""
    paths = {name: tmp_path / f"{name}.py" for name in ("fifo", "link", "circle", "huge", "device")}
    os.mkfifo(paths["fifo"])
    paths["link"].symlink_to(tmp_path / "absent.py")
    paths["circle"].symlink_to(paths["circle"])
    with paths["huge"].open("wb") as file:
        file.truncate(1 << 30)
    paths["device"].symlink_to("/dev/zero")
    yield paths
    paths["huge"].unlink()


def readable(content: bytes) -> bool:
    """Whether this Python could compile it."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            ast.parse(content)
    except (SyntaxError, ValueError, RecursionError, MemoryError):
        return False
    return True


class TestCorpus:
    """Two hundred modules at once."""

    def test_each_is_read_or_has_its_line(self, root: Path, directory: Path) -> None:
        """None is run, none is an end, and none is passed over in silence."""
        before, loaded = snapshot(root), {*sys.modules}
        found = propose(Project.at(root), [directory / "legacy"])
        files = [*(directory / "legacy").iterdir()]
        assert len(files) >= 200
        named = {finding.file for finding in found.findings if finding.severity == "error"}
        unread = {str(path) for path in files if not readable(path.read_bytes())}
        assert unread - named == set()
        assert len(unread) > 100
        assert len(found.blueprints) > 50
        assert all(finding.line for finding in found.findings if finding.code == "syntax_error")
        assert [*(directory / "traces").iterdir()] == []
        assert {
            name for name in {*sys.modules} - loaded if "odd" in name or "legacy" in name
        } == set()
        assert snapshot(root) == before

    def test_what_is_written_is_whole(self, root: Path, directory: Path) -> None:
        """The manifest has no fault, every import path leads to a file, and all is said once."""
        found = propose(Project.at(root), [directory / "legacy"])
        write_all(found.changes)
        project = Project.at(root)
        assert project.manifest.faults == ()
        assert len(project.manifest.blueprints) == len(found.blueprints) + 1
        assert all(map(project.leads, project.manifest.blueprints))
        assert propose(project, [directory / "legacy"]).changes == ()
        assert [*(directory / "traces").iterdir()] == []


def test_what_is_no_module_is_named(root: Path, strange: dict[str, Path]) -> None:
    """Pipes, devices, links to nowhere and files that are too large: nothing waits for them."""
    found = propose(Project.at(root), strange.values())
    assert {finding.code for finding in found.findings if finding.severity == "error"} == {
        "file_unreadable"
    }
    assert len([one for one in found.findings if one.severity == "error"]) == len(strange)


@pytest.fixture
def adopted(legacy: Path) -> Path:
    """Make a module that needs a change of every file, and another beside it."""
    text = odd.EXAMPLE.format(canary="import pytest", name="shop")
    (legacy / "shop.py").write_text(text)
    (legacy / "helper.py").write_text("x = 1\n")
    return legacy


def test_an_end_in_the_middle_leaves_whole_files(tmp_path: Path, root: Path, adopted: Path) -> None:
    """Wherever it comes; the manifest is last, and the next run does the rest."""
    before = snapshot(root)
    status = 9
    for number in range(20):
        copy = tmp_path / f"copy_{number}"
        for name, content in before.items():
            (copy / name).parent.mkdir(parents=True, exist_ok=True)
            (copy / name).write_bytes(content)
        status = run(INTERRUPTED, copy, adopted, number)
        left = {path for path in copy.rglob(".*") if path.is_file()}
        assert bool(left) == bool(status)
        for path in left:
            path.unlink()
        interrupted = snapshot(copy)
        write_all(propose(Project.at(copy), [adopted]).changes)
        after = snapshot(copy)
        manifest = tomllib.loads(interrupted["orchestrator.toml"].decode())
        assert all(text in (before.get(n), after[n]) for n, text in interrupted.items())
        assert ("shop" in manifest["blueprint"]) == (status == 0)
        if status == 0:
            break
    assert (status, number) == (0, 5)


@pytest.mark.parametrize("limit", [0, 60, 100, 300])
def test_a_full_disk_changes_nothing(root: Path, adopted: Path, limit: int) -> None:
    """Whichever of the files has no room."""
    before = snapshot(root)
    assert run(BOUNDED, root, adopted, limit) == 73
    assert snapshot(root) == before
    assert not (root / "blueprints").exists()


def test_modes_stay(root: Path, adopted: Path) -> None:
    """Those of the files that are changed."""
    (root / "orchestrator.toml").chmod(0o640)
    write_all(propose(Project.at(root), [adopted]).changes)
    assert stat.S_IMODE((root / "orchestrator.toml").stat().st_mode) == 0o640
