"""Requirements, dependency map and lock say the same thing."""

from __future__ import annotations

import importlib.metadata
import re
from collections.abc import Iterator
from typing import TYPE_CHECKING

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

from app.kinds.dependency.catalog import OPTIONAL, REQUIRED
from app.kinds.dependency.lock import Lock
from app.kinds.dependency.on_disk import installed_version
from app.kinds.dependency.requirements import normalize
from app.settings.declarations import DEFAULT_LOCK
from tests.support.processes import ROOT

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

LOCKS = ["requirements-flask.lock", "requirements-dev.lock"]
PROGRAMS = {"uv"}  # run, never imported


def listed(file: str) -> dict[str, Requirement]:
    """The requirements of a file, by normalised name."""
    lines = (line.partition("#")[0].strip() for line in (ROOT / file).read_text().splitlines())
    return by_name(line for line in lines if line and not line.startswith("-"))


def by_name(requirements: Iterable[str]) -> dict[str, Requirement]:
    """Requirements by normalised name."""
    parsed = map(Requirement, requirements)
    return {normalize(requirement.name): requirement for requirement in parsed}


def locked(file: str = "requirements-flask.lock") -> Lock:
    """A lock as the engine reads it."""
    return Lock.parse((ROOT / file).read_text())


def texts(requirements: Mapping[str, Requirement]) -> dict[str, str]:
    """Requirements as comparable text."""
    return {name: str(requirement) for name, requirement in requirements.items()}


class TestMap:
    """What may be healed is what was written down."""

    def test_required_modules_are_the_images_requirements(self) -> None:
        """The map's required part and requirements-flask.txt hold the same ranges."""
        required = listed("requirements-flask.txt")
        assert set(required) >= PROGRAMS
        importable = {name: required[name] for name in required.keys() - PROGRAMS}
        assert texts(by_name(REQUIRED.values())) == texts(importable)

    def test_optional_modules_are_the_approved_ones(self) -> None:
        """The map's optional part and requirements-optional.txt hold the same ranges."""
        approved = listed("requirements-optional.txt")
        assert texts(by_name(OPTIONAL.values())) == texts(approved)
        assert not approved.keys() & listed("requirements-flask.txt").keys()


class TestLock:
    """The lock pins and hashes everything that may ever be installed."""

    @pytest.mark.parametrize("file", ["requirements-flask.txt", "requirements-optional.txt"])
    def test_pins_satisfy_the_ranges(self, file: str) -> None:
        """Every requirement is pinned to a version that it allows."""
        entries = locked().entries
        for name, requirement in listed(file).items():
            assert requirement.specifier.contains(entries[name].version), requirement

    def test_closure_is_whole(self) -> None:
        """Whatever an installed, locked distribution needs here is in the lock too."""
        entries = locked().entries
        installed = {normalize(d.name): d for d in importlib.metadata.distributions()}
        needs = {
            (name, normalize(requirement.name))
            for name in entries.keys() & installed.keys()
            for requirement in map(Requirement, installed[name].requires or ())
            if requirement.marker is None or requirement.marker.evaluate({"extra": ""})
        }
        assert needs
        assert {need for need in needs if need[1] not in entries} == set()

    def test_an_optional_package_is_healable_without_being_in_the_image(self) -> None:
        """The lock knows the closure of every approved optional package."""
        assert [entry.name for entry in locked().closure("psutil")] == ["psutil"]
        assert "redis" in {entry.name for entry in locked().closure("redis")}

    def test_both_locks_agree(self) -> None:
        """Development runs on the versions that the image runs on."""
        image, development = locked().entries, locked("requirements-dev.lock").entries
        shared = image.keys() & development.keys()
        assert shared >= listed("requirements-flask.txt").keys()
        for name in shared:
            assert image[name].pin == development[name].pin
            assert image[name].hashes == development[name].hashes

    @pytest.mark.parametrize("file", LOCKS)
    def test_every_line_is_a_pin_a_hash_or_a_note(self, file: str) -> None:
        """No index, address or path stands in a lock, and nothing is without hashes."""
        shape = re.compile(
            r"#.*|[a-z0-9][a-z0-9-]*==[\w.!+]+( ; [^\\]+)? \\|    --hash=sha256:[0-9a-f]{64}( \\)?"
            r"|    # via( [a-z0-9-]+| -[rc] requirements-[a-z]+\.(txt|lock))?"
            r"|    #   ([a-z0-9-]+|-[rc] requirements-[a-z]+\.(txt|lock))"
        )
        lines = (ROOT / file).read_text().splitlines()
        assert [line for line in lines if not shape.fullmatch(line)] == []
        assert lines[:2] == [
            "# This file was autogenerated by uv via the following command:",
            "#    make lock",
        ]


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
