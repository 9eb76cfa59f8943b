"""Why imports fail: each cause, proven by packages that are really broken that way."""

from __future__ import annotations

import json
import subprocess
import sys
import sysconfig
import textwrap
from collections.abc import Mapping
from pathlib import Path

import pytest

from app.kinds.dependency.catalog import Catalog, InstallOutcome
from app.kinds.dependency.diagnosing.diagnostician import Diagnostician
from app.kinds.dependency.diagnosing.failure import missing_module
from app.kinds.dependency.diagnosis import Cause, Diagnosis
from app.kinds.dependency.facts.standard import REMOVED
from app.kinds.dependency.lock import Lock
from app.settings.declarations import DEFAULT_LOCK, Mode
from tests.conftest import World
from tests.healing.broken import (
    EXTENSION_SUFFIX,
    FOREIGN_SUFFIX,
    TRUNCATED_LIBRARY,
    Site,
    extension_lacking_symbol,
    extension_needing,
    extension_without_entry,
    on_path,
    write_files,
)
from tests.support.processes import ROOT, base_environ

PYTHON = f"Python {sys.version_info.major}.{sys.version_info.minor}"
GONE = sorted(set(REMOVED) - sys.stdlib_module_names)


@pytest.fixture
def site(tmp_path: Path) -> Site:
    """A ``site-packages`` directory that this process imports from."""
    return Site.on_path(tmp_path)


@pytest.fixture
def project(tmp_path: Path) -> Path:
    """A directory of the application's own files, first on the path."""
    return on_path(tmp_path / "project", first=True)


def diagnose(world: World, module: str) -> Diagnosis:
    """Import a module that is to fail, without healing."""
    report = world.fixer(mode=Mode.REPORT).import_module(module)
    assert not report.success
    assert report.diagnosis is not None
    assert str(world.root) not in repr(report.diagnosis)
    return report.diagnosis


