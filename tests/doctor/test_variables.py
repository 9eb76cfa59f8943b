"""What the owner's code reads of the environment, against what the manifest declares."""

from __future__ import annotations

import pytest

from app.doctor.findings import Code
from tests.cli.support import Checkout
from tests.doctor.test_examination import findings, only

#: A blueprint that reads variables when it is imported, each in another way.
SHOP = """\
import os
from os import environ

from flask import Blueprint

shop_bp = Blueprint("shop", __name__)
KEY = os.environ["SHOP_KEY"]
SIZE = environ.get("SHOP_SIZE", "3")
"""
BLUEPRINT = """
[blueprint.shop]
import = "shop.orders:shop_bp"
environment = ["SHOP_KEY"]
"""
DECLARED = """
[variable.SHOP_KEY]
help = "Token of the shop."

[variable.SHOP_SIZE]
default = "3"
"""


@pytest.fixture
def shop(checkout: Checkout) -> Checkout:
    """A copy of the project with a blueprint in a package of the owner's."""
    (checkout.root / "shop").mkdir()
    checkout.write("shop/orders.py", SHOP)
    checkout.write("orchestrator.toml", checkout.read("orchestrator.toml") + BLUEPRINT + DECLARED)
    return checkout


def without(checkout: Checkout, text: str) -> None:
    """Take a piece of the manifest out."""
    manifest = checkout.read("orchestrator.toml")
    assert text in manifest
    checkout.write("orchestrator.toml", manifest.replace(text, ""))


def test_all_is_declared(shop: Checkout) -> None:
    """Nothing is found where the manifest says what code reads."""
    assert findings(shop, blueprints=True, SHOP_KEY="x") == ()


def test_is_read_and_not_declared(shop: Checkout) -> None:
    """What code cannot do without is a warning with its line, anything else a note."""
    without(shop, DECLARED)
    found = {one.subject: one for one in findings(shop) if one.code is Code.VARIABLE_UNDECLARED}
    key, size = found["SHOP_KEY"], found["SHOP_SIZE"]
    assert (str(key.severity), key.place) == ("warning", "shop/orders.py:7")
    assert (str(size.severity), size.place) == ("note", "shop/orders.py:8")
    assert key.advice == "declare [variable.SHOP_KEY] in orchestrator.toml"


def test_is_declared_and_not_read(shop: Checkout) -> None:
    """It may have gone out of use, unless a database's URL or a file's path is made of it."""
    manifest = shop.read("orchestrator.toml")
    shop.write("shop/orders.py", SHOP.replace("SHOP_SIZE", "HOME"))
    found = [one for one in findings(shop) if one.code is Code.VARIABLE_UNUSED]
    assert only(found).subject == "SHOP_SIZE"
    for table in (
        'database.main]\nurl = "sqlite:///${SHOP_SIZE}"',
        'file.a]\npath = "${SHOP_SIZE}.ini"',
    ):
        shop.write("orchestrator.toml", f"{manifest}\n[{table}\n")
        assert Code.VARIABLE_UNUSED not in {one.code for one in findings(shop)}


def test_has_no_help(shop: Checkout) -> None:
    """Who has to set it is to read what it is for."""
    without(shop, 'help = "Token of the shop."\n')
    found = only(findings(shop))
    assert (found.code, found.subject) == (Code.VARIABLE_UNEXPLAINED, "SHOP_KEY")


def test_is_not_set_here(shop: Checkout) -> None:
    """Where the image is built there are no secrets: that fails nothing, and says so."""
    found = only(findings(shop, blueprints=True))
    assert (found.code, str(found.severity)) == (Code.VARIABLE_UNMET, "note")
    assert found.message.startswith("shop was not imported: SHOP_KEY is not set")


def test_two_of_one_module(shop: Checkout) -> None:
    """Each that lacks one is named; the module is imported where another of it lacks nothing."""
    table = '\n[blueprint.more]\nimport = "shop.orders:more_bp"\n'
    manifest = shop.read("orchestrator.toml") + table
    shop.write("orchestrator.toml", f'{manifest}environment = ["SHOP_KEY"]\n')
    found = findings(shop, blueprints=True)
    assert [(one.code, one.message.partition(" ")[0]) for one in found] == [
        (Code.VARIABLE_UNMET, "shop"),
        (Code.VARIABLE_UNMET, "more"),
    ]
    shop.write("orchestrator.toml", manifest)
    codes = {one.code for one in findings(shop, blueprints=True)}
    assert codes == {Code.VARIABLE_UNMET, Code.BLUEPRINT_FAILS}


def test_the_services_own(shop: Checkout) -> None:
    """Its settings are declared by itself, whoever else reads them."""
    shop.write("shop/orders.py", SHOP.replace("SHOP_SIZE", "LOG_LEVEL"))
    assert "LOG_LEVEL" not in {one.subject for one in findings(shop)}


def test_a_setting_that_falls_back(shop: Checkout) -> None:
    """The service starts with its default, and the doctor finds it all the same."""
    found = only(findings(shop, THREADS="0"))
    assert (found.code, found.subject) == (Code.SETTING_INVALID, "THREADS")


def test_is_declared_by_fix(shop: Checkout) -> None:
    """The manifest gets a table for what code cannot do without, and the locks stay as they are."""
    without(shop, DECLARED)
    lock = shop.read("requirements-flask.lock")
    ended = shop.run("doctor", "--fix", "--offline", "--json")
    assert ended.json["changed"] == ["orchestrator.toml"]
    assert shop.read("requirements-flask.lock") == lock
    added = shop.read("orchestrator.toml").rpartition("\n\n")[2]
    assert added == (
        '[variable.SHOP_KEY]\ntype = "text"\nsecret = true\nhelp = "Read by shop/orders.py."\n'
    )
    found = {one["code"] for one in ended.json["findings"]}
    assert found == {"variable_undeclared", "variable_unmet"}
