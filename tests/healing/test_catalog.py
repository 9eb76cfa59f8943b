"""The map, the lock and its markers: what may be installed, and exactly which files."""

from __future__ import annotations

import importlib.metadata
import logging
import os
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from packaging.markers import InvalidMarker, Marker, UndefinedComparison
from packaging.requirements import Requirement
from packaging.specifiers import SpecifierSet
from packaging.utils import canonicalize_name

from app.kinds.dependency.catalog import OPTIONAL, REQUIRED, Catalog, Conflict, InstallOutcome
from app.kinds.dependency.lock import Lock
from app.kinds.dependency.markers import MarkerError, environment, holds, version_key
from app.kinds.dependency.on_disk import (
    bringing,
    find_on_disk,
    installed_version,
    records_file,
    records_module,
)
from app.kinds.dependency.requirements import (
    MAX_MODULE_NAME,
    check_module_name,
    normalize,
    requirement_name,
    top_level,
)
from app.settings.engine import DEFAULT_LOCK
from app.settings.errors import InvalidModuleName, LockError
from tests.conftest import World
from tests.healing.broken import Site, on_path, write_files

HASH = "--hash=sha256:" + "ab" * 32
OTHER_HASH = "--hash=sha256:" + "cd" * 32


def entry(pin: str, *via: str, marker: str = "") -> str:
    """One paragraph of a lock."""
    condition = f" ; {marker}" if marker else ""
    notes = "".join(f"    #   {name}\n" for name in via)
    return f"{pin}{condition} \\\n    {HASH}\n    # via\n{notes}"


def names(lock: Lock, distribution: str) -> list[str]:
    """The closure of a distribution, by name."""
    return [found.name for found in lock.closure(distribution)]