class TestMissingDistribution:
    """Nothing of it is here."""

    def test_approved_and_locked(self, world: World) -> None:
        """A missing approved package is fixable, and the advice names the locked version."""
        world.publish("wanted", "2.1")
        diagnosis = diagnose(world, "wanted")
        assert diagnosis.cause == "missing_distribution"
        assert diagnosis.module == diagnosis.subject == "wanted"
        assert diagnosis.distribution == "wanted"
        assert diagnosis.requirement == "wanted>=2.1"
        assert diagnosis.fixable
        assert diagnosis.advice == "wanted is not installed; it is in the lock as wanted 2.1"
        assert diagnosis.chain == ("wanted",)

    def test_needed_by_ours(self, world: World, project: Path) -> None:
        """What the application's own module needs is attributed to the missing module."""
        world.publish("wanted")
        write_files(
            project,
            {"ours/__init__.py": "", "ours/page.py": "import ours.data", "ours/data.py": WANTED},
        )
        diagnosis = diagnose(world, "ours.page")
        assert diagnosis.cause is Cause.MISSING_DISTRIBUTION
        assert diagnosis.chain == ("ours.page", "ours.data", "wanted")
        assert diagnosis.heals == "wanted"
        assert diagnosis.advice == (
            "ours.data needs wanted, which is not installed; it is in the lock as wanted 1.0"
        )

    def test_transitive_is_healed_alone(self, world: World, site: Site) -> None:
        """A dependency gone from an approved package is named, and exactly it is installed."""
        wheel = world.publish("asker", "3.0", files={"asker/__init__.py": "from asker import core",
                              "asker/core.py": "import part"})  # fmt: skip
        world.publish("part", "7.2.1", needed_by=["asker"])
        world.publish("other", "1.0", needed_by=["asker"])
        site.unpack(wheel)
        site.install("other")
        diagnosis = diagnose(world, "asker")
        assert diagnosis.module == "part"
        assert diagnosis.distribution == "part"
        assert diagnosis.chain == ("asker", "asker.core", "part")
        assert diagnosis.advice == (
            "asker needs part, which is not installed; it is in the lock as part 7.2.1"
        )
        report = world.fixer().import_module("asker")
        assert report.healed
        assert report.result is not None
        assert report.result.installed == ("part==7.2.1",)

    def test_real_package_without_a_part(self, tmp_path: Path) -> None:
        """aiohttp without multidict is diagnosed as the shipped lock has it."""
        site = Path(sysconfig.get_path("platlib"))
        for entry in site.iterdir():
            if not entry.name.startswith("multidict"):
                (tmp_path / "site-packages").mkdir(exist_ok=True)
                (tmp_path / "site-packages" / entry.name).symlink_to(entry)
        shown = _in_child(
            f"""
            from app.utils.auto_fix import AutoFixer
            sys.path[:] = [entry for entry in sys.path if entry != {str(site)!r}]
            sys.path.append({str(tmp_path / "site-packages")!r})
            show(AutoFixer().import_module("aiohttp").diagnosis)
            """,
            {"AUTO_FIX_HOME": str(tmp_path / "home"), "AUTO_FIX_MODE": "report"},
        )
        locked = Lock.read(DEFAULT_LOCK).entries["multidict"].version
        chain = shown["chain"]
        assert isinstance(chain, list)
        assert (chain[0], chain[-1]) == ("aiohttp", "multidict")
        assert shown["fixable"] is True
        assert shown["advice"] == (
            "aiohttp needs multidict, which is not installed; it is in the lock as multidict"
            f" {locked}"
        )

    def test_transitive_under_another_name(self, world: World, site: Site) -> None:
        """A part whose import name tells nothing of its distribution is healed all the same."""
        wheel = world.publish("asker", "3.0", files={"asker/__init__.py": "import bit"})
        files = {"bit/__init__.py": ""}
        world.publish("bit-distribution", "1.5", files=files, needed_by=["asker"])
        site.unpack(wheel)
        diagnosis = diagnose(world, "asker")
        assert diagnosis.advice == (
            "asker needs bit, which is not installed; the lock has what asker lacks:"
            " bit-distribution 1.5"
        )
        assert world.fixer().safe_import("asker")[0]

    def test_optional_part_is_not_fixable(self, world: World, site: Site) -> None:
        """What an approved package imports without needing it by its lock is not installed."""
        site.unpack(world.publish("asker", files={"asker/__init__.py": "import extra_part"}))
        diagnosis = diagnose(world, "asker")
        assert diagnosis.module == "extra_part"
        assert not diagnosis.fixable
        assert diagnosis.advice == (
            "asker needs extra_part, which is not installed; it is not approved for healing, and no"
            " project is known to bring it"
        )

    def test_part_of_a_namespace(self, world: World, site: Site) -> None:
        """What is approved of a namespace heals beside its other parts, and nothing else does."""
        site.install("space-one", files={"space/one/__init__.py": ""})
        files = {"space/two/__init__.py": "version = '1.0'\n"}
        world.publish("space-two", files=files, approved=False)
        world.dependency_map["space"] = "space-two>=1"
        report = world.fixer().import_module("space.two")
        assert report.healed
        assert report.result is not None
        assert report.result.installed == ("space-two==1.0",)
        again = world.fixer(mode=Mode.REPORT).import_module("space.three")
        assert again.diagnosis is not None
        assert again.diagnosis.cause is Cause.MISSING_DISTRIBUTION
        assert not again.diagnosis.fixable

    def test_needed_part_of_a_namespace(self, world: World, site: Site) -> None:
        """A blueprint that needs a namespace waits for the approved part, not for any."""
        site.install("space-one", files={"space/one/__init__.py": ""})
        files = {"space/two/__init__.py": ""}
        world.publish("space-two", files=files, approved=False)
        world.dependency_map["space"] = "space-two>=1"
        fixer = world.fixer()
        (fault,) = fixer.unmet({"packages": ["space"]})
        assert fault.subject == "space"
        assert fixer.heal(fault).healed
        assert list(fixer.unmet({"packages": ["space"]})) == []

    def test_unapproved_name_is_explained(self, world: World) -> None:
        """A well-known import name is explained with its distribution and never made fixable."""
        diagnosis = diagnose(world, "cv2")
        assert diagnosis.distribution == "opencv-python"
        assert diagnosis.requirement is None
        assert not diagnosis.fixable
        assert "cv2 is not installed (it comes with opencv-python)" in diagnosis.advice

    def test_approved_but_not_locked(self, world: World) -> None:
        """An approved package that the lock does not have is refused, naming what adds it."""
        world.dependency_map["unlocked"] = "unlocked>=1"
        report = world.fixer().import_module("unlocked")
        assert report.diagnosis is not None
        assert "approved but not in the lock: run make lock" in report.diagnosis.advice
        assert report.result is not None
        assert report.result.outcome is InstallOutcome.NOT_LOCKED
        assert "make lock" in report.result.advice
        assert world.index.requests == []

    def test_unreadable_metadata_counts_as_none(self, world: World, site: Site) -> None:
        """A directory of metadata that an uninstall left empty does not hide that it is missing."""
        world.publish("wanted")
        (site.directory / "wanted-1.0.dist-info").mkdir()
        broken = site.directory / "wanted-0.9.dist-info"
        broken.mkdir()
        (broken / "METADATA").write_bytes(b"Name: wanted\nVersion: \xff\xfe\n")
        assert diagnose(world, "wanted").cause is Cause.MISSING_DISTRIBUTION

    def test_standard_library_is_never_approved(self, world: World, site: Site) -> None:
        """A map that names a standard module or an own package makes neither installable."""
        world.dependency_map |= {"json": "json>=1", "ours": "ours>=1"}
        site.add(asker="import ours", other="import json.nothing")
        assert not diagnose(world, "asker").fixable
        assert not diagnose(world, "other").fixable

    def test_explicit_cause(self, world: World, site: Site) -> None:
        """The import error that an exception was raised from is what counts, chain included."""
        world.publish("wanted")
        body = "try:\n    import wanted\nexcept ImportError as error:\n    raise {} from error\n"
        site.add(
            first=body.format("ImportError('pip install first[extra]')"),
            second=body.format("ValueError('no')").replace("wanted", "first"),
            third="import second",
        )
        diagnosis = diagnose(world, "third")
        assert diagnosis.module == "wanted"
        assert diagnosis.chain == ("third", "second", "first", "wanted")
        assert diagnosis.heals == "wanted"

    def test_implicit_cause(self, world: World, site: Site) -> None:
        """An ImportError that names no module, raised while one was handled, means that one."""
        world.publish("wanted")
        body = "try:\n    import wanted\nexcept ImportError:\n    raise ImportError('get wanted')"
        site.add(asker=body)
        assert diagnose(world, "asker").heals == "wanted"

    def test_fallback_fails_too(self, world: World, site: Site) -> None:
        """Of two alternatives that are both missing, the last one tried is named."""
        site.add(asker="try:\n    import quick\nexcept ImportError:\n    import slow")
        assert diagnose(world, "asker").module == "slow"


