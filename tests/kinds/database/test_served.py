"""A service with a database, as gunicorn serves it: gated while it is away, back by itself."""

from __future__ import annotations

import pytest

from tests.conftest import World
from tests.isolation.shop import Shop, answers
from tests.serving.house import all_workers, working
from tests.support.postgres import PASSWORD, Postgres
from tests.support.processes import Server, wait_until

#: Reads and writes; a view of its own asks for an engine that the manifest does not know.
ORDERS = """\
import os

import flask
from sqlalchemy import text

from app.kinds.database.engines import databases

bp = flask.Blueprint("orders", __name__)


def ask(statement):
    with databases(flask.current_app)["main"].begin() as connection:
        return connection.execute(text(statement))


@bp.get("/")
def orders():
    return {"answer": ask("SELECT 42").scalar(), "pid": os.getpid()}


@bp.post("/")
def order():
    ask("INSERT INTO orders VALUES (1)")
    return {"pid": os.getpid()}


@bp.get("/wrong")
def wrong():
    ask("SELECT * FROM nowhere")
"""
SECONDS = 30.0


@pytest.fixture
def shop(world: World) -> Shop:
    """A shop of two blueprints, one of which needs a database."""
    made = Shop(world)
    made.code("apples", working("apples"))
    made.code("orders", ORDERS)
    made.manifest.write_text(
        made.text("apples", "orders", orders='prefix = "/orders"\ndatabases = ["main"]')
        + '\n[database.main]\nurl = "${DATABASE_URL}"\nconnect_timeout = 2\n'
    )
    return made


def problem(server: Server, path: str = "/orders/") -> tuple[int, str]:
    """The status and the code of an answer."""
    answer = server.get(path)
    assert PASSWORD.encode() not in answer.body
    return answer.status, answer.json().get("code", "")


def test_a_server_that_is_killed_gates_who_needs_it_and_is_used_again(shop: Shop) -> None:
    """Nothing is restarted, and nobody else notices."""
    with Postgres() as database:
        database.execute("CREATE TABLE orders (id int)")
        with shop.serve(DATABASE_URL=database.url) as server:
            before = set(all_workers(server, 2))
            answers(server, {"/apples": {200}, "/orders/": {200}})
            assert server.get("/orders/wrong").status == 500
            database.kill()
            wait_until(lambda: problem(server) == (503, "database_refused"), SECONDS)
            refused = server.get("/orders/")
            assert int(refused.headers["Retry-After"]) >= 1
            answers(server, {"/apples": {200}, "/orders/": {503}})
            database.start()
            answers(server, {"/apples": {200}, "/orders/": {200}}, within=SECONDS)
            assert set(all_workers(server, 2)) == before