class TestLock:
    """Reading what ``uv pip compile --generate-hashes`` writes."""

    def test_entry(self) -> None:
        """An entry has its normalized name, its version, every hash and its marker."""
        text = (
            f'Some_Name[extra]==1.0.post1 ; os_name == "{os.name}" \\\n  {HASH} \\\n  {OTHER_HASH}'
        )
        found = Lock.parse(text).entries["some-name"]
        assert found.pin == "some-name==1.0.post1"
        assert found.hashes == (HASH.removeprefix("--hash="), OTHER_HASH.removeprefix("--hash="))
        assert found.marker == f'os_name == "{os.name}"'
        assert found.applies()

    @pytest.mark.parametrize(
        ("note", "parents"),
        [
            ("    # via asker", ("asker",)),
            ("    # via\n    #   asker\n    #   Other_One", ("asker", "other-one")),
            ("    # via asker, other", ("asker", "other")),
            ("    # via asker[extra]", ("asker",)),
            ("    # via -r requirements.txt", ()),
            ("    # via\n    #   -r requirements.txt\n    #   viaduct", ("viaduct",)),
            ("    # via viaduct", ("viaduct",)),
            ("# via a comment of nobody", ()),
            ("    #", ()),
        ],
    )
    def test_who_needs_it(self, note: str, parents: tuple[str, ...]) -> None:
        """Who needs an entry is read from its notes in either of uv's layouts."""
        assert Lock.parse(f"part==1 {HASH}\n{note}\n").entries["part"].needed_by == parents

    def test_closure(self) -> None:
        """The closure is the distribution and all that it needs, each once, however deep."""
        lock = Lock.parse(
            entry("top==1", "-r requirements.txt")
            + entry("mid==1", "top", "unrelated")
            + entry("low==1", "mid", "top")
            + entry("round==1", "low")
            + entry("unrelated==1", "-r requirements.txt")
        )
        assert names(lock, "Top") == ["low", "mid", "round", "top"]
        assert names(lock, "nowhere") == []

    def test_closure_in_a_ring(self) -> None:
        """Distributions that need each other are found once each."""
        lock = Lock.parse(entry("a==1", "b") + entry("b==1", "a"))
        assert names(lock, "a") == ["a", "b"]
        assert lock.path("a", "b") == ("a", "b")

    def test_path(self) -> None:
        """A path of needs leads from one to the other, and nowhere else."""
        lock = Lock.parse(entry("top==1") + entry("mid==1", "top") + entry("low==1", "mid"))
        assert lock.path("top", "low") == ("top", "mid", "low")
        assert lock.path("low", "top") == ()
        assert lock.path("top", "top") == ("top",)
        assert lock.path("top", "nowhere") == ()

    def test_elsewhere(self) -> None:
        """What another Python or platform needs is not there, nor is what only it needs."""
        lock = Lock.parse(
            entry("top==1")
            + entry("colours==1", "top", marker='sys_platform == "win32"')
            + entry("backport==1", "top", marker='python_full_version < "3.9"')
            + entry("here==1", "top", marker='python_full_version >= "3.9"')
        )
        assert names(lock, "top") == ["here", "top"]

    def test_one_pin_for_each_python(self) -> None:
        """Two pins of one distribution stand when only one of them applies here."""
        lock = Lock.parse(
            entry("top==1", marker='python_version < "3.9"')
            + entry("top==2", marker='python_version >= "3.9"')
        )
        assert lock.entries["top"].version == "2"

    @pytest.mark.parametrize(
        ("text", "line", "reason"),
        [
            (f"a==1 {HASH}\nA==2 {HASH}", 2, "a is pinned twice for this Python"),
            (f"a==1 {HASH}\na==1 {HASH}", 2, "a is pinned twice for this Python"),
            ("a==1", 1, "a has no --hash=sha256:"),
            (f"a==1 {HASH}\n\n# note\nb==1", 4, "b has no --hash=sha256:"),
            (f"a>=1 {HASH}", 1, "expected name==version"),
            (f"a {HASH}", 1, "expected name==version"),
            (f"a==1.* {HASH}", 1, "expected name==version"),
            (f"a===1 {HASH}", 1, "expected name==version"),
            (f"a==1,!=2 {HASH}", 1, "expected name==version"),
            (f"a @ http://example.com/a.whl {HASH}", 1, "expected name==version"),
            (f"--index-url http://example.com\na==1 {HASH}", 1, "expected name==version"),
            (f"a==1 {HASH}\n--extra-index-url=http://example.com", 2, "expected name==version"),
            (f"-r other.txt\na==1 {HASH}", 1, "expected name==version"),
            (f"  a>=1 {HASH}", 1, "expected name==version"),
            (f"a==1 {HASH} --index-url=http://example.com", 1, "a has a hash that is not sha256"),
            ("a==1 --hash=md5:abcd", 1, "a has a hash that is not sha256"),
            (f"a==1 {HASH[:-1]}", 1, "a has a hash that is not sha256"),
            (f"a==1 {HASH.upper()}", 1, "expected name==version"),
            (f"a==1 ; nonsense {HASH}", 1, "bad marker"),
            (f"a==1 ; os_name = 'x' {HASH}", 1, "bad marker"),
            (f"a==1 ; {'(' * 100_000} {HASH}", 1, "bad marker: parentheses too deep"),
            ("<html>", 1, "expected name==version"),
        ],
    )
    def test_broken_line(self, text: str, line: int, reason: str) -> None:
        """A line that is no exact hashed pin is refused with its number and the reason."""
        with pytest.raises(LockError) as caught:
            Lock.parse(text)
        assert caught.value.line == line
        assert caught.value.reason.startswith(reason)
        assert len(str(caught.value)) < 200

    @pytest.mark.parametrize("text", ["", "\n\n", "# nothing\n    # via nobody\n"])
    def test_nothing(self, text: str) -> None:
        """A lock of nothing holds nothing."""
        assert Lock.parse(text).entries == {}

    @pytest.mark.parametrize(
        "change",
        [
            lambda data: b"\xef\xbb\xbf" + data,
            lambda data: data.replace(b"\n", b"\r\n"),
            lambda data: data.replace(b"    ", b"\t"),
            lambda data: data.rstrip(b"\n"),
            lambda data: data + b"\n\n\n",
        ],
        ids=["bom", "crlf", "tabs", "no newline at the end", "empty lines at the end"],
    )
    def test_edited(self, tmp_path: Path, change: object) -> None:
        """What editors do to a text file does not change what a lock says."""
        assert callable(change)
        text = entry("top==1") + entry("low==1", "top")
        path = tmp_path / "edited.lock"
        path.write_bytes(change(text.encode()))
        assert Lock.read(path).entries == Lock.parse(text).entries

    @pytest.mark.parametrize("content", [b"a==1 \xff", b"\xff\xfea\0=\0=\x001\0"])
    def test_other_encodings(self, tmp_path: Path, content: bytes) -> None:
        """A file that is no UTF-8 is no lock."""
        (tmp_path / "bad.lock").write_bytes(content)
        with pytest.raises(LockError, match="cannot be read"):
            Lock.read(tmp_path / "bad.lock")

    def test_directory(self, tmp_path: Path) -> None:
        """Neither is a directory."""
        with pytest.raises(LockError, match="cannot be read"):
            Lock.read(tmp_path)

    def test_digest(self, tmp_path: Path) -> None:
        """The digest tells locks apart, and a missing lock from an empty one."""
        one, other = Lock.parse(entry("a==1")), Lock.parse(entry("a==2"))
        missing = Lock.read(tmp_path / "none.lock")
        assert len({one.digest, other.digest, missing.digest, Lock.parse("").digest}) == 4