WANTED = "import wanted\n"


class TestMissingPart:
    """The package is here and lacks a submodule or an attribute."""

    def test_submodule(self, world: World, site: Site) -> None:
        """A submodule that the installed version does not have is named with that version."""
        site.install("library", "1.4")
        diagnosis = diagnose(world, "library.newer")
        assert diagnosis.cause is Cause.MISSING_SUBMODULE
        assert diagnosis.module == "library.newer"
        assert not diagnosis.fixable
        assert diagnosis.advice == (
            "library 1.4 has no library.newer: change the code, or the version that the"
            " requirements ask for"
        )

    def test_submodule_of_a_module(self, world: World, site: Site) -> None:
        """A single-file module that is used as a package lacks the submodule too."""
        site.install("library", "1.4", files={"library.py": ""})
        assert diagnose(world, "library.newer").cause is Cause.MISSING_SUBMODULE

    def test_submodule_in_the_locked_version(self, world: World, site: Site) -> None:
        """Where the lock names another version, the image is behind."""
        world.publish("library", "2.0")
        site.install("library", "1.4")
        assert diagnose(world, "library.newer").advice == (
            "there is no library.newer: library 1.4 is installed, the lock names 2.0: rebuild the"
            " image"
        )

    def test_provider_under_another_name(self, world: World, site: Site) -> None:
        """The distribution that brings a module is found even if it is called otherwise."""
        site.install("some-project", "5.1", files={"library/__init__.py": ""})
        diagnosis = diagnose(world, "library.newer")
        assert diagnosis.distribution == "some-project"
        assert diagnosis.advice.startswith("some-project 5.1 has no library.newer")

    def test_without_metadata(self, world: World, site: Site) -> None:
        """A package that was merely copied is diagnosed by its own name."""
        write_files(site.directory, {"library/__init__.py": ""})
        diagnosis = diagnose(world, "library.newer")
        assert diagnosis.cause is Cause.MISSING_SUBMODULE
        assert diagnosis.advice.startswith("library has no library.newer")

    @pytest.mark.parametrize(
        "body", ["from library import Newer", "import library\nlibrary.Newer\n"]
    )
    def test_attribute(self, world: World, site: Site, body: str) -> None:
        """A name that the installed version lacks is a version fault, however it is asked for."""
        world.publish("library", "2.0")
        site.install("library", "1.4")
        site.add(asker=body)
        diagnosis = diagnose(world, "asker")
        assert diagnosis.cause is Cause.MISSING_ATTRIBUTE
        assert diagnosis.module == "library"
        assert diagnosis.chain == ("asker", "library")
        assert diagnosis.advice == (
            "there is no Newer in library: library 1.4 is installed, the lock names 2.0: rebuild"
            " the image"
        )
        assert not diagnosis.fixable

    @pytest.mark.parametrize("name", ["**", "a**b", "[", "a/b", "a\0b", "n" * 300])
    def test_odd_attribute(self, world: World, site: Site, name: str) -> None:
        """An attribute that no file can be called after is missing like any other."""
        site.install("library", "1.4")
        site.add(asker=f"import library\ngetattr(library, {name!r})\n")
        assert diagnose(world, "asker").cause is Cause.MISSING_ATTRIBUTE

    def test_attribute_of_an_extension(self, world: World, site: Site) -> None:
        """A compiled module that lacks a name is not broken."""
        site.add(asker="from math import newer")
        diagnosis = diagnose(world, "asker")
        assert diagnosis.cause is Cause.MISSING_ATTRIBUTE
        assert diagnosis.advice == f"math of {PYTHON} has no newer: change the code"
        assert diagnosis.distribution is None

    def test_attribute_of_ours(self, world: World, project: Path) -> None:
        """A wrong import between the application's own modules is theirs to mend."""
        write_files(project, {"ours/__init__.py": "", "ours/a.py": "from ours import gone"})
        diagnosis = diagnose(world, "ours.a")
        assert diagnosis.cause is Cause.MISSING_ATTRIBUTE
        assert diagnosis.advice == "ours has no gone: mend the import"

    def test_own_name_missing_is_no_circle(self, world: World, site: Site) -> None:
        """A package that imports a missing name from itself has a missing name, not a circle."""
        write_files(site.directory, {"library/__init__.py": "from . import gone"})
        assert diagnose(world, "library").cause is Cause.MISSING_ATTRIBUTE


