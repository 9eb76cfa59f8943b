"""Any text for a module's name, and any line for a lock."""

from __future__ import annotations

import io
import logging
import sys
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from app.kinds.dependency.diagnosing.failure import missing_module
from app.kinds.dependency.lock import Lock, LockedDistribution
from app.kinds.dependency.requirements import (
    MAX_MODULE_NAME,
    check_module_name,
    normalize,
    top_level,
)
from app.settings.declarations import Mode
from app.settings.errors import InvalidModuleName, LockError, OrchestratorError
from app.telemetry.logs import ConsoleFormatter
from app.utils.auto_fix import AutoFixer
from tests.conftest import World
from tests.healing.broken import on_path, write_files

#: Names near those that mean something: approved, strangers, our own, Python's, and junk.
WORDS = st.sampled_from(
    ["prey", "stranger", "ours", "app", "json", "distutils", "sys", "__main__", "__init__", "PIL"]
)
JUNK = st.sampled_from(
    ["", ".", "..", "-", " ", "\n", "\r", "\0", "\x1b[31m", "/", "../", "--index-url=", "==", ";",
     "'", '"', "\u2028", "\u0430", "class", "ä", "\x85", "%s", "{0}", "_", "x" * 300]
)  # fmt: skip
NAMES = st.lists(WORDS | JUNK | st.text(max_size=6), max_size=5).flatmap(
    lambda parts: st.sampled_from(["", "."]).map(lambda dot: dot.join(parts))
)
#: How the log marks the lines of a traceback.
TRACE = "    | "
FUZZ = settings(
    max_examples=200, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)


@pytest.fixture
def hunted(world: World, tmp_path: Path) -> Iterator[tuple[World, AutoFixer, io.StringIO]]:
    """An engine that may heal, strangers on disk that must not run, and the engine's log."""
    place = on_path(tmp_path / "site-packages")
    ran = "import sys\nsys.stranger_ran = True\n"
    write_files(place, {"stranger/__init__.py": ran, "stranger/ours.py": ran, "x.py": ran})
    world.dependency_map["prey"] = "prey>=1"
    log = io.StringIO()
    handler = logging.StreamHandler(log)
    handler.setFormatter(ConsoleFormatter())
    logging.getLogger("app").addHandler(handler)
    yield world, world.fixer(), log
    logging.getLogger("app").removeHandler(handler)
    assert not hasattr(sys, "stranger_ran")
    assert not [name for name in sys.modules if top_level(name) == "stranger"]


class TestModuleNames:
    """Whatever is asked for, by whoever."""

    @FUZZ
    @given(NAMES)
    @example("prey.\nERROR forged")
    @example("stranger.ours")
    @example("json\0")
    @example("\ud800")
    @example("")
    def test_examine_and_fix(self, hunted: tuple[World, AutoFixer, io.StringIO], name: str) -> None:
        """A name is refused or reported; no stranger runs, nothing unapproved is asked for."""
        world, fixer, log = hunted
        for ask in (fixer.examine, fixer.fix):
            try:
                report = ask(name)
            except InvalidModuleName:
                continue
            assert check_module_name(name) == report.module
            if report.diagnosis is not None:
                assert str(world.root) not in repr(report.diagnosis)
                assert report.diagnosis.advice.isprintable()
                assert report.diagnosis.heals in {None, "prey"}
        _check_traces(world, log)

    @FUZZ
    @given(NAMES.filter(lambda name: "stranger" not in name and name.strip(".") != "x"))
    @example("prey\nERROR forged")
    @example(".relative")
    @example("\ud800")
    @example("json\0")
    @example("__main__.x")
    def test_safe_import(self, hunted: tuple[World, AutoFixer, io.StringIO], name: str) -> None:
        """Importing any text succeeds or does not, and raises nothing."""
        world, fixer, log = hunted
        ok, module = fixer.safe_import(name)
        assert ok is (module is not None)
        assert fixer.load(name) is module
        _check_traces(world, log)

    @FUZZ
    @given(
        st.text() | NAMES.map("No module named {!r}".format) | NAMES.map("No module named ".__add__)
    )
    @example("No module named 'prey\nERROR forged'")
    def test_messages(self, hunted: tuple[World, AutoFixer, io.StringIO], message: str) -> None:
        """Any message names a module or none, and what it names is healed only if approved."""
        world, fixer, log = hunted
        name = missing_module(message)
        assert name == "" or check_module_name(name) == name
        assert fixer._try_fix_import_error("", message) is False
        _check_traces(world, log)

    @settings(max_examples=200, deadline=None)
    @given(NAMES | st.text(min_size=MAX_MODULE_NAME))
    def test_names(self, name: str) -> None:
        """A name is accepted as it is, or refused in one printable line."""
        checked = _or_error(lambda: check_module_name(name))
        if isinstance(checked, OrchestratorError):
            assert str(checked).isprintable()
        else:
            assert checked == name
            assert name.isascii()
            assert name.replace(".", "a").isidentifier()

    @FUZZ
    @given(NAMES)
    def test_reset_and_report_mode(
        self, hunted: tuple[World, AutoFixer, io.StringIO], name: str
    ) -> None:
        """Only what the map names has a budget to give back."""
        world, fixer, log = hunted
        try:
            fixer.reset(name)
        except InvalidModuleName:
            assert top_level(name) != "prey"
        else:
            assert top_level(name) == "prey"
        reporting = AutoFixer(
            replace(world.settings, mode=Mode.REPORT), dependency_map=world.dependency_map
        )
        assert reporting.import_report(name) is None
        _check_traces(world, log)