class TestProjectLock:
    """The lock that this project ships."""

    def test_every_approved_package(self) -> None:
        """Everything in the map is locked, in a version that its requirement allows."""
        lock = Lock.read(DEFAULT_LOCK)
        for requirement in map(Requirement, (*REQUIRED.values(), *OPTIONAL.values())):
            locked = lock.entries[canonicalize_name(requirement.name)]
            assert locked.version in requirement.specifier

    @pytest.mark.parametrize("distribution", ["aiohttp", "flask", "requests", "eventlet"])
    def test_closure_is_what_metadata_says(self, distribution: str) -> None:
        """The closure has what the installed distributions say that they need here.

        It has more only where one says so for another Python: a lock's notes carry no markers.
        """
        lock = Lock.read(DEFAULT_LOCK)
        closure = {found.name: found.version for found in lock.closure(distribution)}
        here, anywhere = _needs(distribution), _needs(distribution, anywhere=True)
        assert {name: closure.get(name) for name in here} == {
            name: installed_version(name) for name in here
        }
        assert closure.keys() <= anywhere

    @pytest.mark.parametrize("distribution", ["redis", "psutil"])
    def test_optional_packages(self, distribution: str) -> None:
        """Approved packages that are not in the image are locked with their hashes."""
        closure = Lock.read(DEFAULT_LOCK).closure(distribution)
        assert distribution in {found.name for found in closure}
        assert all(found.hashes for found in closure)


def _needs(distribution: str, *, anywhere: bool = False) -> set[str]:
    """The names in the closure of an installed distribution, on this interpreter or on any."""
    found: set[str] = set()
    waiting = [distribution]
    while waiting:
        name = str(canonicalize_name(waiting.pop()))
        if name not in found:
            found.add(name)
            waiting += _direct_needs(name, anywhere=anywhere)
    return found


def _direct_needs(name: str, *, anywhere: bool) -> Iterator[str]:
    for requirement in map(Requirement, _requires(name)):
        marker = requirement.marker
        elsewhere = anywhere and "extra" not in str(marker)
        if marker is None or elsewhere or marker.evaluate({"extra": ""}):
            yield requirement.name