class TestBrokenExtension:
    """Compiled files that this interpreter cannot load."""

    @pytest.mark.parametrize(
        "content", [b"", b"no library at all " * 8, TRUNCATED_LIBRARY], ids=["0", "junk", "cut"]
    )
    def test_damaged_file(self, world: World, site: Site, content: bytes) -> None:
        """An extension of nothing, of garbage or cut short is a broken extension."""
        world.publish("library")
        site.install("library", files={"library/__init__.py": "from library import _fast",
                     f"library/_fast{EXTENSION_SUFFIX}": content})  # fmt: skip
        diagnosis = diagnose(world, "library")
        assert diagnosis.cause is Cause.BROKEN_EXTENSION
        assert diagnosis.module == "library._fast"
        assert diagnosis.chain == ("library", "library._fast")
        assert not diagnosis.fixable
        assert "rebuild the image with a wheel that does" in diagnosis.advice

    def test_missing_system_library(self, world: World, site: Site) -> None:
        """A shared library that the system lacks is named."""
        extension_needing(site.directory / "drawing", "libGone.so.1")
        diagnosis = diagnose(world, "drawing")
        assert diagnosis.cause is Cause.BROKEN_EXTENSION
        assert diagnosis.advice == "libGone.so.1 is a system library: install it in the image"

    def test_missing_library_through_ctypes(self, world: World, site: Site) -> None:
        """A library that is loaded by hand is named as well, although the error is an OSError."""
        site.add(drawing="import ctypes\nctypes.CDLL('libGone.so.1')")
        diagnosis = diagnose(world, "drawing")
        assert diagnosis.cause is Cause.BROKEN_EXTENSION
        assert diagnosis.module == "drawing"
        assert diagnosis.advice == "libGone.so.1 is a system library: install it in the image"

    def test_missing_library_of_the_wheel(self, world: World, site: Site) -> None:
        """A shared library that the wheel itself brings is part of an incomplete install."""
        site.install("drawing", files={"drawing.libs/libGone-1a2b.so.1": b""})
        site.remove("drawing.libs")
        extension_needing(site.directory / "drawing", "libGone-1a2b.so.1")
        assert diagnose(world, "drawing").cause is Cause.PARTIAL_INSTALL

    def test_undefined_symbol(self, world: World, site: Site) -> None:
        """An extension whose symbols nobody defines was built for something else."""
        extension_lacking_symbol(site.directory / "drawing")
        assert diagnose(world, "drawing").cause is Cause.BROKEN_EXTENSION

    def test_no_entry_point(self, world: World, site: Site) -> None:
        """A shared library that is no Python extension does not fit."""
        extension_without_entry(site.directory / "drawing")
        assert diagnose(world, "drawing").cause is Cause.BROKEN_EXTENSION

    @pytest.mark.parametrize(
        "body", ["import library._fast", "from library import _fast", "from . import _fast"]
    )
    def test_built_for_another_python(self, world: World, site: Site, body: str) -> None:
        """An extension file of another ABI is named with it, however it is imported."""
        files: dict[str, str | bytes] = {
            "library/__init__.py": body,
            f"library/_fast{FOREIGN_SUFFIX}": b"",
        }
        site.install("library", files=files)
        diagnosis = diagnose(world, "library")
        assert diagnosis.cause is Cause.BROKEN_EXTENSION
        assert diagnosis.module == "library._fast"
        assert diagnosis.advice == (
            "library._fast was built for cpython-39-x86_64-linux-gnu, not for this Python: rebuild"
            " the image with a wheel that fits"
        )

    @pytest.mark.parametrize("body", ["import ours._fast", "from ours import _fast"])
    def test_ours_for_another_python(self, world: World, project: Path, body: str) -> None:
        """So is one of the application's own, which no distribution brings."""
        files = {"ours/__init__.py": body, f"ours/_fast{FOREIGN_SUFFIX}": ""}
        write_files(project, files)
        diagnosis = diagnose(world, "ours")
        assert diagnosis.cause is Cause.BROKEN_EXTENSION
        assert diagnosis.module == "ours._fast"
        assert diagnosis.distribution is None

    def test_top_level_for_another_python(self, world: World, site: Site) -> None:
        """A top-level extension of another ABI is no missing distribution."""
        site.install("_library", files={f"_library{FOREIGN_SUFFIX}": b""})
        assert diagnose(world, "_library").cause is Cause.BROKEN_EXTENSION


