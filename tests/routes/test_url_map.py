"""The operations of an owner's blueprint are described by its code, whatever that looks like."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import pytest
from openapi_spec_validator import validate

from app.manifest import Blueprint
from tests.routes.routed import described, routed
from tests.support.blueprints import BLUEPRINTS
from tests.support.http import Build
from tests.support.ugly import UGLY_BLUEPRINT

if TYPE_CHECKING:
    from pathlib import Path

    from flask import Flask

SHOP = Blueprint("ugly", "ugly_room.ugly", "SHOP", "/ugly")
Serve = Callable[..., "Flask"]


@pytest.fixture
def serve_shop(build: Build, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Serve:
    """Builds an application with the owner's blueprint, of a package outside ``app``."""
    package = tmp_path / "ugly_room"
    package.mkdir()
    monkeypatch.syspath_prepend(tmp_path)

    def serve(source: str = UGLY_BLUEPRINT, blueprint: Blueprint = SHOP) -> Flask:
        (package / "ugly.py").write_text(source)
        return build(BLUEPRINTS=[*BLUEPRINTS, blueprint])

    return serve


def document_of(app: Flask) -> dict[str, Any]:
    """What the application says of itself."""
    response = app.test_client().get("/api/openapi.json")
    assert response.status_code == 200
    document: dict[str, Any] = response.get_json()
    validate(document)
    return document


def test_every_route_is_described(serve_shop: Serve) -> None:
    """The document is valid and has every path and method that OpenAPI can say."""
    app = serve_shop()
    document = document_of(app)
    assert routed(app) - described(document) == set()
    assert ("/ugly/broken/%7Bliteral%7D/{name}", "get") in described(document)
    names = [one["operationId"] for item in document["paths"].values() for one in item.values()]
    assert len(set(names)) == len(names)


def test_a_docstring_is_the_description(serve_shop: Serve) -> None:
    """Its first paragraph is the summary, the rest the description, without other tools' part."""
    paths = document_of(serve_shop())["paths"]
    item = paths["/ugly/items/{item_id}"]["get"]
    assert item["summary"] == "One item of the shop."
    assert item["description"] == "With `stock` and <b>price</b>."
    assert item["tags"] == ["ugly"]
    assert paths["/ugly/orders/{n}"]["get"]["summary"] == "One order."
    assert paths["/ugly/orders/{n}"]["delete"]["summary"] == "All orders."


def test_a_view_without_docstring_has_its_name(serve_shop: Serve) -> None:
    """One whose docstring is no text, too; half a character is replaced, and all is bounded."""
    paths = document_of(serve_shop())["paths"]
    undocumented = paths["/ugly/weight/{weight}"]["get"]
    assert (undocumented["summary"], "description" in undocumented) == ("Undocumented view", False)
    assert paths["/ugly/odd"]["get"]["summary"] == "Odd"
    broken = paths["/ugly/broken/%7Bliteral%7D/{name}"]["get"]
    assert broken["summary"].startswith("Half a character ?")
    assert len(broken["description"]) <= 4000


def test_variables_have_the_types_of_their_converters(serve_shop: Serve) -> None:
    """What the standard ones take is known; another takes a text."""
    paths = document_of(serve_shop())["paths"]

    def schemas(path: str) -> list[dict[str, Any]]:
        return [each["schema"] for each in paths[path]["get"]["parameters"]]

    assert schemas("/ugly/items/{item_id}") == [{"type": "integer"}]
    assert schemas("/ugly/weight/{weight}") == [{"type": "number"}]
    assert schemas("/ugly/orders/{n}") == [{"type": "string", "format": "uuid"}]
    texts = schemas("/ugly/kind/{kind}/{rest}")
    assert [text["type"] for text in texts] == ["string", "string"]


def test_any_answer_and_the_service_s_problems_are_possible(serve_shop: Serve) -> None:
    """Nobody knows what a view answers, but what it answers in quarantine is known."""
    item = document_of(serve_shop())["paths"]["/ugly/items/{item_id}"]["get"]
    assert "default" in item["responses"]
    assert "application/problem+json" in item["responses"]["503"]["content"]
    assert (item["security"], item["x-access"]) == ([], "own")


def test_the_page_shows_it(serve_shop: Serve) -> None:
    """With its heading, and what its docstring says is text there."""
    page = serve_shop().test_client().get("/api/docs").text
    assert 'id="about-ugly"' in page
    assert "One item of the shop." in page
    assert "<b>price" not in page


@pytest.mark.parametrize("prefix", ["/ugly", None])
def test_in_quarantine_its_addresses_are_there(serve_shop: Serve, prefix: str | None) -> None:
    """As far as they are known, with the reason; the page says so, too."""
    source = UGLY_BLUEPRINT.replace("import functools", "import no_such_module_at_all")
    app = serve_shop(source, replace(SHOP, prefix=prefix))
    operation = document_of(app)["paths"]["/ugly"]["get"]
    assert operation["x-unavailable"] == "missing_distribution"
    page = app.test_client().get("/api/docs").text
    assert page[page.index('id="about-ugly"') :].count("missing_distribution") >= 1