def _requires(name: str) -> list[str]:
    try:
        return importlib.metadata.requires(name) or []
    except importlib.metadata.PackageNotFoundError:
        # Needed on another Python alone.
        return []


class TestPlan:
    """What a fix would install."""

    def test_not_approved(self, world: World) -> None:
        """There is no plan for what the map does not name, locked or not."""
        world.publish("stranger", approved=False)
        assert _catalog(world).plan("stranger") is None

    def test_missing_part(self, world: World, tmp_path: Path) -> None:
        """Exactly that part of the closure is planned which is not installed."""
        site = Site.on_path(tmp_path)
        world.publish("asker")
        world.publish("unrelated")
        world.publish("absent_part", "2", needed_by=["asker"])
        site.unpack(world.publish("present_part", "3", needed_by=["asker"]))
        plan = _catalog(world).plan("asker.client")
        assert plan is not None
        assert plan.module == "asker"
        assert plan.requirement == "asker>=1.0"
        assert [part.pin for part in plan.missing] == ["absent-part==2", "asker==1.0"]
        assert plan.conflicts == ()

    def test_conflict(self, world: World, tmp_path: Path) -> None:
        """A part that is here in another version is a conflict, and is not planned."""
        world.publish("asker")
        world.publish("part", "3", needed_by=["asker"])
        Site.on_path(tmp_path).install("part", "2")
        plan = _catalog(world).plan("asker")
        assert plan is not None
        assert plan.conflicts == (Conflict("part", "2", "3"),)
        assert [found.name for found in plan.missing] == ["asker"]

    def test_broken(self, world: World, tmp_path: Path) -> None:
        """What is named as broken is planned although its metadata is here."""
        Site.on_path(tmp_path).unpack(world.publish("asker"))
        assert _catalog(world).plan("asker") is not None
        plan = _catalog(world).plan("asker", ["Asker"])
        assert plan is not None
        assert [found.name for found in plan.missing] == ["asker"]

    def test_not_locked(self, world: World) -> None:
        """An approved package that is not in the lock has a plan that says so."""
        world.dependency_map["asker"] = "asker"
        plan = _catalog(world).plan("asker")
        assert plan is not None
        assert not plan.locked
        assert plan.missing == ()


def _catalog(world: World) -> Catalog:
    return Catalog(world.dependency_map, world.settings.lock)


class TestUnusableLock:
    """A lock that is edited by hand or is not there."""

    @pytest.mark.parametrize("text", ["prey==1.0\n", "prey>=1.0\n", "prey==1.0 --hash=sha256:no\n"])
    def test_refused(self, world: World, caplog: pytest.LogCaptureFixture, text: str) -> None:
        """Nothing heals from a lock without hashes; that is said once, and the service is up."""
        world.publish("prey")
        world.settings.lock.write_text(text, encoding="utf-8")
        fixer = world.fixer(required=["prey"])
        for _ in range(3):
            assert fixer.safe_import("prey") == (False, None)
            fixer.health_report()
            fixer.status()
        errors = [record for record in caplog.records if record.levelno == logging.ERROR]
        assert [record.getMessage() for record in errors] == [
            "the lock cannot be used, nothing heals from it"
        ]
        assert errors[0].__dict__["fields"]["line"] == 1
        assert world.index.requests == []

    def test_missing_lock(self, world: World) -> None:
        """Without a lock nothing is locked, so nothing heals."""
        world.publish("prey")
        world.settings.lock.unlink()
        report = world.fixer().import_module("prey")
        assert report.result is not None
        assert report.result.outcome is InstallOutcome.NOT_LOCKED

    def test_not_in_the_lock(self, world: World) -> None:
        """A package that is not locked is refused with the command that locks it."""
        world.publish("locked")
        world.dependency_map["prey"] = "prey>=1"
        report = world.fixer().import_module("prey")
        assert report.result is not None
        assert report.result.outcome is InstallOutcome.NOT_LOCKED
        assert report.result.advice == "add it to requirements-optional.txt and run make lock"
        assert world.index.requests == []

    def test_allowed_unlocked(self, world: World) -> None:
        """A setting allows what is not locked, with whatever it needs."""
        world.publish("prey", "1.2", requires=["part"])
        world.publish("part", needed_by=["prey"])
        world.settings.lock.write_text("", encoding="utf-8")
        report = world.fixer(allow_unlocked=True).import_module("prey")
        assert report.healed
        assert report.result is not None
        assert report.result.installed == ("part==1.0", "prey==1.2")