class TestPartialInstall:
    """The metadata says that it is here, the files say otherwise."""

    def test_same_version_is_healed(self, world: World, site: Site) -> None:
        """A package whose files are gone is installed again when the lock has that version."""
        site.unpack(world.publish("library", "1.4"))
        site.remove("library")
        diagnosis = diagnose(world, "library")
        assert diagnosis.cause is Cause.PARTIAL_INSTALL
        assert diagnosis.fixable
        assert diagnosis.advice == (
            "library 1.4 is installed but its files are not all there; the lock has the same"
            " version"
        )
        report = world.fixer().import_module("library")
        assert report.healed
        assert getattr(report.loaded, "version", None) == "1.4"

    def test_part_of_an_approved_package(self, world: World, site: Site) -> None:
        """A dependency whose files are gone is installed again, and nothing else is."""
        site.unpack(world.publish("asker", files={"asker.py": "import part"}))
        site.unpack(world.publish("part", "1.1", needed_by=["asker"]))
        site.remove("part")
        report = world.fixer().import_module("asker")
        assert report.healed
        assert report.result is not None
        assert report.result.installed == ("part==1.1",)

    def test_other_version_is_not_healed(self, world: World, site: Site) -> None:
        """Nothing is installed over metadata of a version that the lock does not name."""
        world.publish("library", "2.0")
        site.install("library", "1.4")
        site.remove("library")
        report = world.fixer().import_module("library")
        assert report.diagnosis is not None
        assert report.diagnosis.cause is Cause.PARTIAL_INSTALL
        assert not report.diagnosis.fixable
        assert report.diagnosis.advice.endswith("not all there: rebuild the image")
        assert world.index.requests == []

    @pytest.mark.parametrize(
        "body",
        [
            "import library\nlibrary.Thing",
            "import library.core",
            "from library import Thing",
            "from library import core",
        ],
    )
    def test_emptied_directory(self, world: World, site: Site, body: str) -> None:
        """A package of which only the directory is left is no namespace: it is healed."""
        files = {"library/__init__.py": "Thing = 1", "library/core.py": ""}
        site.unpack(world.publish("library", "1.4", files=files))
        site.empty("library")
        write_files(site.directory, {"library/__pycache__/core.cpython-39.pyc": ""})
        site.add(asker=body)
        diagnosis = diagnose(world, "asker")
        assert diagnosis.cause is Cause.PARTIAL_INSTALL
        assert diagnosis.advice.startswith("library 1.4 is installed but its files are not all")
        assert world.fixer().import_module("asker").healed

    def test_emptied_directory_itself(self, world: World, site: Site) -> None:
        """Importing such a directory is no success, and health does not take it for one."""
        site.install("library", "1.4")
        site.empty("library")
        assert diagnose(world, "library").cause is Cause.PARTIAL_INSTALL
        world.dependency_map["library"] = "library"
        check = world.fixer(required=["library"]).health_report().checks[0]
        assert check.reason == "partial_install"

    def test_emptied_without_metadata(self, world: World, site: Site) -> None:
        """A bare directory of which nothing else is known is no installed package."""
        (site.directory / "library").mkdir()
        assert diagnose(world, "library.core").cause is Cause.MISSING_DISTRIBUTION
        world.publish("library", files={"library/core.py": "", "library/__init__.py": ""})
        assert world.fixer().import_module("library.core").healed

    @pytest.mark.parametrize("body", ["import library.core", "from library import core"])
    def test_recorded_submodule_is_gone(self, world: World, site: Site, body: str) -> None:
        """A submodule that RECORD lists and that is not there was lost."""
        world.publish("library", "1.4")
        site.install("library", "1.4", files={"library/__init__.py": "", "library/core.py": ""})
        site.remove("library/core.py")
        site.add(asker=body)
        diagnosis = diagnose(world, "asker")
        assert diagnosis.cause is Cause.PARTIAL_INSTALL
        assert diagnosis.module == "library.core"
        assert not diagnosis.fixable

    def test_real_namespace_package(self, world: World, site: Site) -> None:
        """A namespace is no emptied directory, and whoever has a part of it lacks no other."""
        site.install("space-one", files={"space/one/__init__.py": ""})
        diagnosis = diagnose(world, "space.two")
        assert diagnosis.cause is Cause.MISSING_DISTRIBUTION
        assert "space-one" not in diagnosis.advice


