"""A project elsewhere is examined by its own files, with a manifest or without."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from tests.doctor.test_examination import findings, only

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from tests.cli.support import Checkout


#: Somebody's project.
FILES = {
    "requirements.txt": "flask\n",
    "shop/models.py": "import flask\n",
    "shop/main.py": "from shop import models\nimport quuxframework\n",
    "tests/x.py": "import nothing_of_that_name\n",
    "setup.py": "import setuptools\n",
}


def lay_out(root: Path, files: Mapping[str, str] = FILES) -> Path:
    """Write a project."""
    for name, text in files.items():
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    return root


class TestWithoutManifest:
    """Its code against its requirements."""

    @pytest.mark.parametrize("base", ["", "src/"])
    def test_its_code_is_examined(self, checkout: Checkout, tmp_path: Path, base: str) -> None:
        """Packages at the root or below ``src``; tests and files of tools are left aside."""
        files = {
            f"{base}{name}" if name.startswith("shop") else name: text
            for name, text in FILES.items()
        }
        other = lay_out(tmp_path / "other", files)
        ended = checkout.run("doctor", str(other), "--offline", "--json")
        (found,) = ended.json["findings"]
        assert (ended.code, ended.json["root"]) == (1, str(other))
        assert (found["code"], found["line"]) == ("missing_requirement", 2)
        assert found["file"] == f"{base}shop/main.py"
        assert "requirements.txt does not list" in found["message"]
        assert "add" not in found["advice"]

    def test_without_requirements_nobody_knows_what_is_required(
        self, checkout: Checkout, tmp_path: Path
    ) -> None:
        """That is the finding, and no import of a package is one."""
        files = {name: text for name, text in FILES.items() if name != "requirements.txt"}
        other = lay_out(tmp_path / "other", files)
        (found,) = checkout.run("doctor", str(other), "--offline", "--json").json["findings"]
        assert (found["code"], found["file"]) == ("requirements_invalid", "requirements.txt")

    def test_nothing_of_it_is_mended(self, checkout: Checkout, tmp_path: Path) -> None:
        """There is no manifest that would say by what."""
        other = lay_out(tmp_path / "other")
        ended = checkout.run("doctor", str(other), "--offline", "--fix")
        assert ended.code == 2
        assert "manifest" in ended.err
        assert {path.name for path in other.iterdir()} == {
            *("requirements.txt", "shop", "tests", "setup.py")
        }


def test_with_a_manifest_it_is_as_this_one(checkout: Checkout) -> None:
    """Its own lock and requirements count, and each run names its root."""
    checkout.drop("aiohttp")
    ended = checkout.command(
        [checkout.python, "-m", "app.cli", "doctor", str(checkout.root), "--offline"]
    )
    assert "missing_requirement app/edge/over_aiohttp.py" in ended.out
    assert ended.out.splitlines()[-1] == f"examined: {checkout.root}"


class TestAddresses:
    """What two blueprints want, by the line in the source."""

    TABLES = "".join(
        f'\n[blueprint.ugly_{name}]\nimport = "ugly_room.{name}:bp"\n' for name in ("red", "green")
    )
    HEAD = "from flask import Blueprint\n\nbp = Blueprint({0!r}, __name__, url_prefix={1!r})\n"
    RULE = "@bp.{0}({1!r})\ndef f(x=0):\n    return str(x)\n"

    def found(self, checkout: Checkout, red: str, green: str) -> list[tuple[str, str, str, str]]:
        """Severity, code, place and subject of what is found of two modules."""
        checkout.write("orchestrator.toml", checkout.read("orchestrator.toml") + self.TABLES)
        (checkout.root / "ugly_room").mkdir()
        checkout.write("ugly_room/red.py", red)
        checkout.write("ugly_room/green.py", green)
        return [(str(f.severity), str(f.code), f.place, f.subject) for f in findings(checkout)]

    def test_one_address_for_two(self, checkout: Checkout) -> None:
        """The later rule is to blame, whatever its variable is called and whoever has a prefix."""
        red = self.HEAD.format("red", "/ugly") + self.RULE.format("get", "/a/<int:x>")
        green = self.HEAD.format("green", "/ugly/a") + self.RULE.format("get", "/<int:y>")
        place = "ugly_room/green.py:4"
        expected = [("warning", "address_taken", place, "ugly_green")]
        assert self.found(checkout, red, green) == expected

    def test_another_method_or_converter_is_another_address(self, checkout: Checkout) -> None:
        """Nothing is said of them; that the prefix is one is a note."""
        red = self.HEAD.format("red", "/ugly") + self.RULE.format("get", "/<int:x>")
        green = self.HEAD.format("green", "/ugly") + self.RULE.format("post", "/<int:x>")
        assert [one[:2] for one in self.found(checkout, red, green)] == [("note", "prefix_shared")]

    def test_one_name_for_two(self, checkout: Checkout) -> None:
        """Flask registers the first; the manifest's names are not what counts."""
        red, green = (self.HEAD.format("same", prefix) for prefix in ("/ugly-a", "/ugly-b"))
        place = "ugly_room/green.py:3"
        expected = [("error", "name_taken", place, "ugly_green")]
        assert self.found(checkout, red, green) == expected

    @pytest.mark.parametrize("rule", ["/readyz", "/api/auto-fix/<x>", "/metrics"])
    def test_an_address_of_the_service(self, checkout: Checkout, rule: str) -> None:
        """Also of a blueprint that another module defines and this one hands on."""
        taker = self.HEAD.format("taker", "") + self.RULE.format("get", rule)
        (found,) = self.found(checkout, self.HEAD.format("red", "/ugly-red"), taker)
        assert found[:3] == ("error", "address_taken", "ugly_room/green.py:4")
        (checkout.root / "ugly_room/green.py").rename(checkout.root / "ugly_room/blue.py")
        checkout.write("ugly_room/green.py", "from ugly_room.blue import bp\n")
        assert only(findings(checkout)).place == "ugly_room/blue.py:4"
