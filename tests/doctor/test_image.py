"""What gets into the image, and what the doctor says of what does not."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from app.doctor.findings import Code
from app.doctor.image import ignore_lines, left_out_by
from tests.doctor.test_examination import findings, only
from tests.support.processes import ROOT

if TYPE_CHECKING:
    from pathlib import Path

    from tests.cli.support import Checkout

#: What only the old list let in.
ALLOW_LIST = "*\n!app\n!*.py\n!deploy/*.py\n"


def left_out(root: Path, text: str, *paths: str) -> list[int | None]:
    """The lines that leave paths out."""
    (root / ".dockerignore").write_text(text)
    lines = ignore_lines(root)
    return [left_out_by(lines, path) for path in paths]


class TestIgnoreFile:
    """Read as Docker reads it."""

    @pytest.mark.parametrize(
        ("pattern", "inside", "outside"),
        [
            ("tests", "tests/a/b.py", "app/tests/b.py"),
            ("/tests/", "tests/b.py", "atests/b.py"),
            ("*.md", "README.md", "docs/README.md"),
            ("**/*.md", "docs/deep/README.md", "docs/README.mdx"),
            ("**/__pycache__", "__pycache__/x.pyc", "app/pycache/x.pyc"),
            ("deploy/*", "deploy/kubernetes/x.yaml", "deployed/x.yaml"),
            ("a?c/[xy]z", "abc/yz/file", "abc/zz/file"),
            ("app/**", "app/x/y.py", "application/x.py"),
            ("a+b(c).py", "a+b(c).py", "aab(c).py"),
        ],
    )
    def test_patterns(self, tmp_path: Path, pattern: str, inside: str, outside: str) -> None:
        """A star ends at a slash, two do not, and a directory is all below it."""
        assert left_out(tmp_path, f"# why\n\n{pattern}\n", inside, outside) == [3, None]

    def test_the_last_line_counts(self, tmp_path: Path) -> None:
        """What a later line takes back in is in, and out again after another."""
        text = "*\n!app\napp/secret\n"
        paths = ("app/x.py", "app/secret/x.py", "shop/x.py")
        assert left_out(tmp_path, text, *paths) == [None, 3, 1]

    @pytest.mark.parametrize("text", [b"", b"[\n", b"\xff\xfe\x00*", b"!\n"])
    def test_odd_files_leave_nothing_out_by_mistake(self, tmp_path: Path, text: bytes) -> None:
        """Without lines that can be read, everything is in the image."""
        (tmp_path / ".dockerignore").write_bytes(text)
        assert left_out_by(ignore_lines(tmp_path), "app/x.py") is None
        (tmp_path / ".dockerignore").unlink()
        assert left_out_by(ignore_lines(tmp_path), "app/x.py") is None


def test_the_image_has_what_it_runs_and_packages_of_the_owner() -> None:
    """Of this checkout the service alone; beside it whatever packages there are, no secrets."""
    lines = ignore_lines(ROOT)
    names = {path.name for path in ROOT.iterdir() if left_out_by(lines, path.name) is None}
    assert names >= {"app", "wsgi.py", "gunicorn.conf.py", "orchestrator.toml"}
    assert names.isdisjoint({"tests", "docs", "tools", "benchmarks", "Makefile", "README.md"})
    own = ("blueprints/shop.py", "blueprints/rates.json", "shop/deep/x.so", "config/pricing.toml")
    assert [left_out_by(lines, path) for path in own] == [None] * len(own)
    others = (
        *(".env", ".git/config", ".venv/bin/python", "blueprints/.env", "requirements-dev.txt"),
        *("deploy/kubernetes/service.yaml", "app/__pycache__/x.pyc", "instance/auto-fix/x"),
    )
    assert None not in [left_out_by(lines, path) for path in others]


class TestDoctor:
    """It says beforehand what will not be there, and in the image why it is not."""

    SHOP = '\n[blueprint.ugly]\nimport = "ugly_room.ugly:shop_bp"\n'
    SOURCE = "import flask\n\nshop_bp = flask.Blueprint('ugly', __name__)\n"

    def served(self, checkout: Checkout, ignore: str) -> int:
        """A project with a blueprint of its owner; the line of its table."""
        text = checkout.read("orchestrator.toml") + self.SHOP
        checkout.write("orchestrator.toml", text)
        (checkout.root / "ugly_room").mkdir()
        checkout.write("ugly_room/ugly.py", self.SOURCE)
        checkout.write(".dockerignore", ignore)
        return text.splitlines().index("[blueprint.ugly]") + 1

    def test_a_blueprint_that_goes_along_is_no_finding(self, checkout: Checkout) -> None:
        """With this project's own file."""
        self.served(checkout, (ROOT / ".dockerignore").read_text())
        assert findings(checkout) == ()

    def test_a_blueprint_that_is_left_out(self, checkout: Checkout) -> None:
        """By the line of its table, and with that of the file that does it."""
        line = self.served(checkout, ALLOW_LIST)
        found = only(findings(checkout))
        assert (found.code, found.place) == (Code.LEFT_OUT, f"orchestrator.toml:{line}")
        assert found.message == "ugly_room.ugly is left out of the image"
        assert "line 1 of .dockerignore" in found.advice

    def test_the_same_in_the_image(self, checkout: Checkout) -> None:
        """Where its package is not there, it is left out, and no requirement is asked for."""
        self.served(checkout, ALLOW_LIST)
        (checkout.root / "ugly_room/ugly.py").unlink()
        (checkout.root / "ugly_room").rmdir()
        found = only(findings(checkout))
        assert (found.code, found.fixable) == (Code.LEFT_OUT, False)

    def test_a_module_that_is_not_there_at_all(self, checkout: Checkout) -> None:
        """Nothing leaves it out: it is missing."""
        self.served(checkout, "tests\n")
        (checkout.root / "ugly_room/ugly.py").unlink()
        found = only(findings(checkout))
        assert (found.code, found.subject) == (Code.MANIFEST_INVALID, "ugly")

    @pytest.mark.parametrize("there", [True, False])
    def test_what_a_blueprint_imports(self, checkout: Checkout, there: bool) -> None:  # noqa: FBT001
        """By the line that imports it, in the checkout and in the image."""
        self.served(checkout, "orchestrator_core\n")
        checkout.write("ugly_room/ugly.py", f"import orchestrator_core.stock\n{self.SOURCE}")
        if there:
            (checkout.root / "orchestrator_core").mkdir()
            checkout.write("orchestrator_core/stock.py", "")
        found = only(findings(checkout))
        assert (found.code, found.place) == (Code.LEFT_OUT, "ugly_room/ugly.py:1")
        assert "requirements" not in f"{found.message} {found.advice}"

    def test_a_sibling_of_what_the_manifest_names_is_missing(self, checkout: Checkout) -> None:
        """A name of the manifest is the project's own: nobody is told to require it."""
        self.served(checkout, "")
        (checkout.root / "ugly_room/ugly.py").unlink()
        (checkout.root / "ugly_room").rmdir()
        checkout.write("wsgi.py", "import ugly_room.rates\n")
        codes = {one.place: one.code for one in findings(checkout)}
        assert codes["wsgi.py:1"] is Code.FIRST_PARTY_MISSING