class TestOwnModules:
    """The application's own packages are never installable."""

    def test_missing(self, world: World, project: Path) -> None:
        """A module of the application that is not there is a fault of the application."""
        write_files(project, {"ours/__init__.py": "", "ours/a.py": "import ours.gone"})
        diagnosis = diagnose(world, "ours.a")
        assert diagnosis.cause is Cause.FIRST_PARTY_MISSING
        assert diagnosis.chain == ("ours.a", "ours.gone")
        assert not diagnosis.fixable
        assert diagnosis.advice == (
            "ours.gone belongs to this application and is not there: restore the file or the import"
        )

    def test_whole_package_missing(self, world: World) -> None:
        """So is the whole package, even where the map names it."""
        world.publish("ours")
        report = world.fixer().import_module("ours.page")
        assert report.diagnosis is not None
        assert report.diagnosis.cause is Cause.FIRST_PARTY_MISSING
        assert world.index.requests == []


class TestStandardLibrary:
    """What belongs to Python and is not there."""

    @pytest.mark.parametrize("module", GONE)
    def test_removed(self, world: World, module: str) -> None:
        """A module that left the standard library is named with the version that removed it."""
        diagnosis = world.fixer().examine(module).diagnosis
        assert diagnosis is not None
        assert diagnosis.cause is Cause.STDLIB_MISSING
        assert diagnosis.advice.startswith(
            f"{module} left the standard library in Python {REMOVED[module]}: change the code that"
            " imports it"
        )

    def test_removed_while_importing(self, world: World, site: Site) -> None:
        """A package that imports a module removed before every supported Python says which."""
        site.add(asker="import binhex")
        diagnosis = diagnose(world, "asker")
        assert diagnosis.cause is Cause.STDLIB_MISSING
        assert diagnosis.chain == ("asker", "binhex")
        assert diagnosis.distribution is None

    def test_removed_but_approved(self, world: World) -> None:
        """A backport of a removed module is healed like anything else that is approved."""
        files = {"binhex.py": "backport = True\n"}
        world.publish("standard-binhex", files=files, approved=False)
        world.dependency_map["binhex"] = "standard-binhex>=1.0"
        ok, module = world.fixer().safe_import("binhex")
        assert ok
        assert getattr(module, "backport", False)

    def test_of_another_platform(self, world: World) -> None:
        """A standard module that this build does not have is not looked for on an index."""
        module = next(name for name in ("winreg", "_scproxy") if not _is_here(name))
        world.dependency_map[module] = module
        diagnosis = diagnose(world, module)
        assert diagnosis.cause is Cause.STDLIB_MISSING
        assert not diagnosis.fixable

    def test_not_built(self, tmp_path: Path) -> None:
        """A Python without a compiled part of its library gets advice that names the part."""
        shown = _in_child(
            """
            from app.utils.auto_fix import AutoFixer
            sys.path[:] = [entry for entry in sys.path if "lib-dynload" not in entry]
            show(AutoFixer().import_module("cProfile").diagnosis)
            """,
            {"AUTO_FIX_HOME": str(tmp_path / "home"), "AUTO_FIX_MODE": "report"},
        )
        assert shown["cause"] == "stdlib_missing"
        assert shown["chain"] == ["cProfile", "_lsprof"]
        assert shown["advice"] == (
            "_lsprof belongs to the standard library but this Python was built without it"
        )

    def test_submodule(self, world: World, site: Site) -> None:
        """A submodule that the standard library does not have is not called unbuilt."""
        site.add(asker="import json.nothing")
        diagnosis = diagnose(world, "asker")
        assert diagnosis.cause is Cause.STDLIB_MISSING
        assert diagnosis.advice == (
            f"the standard library of {PYTHON} has no json.nothing: change the code"
        )


class TestCircle:
    """Modules that import each other."""

    @pytest.mark.parametrize("use", ["from ours.a import x", "import ours.a\nours.a.x"])
    def test_ours(self, world: World, project: Path, use: str) -> None:
        """A circle is named with all its modules in order, whichever way it shows."""
        files = {
            "ours/__init__.py": "",
            "ours/page.py": "import ours.a",
            "ours/a.py": "import ours.b\nx = 1\n",
            "ours/b.py": use,
        }
        write_files(project, files)
        diagnosis = diagnose(world, "ours.page")
        assert diagnosis.cause is Cause.CIRCULAR_IMPORT
        assert diagnosis.chain == ("ours.page", "ours.a", "ours.b", "ours.a")
        assert diagnosis.advice == (
            "modules import each other in a circle (ours.a -> ours.b -> ours.a): break it in the"
            " code"
        )

    def test_library(self, world: World, site: Site) -> None:
        """A circle in a library is one too, and nothing is installed for it."""
        world.publish("library")
        files = {"library/__init__.py": "import library.a\nx = 1\n",
                 "library/a.py": "from library import x"}  # fmt: skip
        site.install("library", files=files)
        diagnosis = diagnose(world, "library")
        assert diagnosis.cause is Cause.CIRCULAR_IMPORT
        assert not diagnosis.fixable


