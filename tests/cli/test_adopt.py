"""``adopt`` as an operator types it: what it exits with, prints and writes."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.cli.support import Checkout

MODULE = "from flask import Blueprint\nbp = Blueprint('shop', 's', url_prefix='/shop')\n"


@pytest.fixture
def module(checkout: Checkout) -> Path:
    """Write a module beside the project."""
    path = checkout.root.parent / "shop.py"
    path.write_text(MODULE)
    return path


def test_writes_only_when_it_is_told_to(checkout: Checkout, module: Path) -> None:
    """The diff is the same, and a second run has none; the doctor finds nothing wrong with it."""
    before = checkout.snapshot()
    proposed = checkout.run("adopt", str(module), "--json")
    assert (proposed.code, proposed.json["written"]) == (0, False)
    assert checkout.snapshot() == before
    written = checkout.run("adopt", str(module), "--write", "--json")
    assert written.json == {**proposed.json, "written": True}
    changed = {name for name, content in checkout.snapshot().items() if before.get(name) != content}
    assert (
        changed
        == {*written.json["files"]}
        == {*("blueprints/__init__.py", "blueprints/shop.py", "orchestrator.toml")}
    )
    assert [one["name"] for one in written.json["blueprints"]] == ["shop"]
    again = checkout.run("adopt", str(module), "--write", "--json").json
    assert (again["blueprints"], again["files"], again["diff"]) == ([], [], "")
    checked = checkout.run("doctor", "--offline", "--json").json["findings"]
    assert [one for one in checked if one["severity"] == "error"] == []


def test_errors_exit_with_one(checkout: Checkout, module: Path) -> None:
    """What can be adopted beside them is proposed all the same."""
    (checkout.root.parent / "broken.py").write_text("print 'x'\n")
    ended = checkout.run("adopt", str(module), str(module.with_name("broken.py")), "--json")
    assert (ended.code, ended.json["ok"], len(ended.json["blueprints"])) == (1, False, 1)
    (found,) = [one for one in ended.json["findings"] if one["severity"] == "error"]
    assert (found["code"], found["line"]) == ("syntax_error", 1)
    assert "Python 2" in found["advice"]


def test_what_cannot_be_done_is_named(checkout: Checkout, module: Path) -> None:
    """A path that is not there, a place that cannot be written, a manifest that is none."""
    assert checkout.run("adopt", "absent.py", "--json").json["error"]["code"] == "usage"
    assert checkout.run("adopt", "--json").code == 2
    checkout.write("blueprints", "a file in the place of the directory\n")
    before = checkout.snapshot()
    assert checkout.run("adopt", str(module), "--write").code == 73
    assert checkout.snapshot() == before
    checkout.write("orchestrator.toml", "[packages\n")
    ended = checkout.run("adopt", str(module), "--json")
    assert (ended.code, ended.json["error"]["code"]) == (65, "bad_file")
    assert "line 1" in ended.json["error"]["message"]