def _check_traces(world: World, log: io.StringIO) -> None:
    """Nothing was asked of the index, no stranger ran and no line of the log was forged."""
    assert world.index.requests == []
    assert not hasattr(sys, "stranger_ran")
    for line in log.getvalue().splitlines():
        assert " app." in line or line.startswith(TRACE)
        assert line.isprintable()
    log.seek(0)
    log.truncate()


def _or_error(ask: Callable[[], object]) -> object:
    """What ``ask`` returns, or the error that it refuses with."""
    try:
        return ask()
    except OrchestratorError as error:
        return error


HEX = st.text(alphabet="0123456789abcdef", min_size=64, max_size=64).map("sha256:".__add__)
NAME = st.from_regex(r"[a-z0-9]([a-z0-9-]{0,10}[a-z0-9])?", fullmatch=True).map(normalize)
VERSION = st.from_regex(
    r"[0-9]{1,3}(\.[0-9]{1,3}){0,3}(\.post[0-9])?(\+[a-z0-9]{1,5})?", fullmatch=True
)
ENTRIES = st.builds(
    LockedDistribution,
    name=NAME,
    version=VERSION,
    hashes=st.lists(HEX, min_size=1, max_size=3).map(tuple),
    marker=st.sampled_from([None, 'python_full_version >= "3.0"', "os_name != 'none'"]),
    needed_by=st.lists(NAME, max_size=3).map(tuple),
)
PIECES = st.sampled_from(
    ["a==1", "a", "==", "1.0", ";", "os_name", '"posix"', "python_version", "<", "'3.9'", "and",
     "(", ")", "\\", "\n", "\r\n", "    ", "\t", "#", "# via", "-r x.txt", "--hash=sha256:",
     "ab" * 32, "--hash=md5:0", "[extra]", "--index-url", "http://example.com", "\0", "\ufeff",
     "\u2028", "\x0c", "9" * 5000, "-e .", "@", "*"]
)  # fmt: skip


class TestLockLines:
    """Whatever stands in a lock."""

    @settings(max_examples=300, deadline=None)
    @given(st.lists(PIECES | st.text(max_size=5), max_size=25).map(" ".join) | st.text())
    @example("a==1 --hash=sha256:" + "ab" * 32 + "\n\ud800")
    @example("a==1 ; " + "(" * 5000 + " --hash=sha256:" + "ab" * 32)
    def test_anything(self, text: str) -> None:
        """Any text is a lock of hashed pins, or is refused in one printable line."""
        lock = _or_error(lambda: Lock.parse(text))
        if isinstance(lock, LockError):
            assert str(lock).isprintable()
            assert len(str(lock)) < 300
            assert 1 <= lock.line <= text.count("\n") + 1
        else:
            assert isinstance(lock, Lock)
            assert all(found.hashes and found.version for found in lock.entries.values())

    @settings(max_examples=200, deadline=None)
    @given(st.binary() | st.text().map(str.encode))
    def test_any_file(self, content: bytes) -> None:
        """Any bytes are such a lock or are refused."""
        path = Path(self._directory) / "any.lock"
        path.write_bytes(content)
        lock = _or_error(lambda: Lock.read(path))
        assert isinstance(lock, Lock | LockError)
        assert not isinstance(lock, LockError) or str(lock).isprintable()

    @pytest.fixture(autouse=True)
    def _in_a_directory(self, tmp_path: Path) -> None:
        self._directory = tmp_path

    @settings(max_examples=200, deadline=None)
    @given(st.lists(ENTRIES, max_size=6, unique_by=lambda found: found.name), st.data())
    def test_round_trip(self, entries: list[LockedDistribution], data: st.DataObject) -> None:
        """What is written as uv writes it is read as it was meant, whatever its order."""
        written = data.draw(st.permutations(entries))
        newline = data.draw(st.sampled_from(["\n", "\r\n"]))
        lock = Lock.parse(newline.join(map(_written, written)))
        assert lock.entries == {found.name: found for found in entries}
        for found in entries:
            assert found in lock.closure(found.name)


def _written(found: LockedDistribution) -> str:
    condition = f" ; {found.marker}" if found.marker else ""
    hashes = " \\\n    ".join(f"--hash={value}" for value in found.hashes)
    notes = "".join(f"\n    #   {name}" for name in found.needed_by)
    return f"{found.pin}{condition} \\\n    {hashes}\n    # via{notes}"
