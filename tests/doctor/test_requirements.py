"""Requirement files as people write them, read with places."""

from __future__ import annotations

from pathlib import Path

import pytest

from app.doctor.findings import Code
from app.doctor.project import Project
from app.doctor.requirements import check_lock, load
from app.kinds.dependency.requirements import Kind, read_requirements
from app.manifest import FILE
from app.settings.declarations import DEFAULT_LOCK
from tests.cli.support import Checkout
from tests.healing.broken import Site
from tests.support.wheels import build_wheel, lock_text

BOM = b"\xef\xbb\xbf"


def listing(path: Path, content: bytes | str) -> Path:
    """Write a requirements file."""
    path.write_bytes(content if isinstance(content, bytes) else content.encode())
    return path


def found(path: Path) -> list[str]:
    """What is wrong with a file, as ``code place``."""
    return [f"{one.code} {one.place}" for one in load(path).findings]


@pytest.fixture
def path(tmp_path: Path) -> Path:
    """Where the requirements file of a test goes."""
    return tmp_path / "requirements-flask.txt"


class TestReading:
    """Every kind of line, and every fault with its place."""

    def test_distinguishes_lines(self, path: Path) -> None:
        """Requirements, editables, URLs, options, continuations, comments and hashes."""
        text = read_requirements(
            listing(
                path,
                "# comment \\\n"
                "--index-url https://example.com/simple\n"
                "flask[async] \\\n   >=3.0  # the web\n"
                "-e ./local\n"
                "--editable=git+https://example.com/x.git#egg=Some_Thing\n"
                "https://example.com/Other_One-1.0-py3-none-any.whl\n"
                "pinned==1.0 --hash=sha256:00\n"
                "here @ https://example.com/here.zip ; python_version < '3'\n",
            )
        )
        listed = [(line.line, line.kind, line.name) for line in text.lines]
        assert listed == [
            (2, Kind.OPTION, ""),
            (3, Kind.REQUIREMENT, "flask"),
            (5, Kind.EDITABLE, ""),
            (6, Kind.EDITABLE, "some-thing"),
            (7, Kind.URL, "other-one"),
            (8, Kind.REQUIREMENT, "pinned"),
            (9, Kind.REQUIREMENT, "here"),
        ]
        assert "here" not in text.names()

    @pytest.mark.parametrize(
        ("content", "expected"),
        [
            ("flask>=3.0\naiohttp=>3.8\n", ["requirements_invalid requirements-flask.txt:2"]),
            ("\n\n===\n", ["requirements_invalid requirements-flask.txt:3"]),
            ("a>=1\n\\\nb>=,1\n", ["requirements_invalid requirements-flask.txt:2"]),
            (b"flask\n\xff\xfe\n", ["requirements_invalid requirements-flask.txt:2"]),
            ("flask\n-r nowhere.txt\n", ["requirements_invalid requirements-flask.txt:2"]),
            ("-r requirements-flask.txt\n", ["requirements_invalid requirements-flask.txt:1"]),
            ("a==1\na==2\n", ["requirements_conflict requirements-flask.txt:2"]),
            ("a>=2\nA<2\n", ["requirements_conflict requirements-flask.txt:2"]),
            ("a~=1.4\na>=1.5.1,<1.6\n", []),
            ("a==1 ; python_version < '3'\na==2 ; python_version >= '3'\n", []),
            ("a!=1\na<=1,>=0.9\n", []),
            ("-e .\n", ["not_lockable requirements-flask.txt:1"]),
            ("a @ https://example.com/a.zip\n", ["not_lockable requirements-flask.txt:1"]),
            (BOM + b"flask>=3.0\r\naiohttp>=3\r\n", []),
            ("", []),
        ],
    )
    def test_faults_have_their_line(
        self, path: Path, content: bytes | str, expected: list[str]
    ) -> None:
        """Syntax, encoding, includes, conflicts, and what cannot be locked."""
        assert found(listing(path, content)) == expected

    def test_included_files_are_read_and_blamed(self, path: Path) -> None:
        """A conflict across files names both."""
        (path.parent / "more").mkdir()
        listing(path.parent / "more" / "base.txt", "# base\na==1\n")
        (finding,) = load(listing(path, "a==2\n-r more/base.txt\n")).findings
        assert finding.place == "more/base.txt:2"
        assert "requirements-flask.txt:1" in finding.message

    def test_a_missing_file_is_a_finding(self, path: Path) -> None:
        """Not a traceback."""
        (finding,) = load(path).findings
        assert "cannot be read" in finding.message

    def test_a_lock_has_its_requirements_beside_it(self) -> None:
        """The same name with another ending."""
        project = Project(lock_path=Path("a/x.lock"))
        assert project.requirements_path == Path("a/x.txt")


def test_the_command_names_file_and_line(checkout: Checkout) -> None:
    """A broken requirements file is one finding among the others, and changes nothing."""
    checkout.write("requirements-flask.txt", "flask>=3.0\nthis is = nothing\n")
    before = checkout.snapshot()
    ended = checkout.run("doctor", "--offline", "--json")
    assert ended.code == 1
    codes = {(one["code"], one["line"]) for one in ended.json["findings"]}
    assert ("requirements_invalid", 2) in codes
    assert checkout.snapshot() == before


class TestHealable:
    """Approved packages that no heal could bring here."""

    def test_names_the_pair(self, tmp_path: Path) -> None:
        """What a heal would have to change is named with both versions, and nothing else is."""
        Site.on_path(tmp_path).install("part", "1.0")
        wheels = [
            build_wheel(tmp_path, name, version, files={})
            for name, version in (("wanted", "3.0"), ("part", "2.0"), ("free", "1.0"))
        ]
        parents = {"part": ["wanted"]}
        (tmp_path / DEFAULT_LOCK.name).write_text(lock_text(wheels, parents=parents))
        (tmp_path / FILE).write_text('[packages]\nwanted = "wanted>=3"\nfree = "free>=1"\n')
        project = Project.at(tmp_path)
        listing(project.requirements_path, "")
        found = check_lock(project, load(project.requirements_path), frozenset())
        assert [one.message for one in found if one.code is Code.VERSION_DIFFERS] == [
            "wanted cannot be healed here: part 1.0 is installed, the lock names 2.0"
        ]
