"""A blueprint that carries its addresses itself is known by them without being imported."""

from __future__ import annotations

from pathlib import Path

import pytest

from app import create_app
from app.isolation.source_addresses import addresses_in_source
from app.manifest import Blueprint
from app.settings.declarations import Settings
from tests.conftest import World
from tests.serving.house import House
from tests.support.blueprints import BLUEPRINTS

RULES = """
bp = flask.Blueprint("red", __name__)
other = flask.Blueprint("other", __name__)
@bp.route("/orders/<int:number>", methods=["POST"])
@bp.get("/orders")
def orders(): ...
@other.get("/not-mine")
@bp.get(computed())
@bp.get(f"/{computed()}")
def more(): ...
bp.add_url_rule("/", view_func=more)
bp.add_url_rule(rule="/named/", view_func=more)
"""
SOURCES = {
    "prefix": ('bp = Blueprint("red", __name__, url_prefix="/red/")', ("/red",)),
    "annotated": ('bp: Blueprint = Blueprint("red", __name__, url_prefix="/red")', ("/red",)),
    "variable": ('bp = Blueprint("red", __name__, url_prefix="/red/<shop>/x")', ("/red",)),
    "in a branch": ('if 1:\n    bp = Blueprint("r", "r", url_prefix="/red")', ("/red",)),
    "another": ('bq = Blueprint("r", "r", url_prefix="/red")', ()),
    "rules": (RULES, ("/orders", "/", "/named")),
    "computed": ('bp = Blueprint("r", "r", url_prefix=PREFIX)', ()),
    "handed on": ("from source_green import green as bp", ("/green",)),
    "in a circle": ("from source_red import bp", ()),
    "syntax": ('bp = Blueprint(\n  "r", "r", url_prefix="/red",\n)\ndef broken(:\n', ("/red",)),
    "no text": ("\0", ()),
    "nothing": ("", ()),
}


@pytest.mark.parametrize(("source", "addresses"), SOURCES.values(), ids=SOURCES)
def test_they_are_read(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, source: str, addresses: tuple[str, ...]
) -> None:
    """What is constant in the source is found, in whichever form, and nothing of it runs."""
    monkeypatch.syspath_prepend(str(tmp_path))
    green = 'green = Blueprint("green", __name__, url_prefix="/green")\n1 / 0\n'
    (tmp_path / "source_green.py").write_text(green, encoding="utf-8")
    (tmp_path / "source_red.py").write_text(source, encoding="utf-8")
    assert addresses_in_source("source_red", "bp") == addresses


def test_a_relative_import_is_resolved(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A package may hand on the blueprint of one of its modules."""
    monkeypatch.syspath_prepend(str(tmp_path))
    (tmp_path / "shop_source").mkdir()
    (tmp_path / "shop_source" / "__init__.py").write_text("from .views import bp\n")
    text = 'bp = Blueprint("r", "r", url_prefix="/shop")\n'
    (tmp_path / "shop_source" / "views.py").write_text(text, encoding="utf-8")
    assert addresses_in_source("shop_source", "bp") == ("/shop",)
    assert addresses_in_source("shop_source.absent", "bp") == ()


@pytest.mark.parametrize(
    ("broken", "code"),
    [("1 / 0", "code_error"), ("import absent_thing", "missing_distribution"), ("x = (", None)],
)
def test_they_answer_in_quarantine(
    house: House,
    world: World,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    broken: str,
    code: str | None,
) -> None:
    """All paths below its own prefix answer 503 with its reason, others as before."""
    monkeypatch.syspath_prepend(str(tmp_path / "house"))
    text = 'from flask import Blueprint\nbp = Blueprint("red", __name__, url_prefix="/own")\n'
    house.add("red", f"{text}{broken}\n", prefix=None)
    given = {
        "SETTINGS": Settings(healing=world.settings),
        "AUTO_FIXER": world.fixer(),
        "BLUEPRINTS": (*BLUEPRINTS, *(Blueprint(**spec) for spec in house.specs)),
    }
    client = create_app(given).test_client()
    for path in ("/own", "/own/any/thing"):
        answer = client.get(path)
        assert (answer.status_code, answer.get_json()["blueprint"]) == (503, "red")
        assert answer.get_json()["code"] == (code or "code_error")
    assert client.get("/owner").status_code == 404
    shown = client.get("/api/auto-fix/status").get_json()["blueprints"]["red"]
    assert shown["paths"] == ["/own"]