class TestInstalled:
    """What the metadata of installed distributions says."""

    def test_provider(self, world: World, tmp_path: Path) -> None:
        """The distribution that brings a module is found by its RECORD."""
        site = Site.on_path(tmp_path)
        site.install("Some.Project", files={"library/core.py": "", "single.py": ""})
        catalog = _catalog(world)
        assert catalog.provider("library.core") == "some-project"
        assert catalog.provider("single") == "some-project"
        assert catalog.provider("nowhere") == "nowhere"
        assert catalog.provider("yaml") == "pyyaml"

    def test_what_is_recorded(self, tmp_path: Path) -> None:
        """RECORD is asked for what was installed, on disk or not."""
        site = Site.on_path(tmp_path)
        files = {"library/core/__init__.py": "", "library/one.so": "", "bin/libx.so.1": ""}
        site.install("library", files=files)
        site.remove("library")
        for module in ("library", "library.core", "library.one"):
            assert records_module("library", module)
        assert not records_module("library", "library.on")
        assert not records_module("nowhere", "library")
        assert records_file("library", "libx.so.1")
        assert not records_file("library", "x.so.1")
        assert not records_file("nowhere", "libx.so.1")

    @pytest.mark.parametrize(
        "metadata", [None, b"", b"Name: library\n", b"\xff\xfe\0", b"Version\nName\n"]
    )
    def test_damaged_metadata(self, tmp_path: Path, metadata: bytes | None) -> None:
        """Metadata that cannot be read counts as none, and stops no other from being found."""
        site = Site.on_path(tmp_path)
        site.install("other", "3")
        write_files(site.directory, {"library-1.dist-info/RECORD": b"library.py,,\n\xff\n"})
        if metadata is not None:
            write_files(site.directory, {"library-1.dist-info/METADATA": metadata})
        assert installed_version("library") is None
        assert not records_module("library", "library")
        assert bringing("library") is None
        assert bringing("other") == "other"

    def test_no_name(self) -> None:
        """The empty name is nobody's."""
        assert installed_version("") is None


class TestLookup:
    """Finding modules without running any code."""

    def test_without_importing_parents(self, tmp_path: Path) -> None:
        """A submodule is found although importing its package would fail."""
        place = on_path(tmp_path / "site-packages")
        write_files(place, {"stranger/__init__.py": "1/0", "stranger/deep/leaf.py": "1/0"})
        spec = find_on_disk("stranger.deep.leaf")
        assert spec is not None
        assert spec.origin == str(place / "stranger/deep/leaf.py")
        assert find_on_disk("stranger.deep.none") is None
        assert find_on_disk("stranger.deep.leaf.none") is None
        assert not any(name.startswith("stranger") for name in sys.modules)

    def test_nested_namespaces(self, tmp_path: Path) -> None:
        """So is one in a namespace package inside another."""
        write_files(on_path(tmp_path / "site-packages"), {"outer/inner/leaf.py": ""})
        assert find_on_disk("outer.inner.leaf") is not None
        assert find_on_disk("outer.inner") is not None

    @pytest.mark.parametrize("name", ["sys", "json", "json.decoder", "importlib._bootstrap", "os"])
    def test_standard_library(self, name: str) -> None:
        """Built-in, frozen and ordinary modules of Python are found."""
        assert find_on_disk(name) is not None

    @pytest.mark.parametrize("name", ["", ".", "a.", ".a", "sys.nothing", "a b", "../app", "a\0b"])
    def test_odd_names(self, name: str) -> None:
        """What is no name of a module is not found, and nothing is raised."""
        assert find_on_disk(name) is None