class TestShadowed:
    """A local file that hides a library of the same name."""

    @pytest.mark.parametrize(
        "body",
        ["import library.core", "from library import Thing", "import library\nlibrary.Thing"],
    )
    def test_library(self, world: World, site: Site, project: Path, body: str) -> None:
        """A local file named like an installed library is what is wrong, not the library."""
        site.install("library", files={"library/__init__.py": "Thing = 1", "library/core.py": ""})
        write_files(project, {"library.py": "", "asker.py": body})
        diagnosis = diagnose(world, "asker")
        assert diagnosis.cause is Cause.SHADOWED
        assert diagnosis.advice == "the local file library.py hides the library library: rename it"
        assert not diagnosis.fixable

    def test_approved_library_that_is_not_installed(self, world: World, project: Path) -> None:
        """It hides an approved library that is not installed as well."""
        world.publish("library")
        write_files(project, {"library/__init__.py": "", "asker.py": "from library import Thing"})
        diagnosis = diagnose(world, "asker")
        assert diagnosis.cause is Cause.SHADOWED
        assert "the local file library/__init__.py hides" in diagnosis.advice

    @pytest.mark.parametrize(
        "body",
        [
            "from colorsys import rgb_to_hls",
            "import colorsys\ncolorsys.rgb_to_hls",
            "import colorsys.sub",
        ],
    )
    def test_standard_library(
        self, world: World, project: Path, monkeypatch: pytest.MonkeyPatch, body: str
    ) -> None:
        """A local file named like a module of the standard library is diagnosed as such."""
        monkeypatch.delitem(sys.modules, "colorsys", raising=False)
        write_files(project, {"colorsys.py": "", "asker.py": body})
        diagnosis = diagnose(world, "asker")
        assert diagnosis.cause is Cause.SHADOWED
        assert (
            diagnosis.advice == "the local file colorsys.py hides the library colorsys: rename it"
        )

    @pytest.mark.parametrize(
        "body", ["from colorsys import rgb_to_hls", "import colorsys\ncolorsys.rgb_to_hls"]
    )
    def test_script_that_hides_what_it_wants(self, tmp_path: Path, body: str) -> None:
        """A script called like what it imports is recognized by every Python's wording."""
        script = f"{CHILD_START}\n{textwrap.dedent(OWN_NAME)}".replace("BODY", repr(body))
        write_files(tmp_path, {"colorsys.py": body, "start.py": script})
        shown = _run([str(tmp_path / "start.py")], {"AUTO_FIX_MODE": "off"})
        assert shown["cause"] == "shadowed"
        assert "colorsys.py hides the library colorsys" in str(shown["advice"])

    def test_libraries_beside_their_metadata(self, world: World, tmp_path: Path) -> None:
        """A directory filled by an installer holds libraries, whatever it is called."""
        Site(on_path(tmp_path / "vendored", first=True)).install("library", "1.4")
        assert diagnose(world, "library.newer").cause is Cause.MISSING_SUBMODULE


class TestCodeError:
    """Anything else that a module raises while it is imported."""

    @pytest.mark.parametrize(
        ("body", "shown"),
        [
            ("raise ValueError('secret')", "raised ValueError while it was imported"),
            ("raise SystemExit(3)", "raised SystemExit while it was imported"),
            ("import sys\nsys.exit()", "raised SystemExit while it was imported"),
            ("this is no Python", "has a syntax error"),
            ("x = 1\n\ty = 2", "has a syntax error"),
            ("raise ImportError('secret')", "raised ImportError while it was imported"),
            ("raise ModuleNotFoundError", "raised ModuleNotFoundError while it was imported"),
            ("raise ImportError('x', name='/etc/secret')", "raised ImportError"),
            ("raise ImportError('x', name=object())", "raised ImportError"),
            ("raise ImportError('x', name='a' * 999)", "raised ImportError"),
            ("open('/nonexistent/secret')", "raised FileNotFoundError"),
            ("None.secret", "raised AttributeError"),
            ("def f(): f()\nf()", "raised RecursionError"),
        ],
    )
    def test_what_it_raised(self, world: World, site: Site, body: str, shown: str) -> None:
        """The exception's class is shown, its text never."""
        world.publish("unrelated")
        site.add(culprit=body, asker="import culprit")
        diagnosis = diagnose(world, "asker")
        assert diagnosis.cause is Cause.CODE_ERROR
        assert shown in diagnosis.advice
        assert "secret" not in diagnosis.advice
        assert not diagnosis.fixable

    def test_culprit(self, world: World, site: Site) -> None:
        """The module whose body raised is named, at the end of the chain."""
        site.add(culprit="def f():\n    1 / 0\nf()", asker="import culprit")
        diagnosis = diagnose(world, "asker")
        assert diagnosis.module == "culprit"
        assert diagnosis.chain == ("asker", "culprit")

    def test_null_bytes(self, world: World, site: Site) -> None:
        """A file of null bytes, as a crash leaves on some file systems, is a code error."""
        write_files(site.directory, {"culprit.py": b"\0" * 64})
        assert diagnose(world, "culprit").cause is Cause.CODE_ERROR

    def test_exception_that_cannot_be_shown(self, world: World, site: Site) -> None:
        """An exception whose own text raises does not get out."""
        site.add(
            culprit="class Odd(ImportError):\n    def __str__(self): raise ValueError\nraise Odd\n"
        )
        assert diagnose(world, "culprit").cause is Cause.CODE_ERROR

    def test_exceptions_that_cause_each_other(self, world: World, site: Site) -> None:
        """A ring of causes is followed once."""
        site.add(culprit="a, b = ValueError(), ImportError()\nb.__cause__ = a\nraise a from b")
        assert diagnose(world, "culprit").cause is Cause.CODE_ERROR

    def test_module_without_a_name(self, world: World, site: Site) -> None:
        """Code that runs without a module of its own leaves no gap in the chain."""
        site.add(culprit="exec('import nowhere_at_all', {})")
        assert diagnose(world, "culprit").chain == ("culprit", "nowhere_at_all")


