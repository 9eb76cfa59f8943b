"""Modules and metadata of distributions, found without running any code."""

from __future__ import annotations

import sys
import zipfile
from importlib.machinery import ModuleSpec
from pathlib import Path

import pytest

from app.kinds.dependency.installer.configuration import named_index
from app.kinds.dependency.installer.tools import find_tools
from app.kinds.dependency.lock import Lock
from app.kinds.dependency.on_disk import (
    bringing,
    find_on_disk,
    foreign_extension,
    installed_version,
    is_emptied,
    is_hollow,
    is_its_own,
    is_whole,
    local_file,
    modules_of,
    only_importing_tells,
    recorded_file,
    records_module,
)
from app.kinds.dependency.requirements import read_requirements
from app.settings.errors import LockError
from tests.healing.broken import Site, on_path, write_files
from tests.support.import_hooks import Hook, MesonpyMetaFinder


@pytest.mark.parametrize("name", ["nowhere", "nowhere.below"])
def test_a_directory_of_the_path_that_went_bad(tmp_path: Path, name: str) -> None:
    """It has no modules, and what is in others is found as before."""
    place = on_path(tmp_path / "bad")
    place.rmdir()
    place.symlink_to(place)
    assert find_on_disk(name) is None
    assert find_on_disk("json.decoder") is not None


class TestInstalled:
    """What the metadata of installed distributions says."""

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
        assert recorded_file("library", "libx.so.1") == site.directory / "bin/libx.so.1"
        assert recorded_file("library", "x.so.1") is None
        assert recorded_file("nowhere", "libx.so.1") is None

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
        assert bringing("library") == ()
        assert bringing("other") == ("other",)

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


class TestNamesTooLong:
    """A directory that no file system can have, on the path or as a place to look."""

    @pytest.fixture
    def impossible(self, tmp_path: Path) -> Path:
        """Return a path with 300 characters in one name, first on ``sys.path``."""
        place = tmp_path / ("a" * 300) / "site"
        sys.path.insert(0, str(place))
        return place

    def test_modules(self, impossible: Path) -> None:
        """Modules are looked for on the rest of the path."""
        assert str(impossible) in sys.path
        assert find_on_disk("json") is not None
        assert find_on_disk("nowhere.deep") is None
        assert foreign_extension("nowhere") is None
        assert local_file("json") is None
        assert not is_emptied("nowhere")
        assert not is_hollow(_namespace(impossible))

    def test_metadata(self, impossible: Path, tmp_path: Path) -> None:
        """So is metadata; a RECORD that lists such a file is not whole."""
        assert installed_version("nowhere") is None
        assert bringing("nowhere") == ()
        assert is_whole(impossible)
        site = Site.on_path(tmp_path)
        site.install("library", files={"library.py": ""})
        assert is_whole(site.directory)
        record = site.directory / "library-1.0.dist-info/RECORD"
        record.write_text(f"{'a' * 300}.py,,\n", encoding="utf-8")
        assert not is_whole(site.directory)

    def test_files(self, impossible: Path, tmp_path: Path) -> None:
        """Files that are to be read there cannot be read, and nothing else happens."""
        with pytest.raises(LockError, match="cannot be read"):
            Lock.read(impossible / "x.lock")
        (fault,) = read_requirements(impossible / "x.txt").faults
        assert "cannot be read" in fault.reason
        file = str(impossible / "settings")
        assert named_index("uv", {"HOME": str(impossible), "UV_CONFIG_FILE": file}) is None
        pip = {"HOME": str(impossible), "PIP_CONFIG_FILE": file}
        assert named_index("pip", pip) == named_index("pip", {"HOME": str(tmp_path)})
        assert list(find_tools(("uv", "pip"), {"PATH": str(impossible)}))


def _namespace(place: Path) -> ModuleSpec:
    spec = ModuleSpec("emptied", None, is_package=True)
    spec.submodule_search_locations = [str(place)]
    return spec


class TestOtherFinders:
    """Modules that no directory of the path has."""

    def test_editable_install(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        """A package that an import hook brings is found with its submodules, and nothing runs."""
        write_files(tmp_path, {"edited/__init__.py": "1 / 0", "edited/part.py": "1 / 0"})
        hook = Hook("edited", tmp_path / "edited" / "__init__.py")
        monkeypatch.setattr(sys, "meta_path", [*sys.meta_path, hook])
        assert find_on_disk("edited") is not None
        assert find_on_disk("edited.part") is not None
        assert find_on_disk("edited.nothing") is None
        assert find_on_disk("nothing") is None
        assert not only_importing_tells("edited")

    def test_finder_that_builds(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        """One that would build its package is not asked: only an import tells."""
        hook = MesonpyMetaFinder("built", tmp_path / "built.py")
        monkeypatch.setattr(sys, "meta_path", [hook, *sys.meta_path])
        assert find_on_disk("built") is None
        assert only_importing_tells("built.part")
        assert not only_importing_tells("other")
        assert hook.asked == []

    def test_finder_that_raises(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        """A hook that raises is no worse than one that finds nothing."""
        monkeypatch.setattr(sys, "meta_path", [*sys.meta_path, None, Hook("x", tmp_path)])
        assert find_on_disk("nothing") is None

    def test_archive(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        """Packages in an archive on the path are found with their submodules."""
        with zipfile.ZipFile(tmp_path / "all.zip", "w") as archive:
            archive.writestr("zipped/__init__.py", "")
            archive.writestr("zipped/part.py", "")
        monkeypatch.syspath_prepend(str(tmp_path / "all.zip"))
        assert find_on_disk("zipped.part") is not None
        assert find_on_disk("zipped.nothing") is None


class TestTwoDistributions:
    """What several distributions write to one place."""

    def test_whose_file(self, tmp_path: Path) -> None:
        """All that bring a module are known, and the one whose file is there."""
        site = Site.on_path(tmp_path)
        site.install("one", files={"shared/__init__.py": "first = 1", "shared/part.py": ""})
        site.install("two", files={"shared/__init__.py": "second = 1"})
        assert set(bringing("shared")) == {"one", "two"}
        assert not is_its_own("one", "shared")
        assert is_its_own("two", "shared")
        assert is_its_own("one", "shared.part")
        assert not is_its_own("one", "nowhere")

    def test_modules_of(self, tmp_path: Path) -> None:
        """The public top-level modules of a distribution are those of its RECORD."""
        site = Site.on_path(tmp_path)
        site.install("mixed", files={"Mixed/__init__.py": "", "single.py": "", "_private.py": "",
                     "data/notes.txt": ""})  # fmt: skip
        assert modules_of("mixed") == ("Mixed", "single")
        assert modules_of("nowhere") is None