class TestNames:
    """Module names and distribution names."""

    @pytest.mark.parametrize("name", ["a", "_a", "a.b_2.C", "a" * MAX_MODULE_NAME])
    def test_valid(self, name: str) -> None:
        """A dotted name of identifiers is returned as it is."""
        assert check_module_name(name) == name

    @pytest.mark.parametrize(
        "name",
        [
            "",
            ".",
            ".a",
            "a.",
            "a..b",
            "a-b",
            "a b",
            "1a",
            "a\n",
            "a\0",
            "a/b",
            "--help",
            "class",
            "a.import",
            "a.__main__",
            "b\u00e4r",
            "\u0430iohttp",
            "a" * (MAX_MODULE_NAME + 1),
        ],
    )
    def test_invalid(self, name: str) -> None:
        """Anything else is refused in one bounded line."""
        with pytest.raises(InvalidModuleName) as caught:
            check_module_name(name)
        assert caught.value.name == name
        assert str(caught.value).isprintable()
        assert len(str(caught.value)) < 200

    @pytest.mark.parametrize("name", ["Some_Name", "some.name", "SOME--name", "some-name"])
    def test_normalize(self, name: str) -> None:
        """Spellings of one distribution are one name, as ``packaging`` has it."""
        assert normalize(name) == canonicalize_name(name) == "some-name"

    @pytest.mark.parametrize(
        "requirement", ["aiohttp>=3.8.0", " aiohttp [speedups] ~= 3.8", "AioHTTP", "aiohttp; x"]
    )
    def test_requirement_name(self, requirement: str) -> None:
        """The distribution of a requirement is its normalized name."""
        assert requirement_name(requirement) == "aiohttp"

    def test_no_requirement(self) -> None:
        """What is no requirement has no name."""
        assert requirement_name("") == requirement_name("-e .") == ""

    def test_top_level(self) -> None:
        """The allow-list speaks of the first part of a name."""
        assert top_level("a.b.c") == top_level("a") == "a"


VERSIONED = ("python_version", "python_full_version", "implementation_version")
WORDS = ("os_name", "sys_platform", "platform_machine", "platform_system", "implementation_name")
VERSION = st.lists(st.integers(0, 15), min_size=1, max_size=4).map(lambda n: ".".join(map(str, n)))
NEAR_VERSION = st.sampled_from(
    ["3", "3.1", "3.11", "3.12", "3.13", "3.11.0", "3.12.*", "3.*", "3.10.1"]
)
TEXT = st.sampled_from(
    ["linux", "posix", "win32", "Linux", "x86_64", "cpython", "lin", "", "linux posix", "3.11"]
)
ORDER = st.sampled_from(["==", "!=", "<", "<=", ">", ">=", "~=", "===", "in", "not in"])


def _pair(name: str, sign: str, value: str, *, swapped: bool) -> str:
    return f'"{value}" {sign} {name}' if swapped else f'{name} {sign} "{value}"'


VARIABLES = st.sampled_from(VERSIONED)
COMPARISONS = (
    st.builds(_pair, VARIABLES, ORDER, VERSION | NEAR_VERSION, swapped=st.just(value=False))
    | st.builds(_pair, VARIABLES, ORDER, VERSION, swapped=st.just(value=True))
    | st.builds(_pair, VARIABLES, ORDER, st.sampled_from(["banana", "", "3.11,3.12"]),
                swapped=st.just(value=False))
    | st.builds(_pair, st.sampled_from([*WORDS, "extra"]), ORDER, TEXT, swapped=st.booleans())
)  # fmt: skip
MARKERS = st.recursive(
    COMPARISONS,
    lambda parts: st.builds(
        lambda left, word, right, grouped: f"({left} {word} {right})" if grouped
        else f"{left} {word} {right}",
        parts,
        st.sampled_from(["and", "or"]),
        parts,
        st.booleans(),
    ),
    max_leaves=6,
)  # fmt: skip