class TestMessages:
    """The words of an ``ImportError``, read where the object says nothing."""

    @pytest.mark.parametrize(
        ("message", "module"),
        [
            ("No module named 'PIL'", "PIL"),
            ('No module named "redis"', "redis"),
            ("No module named redis", "redis"),
            ("No module named 'redis.asyncio.client'", "redis.asyncio.client"),
            ("No module named 'a.b'; 'a' is not a package", "a.b"),
            ("cannot load it: No module named psutil.", "psutil"),
            ("No module named 'foo-bar'", ""),
            ("No module named foo-bar", ""),
            ("No module named 'foo\nbar'", ""),
            ("No module named 'foo", ""),
            ("No module named '../foo'", ""),
            ("No module named ''", ""),
            ("No module named", ""),
            ("No module named --index-url=http://example.com", ""),
            ("No module named 'b\u00e4r'", ""),
            ("cannot import name 'x' from 'y' (unknown location)", ""),
            ("", ""),
        ],
    )
    def test_module_named(self, world: World, message: str, module: str) -> None:
        """The whole of a quoted name counts, and only if it is a module's name."""
        assert missing_module(message) == module
        assert world.fixer()._extract_missing_module(message) == module

    def test_error_with_a_message_alone(self, world: World, site: Site) -> None:
        """An error that carries no name is diagnosed by its message."""
        world.publish("wanted")
        site.add(asker="""raise ImportError("No module named 'wanted'")""")
        site.add(other="""raise ModuleNotFoundError("No module named 'wanted'")""")
        assert diagnose(world, "other").heals == "wanted"
        assert diagnose(world, "asker").module == "asker"

    def test_healing_by_message(self, world: World) -> None:
        """What a message names is healed when it is approved, and only then."""
        world.publish("wanted")
        fixer = world.fixer()
        assert not fixer._try_fix_import_error("", "No module named 'wanted-not'")
        assert not fixer._try_fix_import_error("", "No module named 'stranger'")
        assert world.index.requests == []
        assert fixer._try_fix_import_error("", "No module named 'wanted'")
        assert fixer.safe_import("wanted")[0]


class TestDiagnostician:
    """Without an engine around it."""

    def test_error_that_was_never_raised(self, tmp_path: Path) -> None:
        """An error without a traceback is diagnosed by what it says."""
        diagnostician = Diagnostician(Catalog({}, tmp_path / "none.lock"), frozenset())
        diagnosis = diagnostician.diagnose(ModuleNotFoundError("x", name="PIL"), "PIL.Image")
        assert diagnosis.cause is Cause.MISSING_DISTRIBUTION
        assert diagnosis.distribution == "pillow"
        assert diagnosis.chain == ("PIL.Image", "PIL")


CHILD_START = """
import dataclasses, json, sys

def show(diagnosis):
    print(json.dumps({**dataclasses.asdict(diagnosis), "fixable": diagnosis.fixable}))
"""
OWN_NAME = """
    sys.path.append(ROOT)
    from app.utils.auto_fix import AutoFixer
    show(AutoFixer().import_module("colorsys").diagnosis)
    """.replace("ROOT", repr(str(ROOT)))


def _is_here(module: str) -> bool:
    return module in sys.builtin_module_names or module == sys.platform


def _in_child(code: str, environ: Mapping[str, str]) -> dict[str, object]:
    """Run code in a fresh interpreter and return the JSON object that it prints."""
    return _run(["-c", CHILD_START + textwrap.dedent(code)], environ)


def _run(arguments: list[str], environ: Mapping[str, str]) -> dict[str, object]:
    done = subprocess.run(
        [sys.executable, *arguments],
        cwd=ROOT,
        env=base_environ(**environ),
        capture_output=True,
        text=True,
        check=True,
        timeout=60,
    )
    shown: dict[str, object] = json.loads(done.stdout)
    return shown
