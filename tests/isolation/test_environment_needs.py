"""A blueprint whose variable is missing waits for it alone, and comes back without a restart."""

from __future__ import annotations

import pytest

from tests.conftest import World
from tests.isolation.shop import Shop, answers
from tests.serving.house import all_workers, status, working
from tests.support.processes import wait_until

CANARY = "c4n4ry-of-the-shop"
#: Reads the variable at import and in a view, and another one in a view alone.
ORDERS = """\
import os

import flask

bp = flask.Blueprint("orders", __name__)
KEY = os.environ["SHOP_KEY"]


@bp.get("/")
def orders():
    return {"key": os.environ["SHOP_KEY"]}


@bp.get("/lazy")
def lazy():
    return {"key": os.environ["SHOP_STRANGER"]}
"""
VARIABLE = """
[variable.SHOP_KEY]
type = "pattern"
pattern = "[a-z0-9-]{5,}"
secret = true
help = "Token of the shop."
"""


@pytest.fixture
def shop(world: World) -> Shop:
    """A shop of two blueprints, one of which needs a variable."""
    made = Shop(world)
    made.code("apples", working("apples"))
    made.code("orders", ORDERS)
    text = made.text("apples", "orders", orders='prefix = "/orders"\nenvironment = ["SHOP_KEY"]')
    made.manifest.write_text(text + VARIABLE)
    return made


def test_a_secret_is_mounted_and_rotated(shop: Shop) -> None:
    """The others serve all along; it is live in both workers, in the same processes."""
    secrets = shop.world.root / "secrets"
    secrets.mkdir()
    with shop.serve(SECRETS_DIR=str(secrets)) as server:
        before = set(all_workers(server, 2))
        answers(server, {"/apples": {200}, "/orders/": {503}})
        refused = server.get("/orders/")
        assert refused.json()["code"] == "environment_missing"
        (fault,) = [one for one in status(server)["faults"] if one["subject"] == "SHOP_KEY"]
        assert (fault["kind"], fault["cause"]) == ("environment", "environment_missing")
        assert fault["needed_by"] == ["shop.parts.orders"]
        assert "Token of the shop" in fault["advice"]

        (secrets / "SHOP_KEY").write_text(f"{CANARY.upper()}\n")
        wait_until(lambda: server.get("/orders/").json().get("code") == "environment_invalid")
        for page in ("/api/auto-fix/status", "/api/auto-fix/force-health-check", "/orders/"):
            assert CANARY.upper() not in server.get(page).text

        (secrets / "SHOP_KEY").write_text(f"{CANARY}\n")
        answers(server, {"/apples": {200}, "/orders/": {200}})
        assert server.get("/orders/").json() == {"key": CANARY}
        (secrets / "SHOP_KEY").write_text("rotated\n")
        wait_until(lambda: all(server.get("/orders/").json() == {"key": "rotated"} for _ in "123"))

        lazy = server.get("/orders/lazy")
        assert (lazy.status, lazy.json()["code"]) == (503, "environment_missing")
        assert set(all_workers(server, 2)) == before
    log = (shop.world.root / "log").read_text()
    assert CANARY not in log.lower()
    assert "request misses what it needs" in log


def test_code_that_reads_what_nothing_declares(shop: Shop) -> None:
    """It is no error of the code: the variable is named, and a mounted one has to be declared."""
    shop.name("apples", "orders")
    secrets = shop.world.root / "secrets"
    secrets.mkdir()
    with shop.serve(SECRETS_DIR=str(secrets)) as server:
        answers(server, {"/apples": {200}, "/orders/": {503}})
        assert server.get("/orders/").json()["code"] == "environment_missing"
        (fault,) = [one for one in status(server)["faults"] if one["subject"] == "SHOP_KEY"]
        assert fault["needed_by"] == ["shop.parts.orders"]
        (secrets / "SHOP_KEY").write_text(f"{CANARY}\n")
        wait_until(lambda: server.get("/orders/").json()["code"] == "environment_undeclared")
        shop.manifest.write_text(shop.manifest.read_text() + VARIABLE)
        answers(server, {"/apples": {200}, "/orders/": {200}}, within=30)