class TestMarkers:
    """Environment markers, against the reference implementation."""

    @settings(max_examples=250, deadline=None)
    @given(MARKERS)
    @example('python_full_version >= "3.11" and platform_python_implementation != "PyPy"')
    @example("os_name == 'posix' or os_name == 'nt' and sys_platform == 'never'")
    @example('python_version in "3.10, 3.11"')
    @example('python_version not in "3.10"')
    @example('"linux" in sys_platform')
    @example('python_version ~= "3.8"')
    @example('python_version == "3.*"')
    @example('python_full_version == "3.11.0.0.*"')
    @example('extra == "speedups"')
    def test_against_packaging(self, marker: str) -> None:
        """A marker holds here exactly when ``packaging`` says so, or both refuse it."""
        assert _ours(marker) == _reference(marker)

    @pytest.mark.parametrize(
        ("full", "marker", "expected"),
        [
            ("3.9.18", 'python_full_version < "3.10"', True),
            ("3.10.0", 'python_full_version < "3.10"', False),
            ("3.10.1", 'python_full_version <= "3.10"', False),
            ("3.10.1", 'python_version <= "3.10"', True),
            ("3.13.0", 'python_version >= "3.9" and python_version < "3.13"', False),
        ],
    )
    def test_other_pythons(self, full: str, marker: str, expected: bool) -> None:  # noqa: FBT001
        """Versions are ordered by their numbers, not as texts."""
        short = full.rpartition(".")[0]
        variables = {**environment(), "python_full_version": full, "python_version": short}
        assert holds(marker, variables) is expected
        assert Marker(marker).evaluate(dict(variables)) is expected

    @pytest.mark.parametrize(
        "marker",
        [
            "",
            "and",
            "os_name",
            "os_name ==",
            "== 'a'",
            "os_name == posix",
            "os_name = 'posix'",
            "os_name == 'posix",
            "os_name == 'posix' and",
            "os_name == 'posix' os_name == 'posix'",
            "(os_name == 'posix'",
            "os_name == 'posix')",
            "not os_name == 'posix'",
            "os_name not 'posix'",
            "nothing == 'posix'",
            "os_name ~= 'posix'",
            "python_version ~= '3'",
            "__import__('os')",
            "(" * 100_000,
        ],
    )
    def test_no_marker(self, marker: str) -> None:
        """What is no marker is refused in one bounded line."""
        with pytest.raises(MarkerError) as caught:
            holds(marker)
        assert str(caught.value).isprintable()
        assert len(str(caught.value)) < 200

    @settings(max_examples=200, deadline=None)
    @given(VERSION, VERSION)
    def test_order(self, left: str, right: str) -> None:
        """Release numbers are ordered as ``packaging`` orders them."""
        assert (version_key(left) < version_key(right)) is (left in SpecifierSet(f"<{right}"))

    @settings(max_examples=200, deadline=None)
    @given(st.text(alphabet="()'\" andorpython_version=<>~!.*3\\\n\0\u00e4", max_size=40))
    @example("python_version >= '" + "9" * 5000 + "'")
    @example("'" + "9" * 5000 + "' <= python_version")
    def test_junk(self, text: str) -> None:
        """Any text holds, does not hold or is refused; it never raises anything else."""
        assert _ours(text) in {True, False, None}


def _ours(marker: str) -> bool | None:
    try:
        return holds(marker)
    except MarkerError:
        return None


def _reference(marker: str) -> bool | None:
    try:
        return Marker(marker).evaluate({"extra": ""})
    except (InvalidMarker, UndefinedComparison):
        return None
