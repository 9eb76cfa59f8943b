"""The description is valid, complete, and about this application."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from typing import Any

import pytest
from flask import Flask
from openapi_spec_validator import validate

from app import create_app
from app.access.limits import LIMITS
from app.description.document import DESCRIBED, describe
from app.manifest import Blueprint
from app.routes.bodies import VERSION
from app.settings.declarations import Settings
from tests.conftest import World
from tests.routes import codes
from tests.routes.routed import described, routed
from tests.support.blueprints import BLUEPRINTS
from tests.support.processes import ROOT


def _operations(document: dict[str, Any]) -> Iterator[dict[str, Any]]:
    for item in document["paths"].values():
        yield from item.values()


class TestDocument:
    """The document itself."""

    def test_it_is_valid(self, document: dict[str, Any]) -> None:
        """It is OpenAPI 3.1 by the specification's own schema."""
        validate(document)
        assert document["openapi"].startswith("3.1.")

    def test_its_version_is_the_api_s_own(self, document: dict[str, Any]) -> None:
        """The only version in it is that of the API."""
        assert document["info"]["version"] == VERSION

    def test_every_operation_has_its_own_name(self, document: dict[str, Any]) -> None:
        """Clients are generated from operation ids, so none is there twice."""
        names = [operation["operationId"] for operation in _operations(document)]
        assert len(set(names)) == len(names)

    def test_no_component_is_idle(self, document: dict[str, Any]) -> None:
        """Every schema is referred to by something that is described."""
        text = str(document)
        idle = [s for s in document["components"]["schemas"] if f"schemas/{s}'" not in text]
        assert [name for name in idle if name not in document["components"]["responses"]] == []

    def test_only_the_description_needs_msgspec(self) -> None:
        """Every other blueprint, and what it answers with, is imported without it."""
        others = [spec.module for spec in BLUEPRINTS if spec.name != "docs"]
        bodies = [f"app.routes.bodies.{p.stem}" for p in (ROOT / "app/routes/bodies").glob("*.py")]
        code = (
            "import importlib, sys\n"
            "sys.modules['msgspec'] = None\n"
            f"for name in {[*others, *bodies]}: importlib.import_module(name)"
        )
        subprocess.run([sys.executable, "-c", code], cwd=ROOT, check=True)

    def test_bodies_need_the_standard_library_alone(self) -> None:
        """What a blueprint answers with can be imported where Flask and all others are missing."""
        names = [p.stem for p in (ROOT / "app/routes/bodies").glob("*.py")]
        code = (
            "import importlib, sys\n"
            f"for name in {names}: importlib.import_module(f'app.routes.bodies.{{name}}')\n"
            "for name in ('flask', 'werkzeug', 'msgspec'): assert name not in sys.modules, name"
        )
        subprocess.run([sys.executable, "-c", code], cwd=ROOT, check=True)


class TestCompleteness:
    """Nothing is routed that is not described, and nothing described that is not routed."""

    def test_every_route_and_method(self, app: Flask, document: dict[str, Any]) -> None:
        """The routes of the application and the operations of the document are the same."""
        assert described(document) == routed(app)

    def test_this_house_describes_its_own_routes_by_hand(self, app: Flask) -> None:
        """What its own blueprints route is written down, with bodies and problems."""
        own = DESCRIBED & {spec.name for spec in BLUEPRINTS}
        by_hand = describe(dict.fromkeys(own), guarded=False)
        assert described(by_hand) == routed(app, own)

    def test_a_new_route_is_described_by_its_code(self, app: Flask) -> None:
        """So is a new method of an old path; what is described by hand stays as it is."""
        app.add_url_rule("/new/<int:number>", "new", str)
        app.add_url_rule("/livez", "put", lambda: "", methods=["PUT"])
        document = app.test_client().get("/api/openapi.json").get_json()
        assert described(document) == routed(app)
        assert document["paths"]["/livez"]["put"]["x-access"] == "own"
        assert document["paths"]["/livez"]["get"]["operationId"] == "livez"

    def test_every_problem_code(self, document: dict[str, Any]) -> None:
        """Each problem of the table is one that some operation may answer with."""
        assert codes.described(document) == codes.listed()

    def test_what_is_limited_says_so(self, app: Flask, document: dict[str, Any]) -> None:
        """The operations with a rate limit are those that tell of 429 rate_limited."""
        limited = {
            path
            for path, method in routed(app)
            if method in {"get", "post"}
            and "rate_limited" in codes.described(document["paths"][path][method]["responses"])
        }
        rules = {r.rule for r in app.url_map.iter_rules() if r.endpoint in LIMITS}
        assert limited == rules

    def test_every_problem_is_closed(self, document: dict[str, Any]) -> None:
        """No problem has a member that is not described."""
        schemas = document["components"]["schemas"]
        assert all(
            "unevaluatedProperties" in str(s) for n, s in schemas.items() if n[-3:].isdigit()
        )


class TestUndescribed:
    """What no operation can speak of."""

    def test_doubled_slashes_lead_nowhere(self, app: Flask) -> None:
        """A path with doubled slashes is 404, not a redirect to what the Host header says."""
        for path in ("/api//docs", "/api/edge-functions/x/invoke//y"):
            response = app.test_client().get(path, headers={"Host": "example.org"})
            assert (response.status_code, response.get_json()["code"]) == (404, "not_found")

    @pytest.mark.parametrize(
        ("asked", "status", "part"),
        [("bytes=0-4", 206, "bytes 0-4/"), ("bytes=9999999-", 416, "bytes */")],
    )
    def test_parts_of_files(
        self, app: Flask, document: dict[str, Any], asked: str, status: int, part: str
    ) -> None:
        """What a Range header gets is described, though no schema can say what a good one is."""
        response = app.test_client().get("/static/docs.css", headers={"Range": asked})
        told = document["paths"]["/static/{filename}"]["get"]["responses"][str(status)]
        assert response.status_code == status
        assert response.headers["Content-Range"].startswith(part)
        always = {n for n, h in told["headers"].items() if not h["$ref"].endswith(".optional")}
        assert "Content-Range" in always
        assert always <= set(response.headers.keys())


class TestServed:
    """How the document is served."""

    def test_who_has_it_gets_304(self, app: Flask) -> None:
        """Its ETag comes back as 304 without a body."""
        client = app.test_client()
        first = client.get("/api/openapi.json")
        again = client.get("/api/openapi.json", headers={"If-None-Match": first.headers["ETag"]})
        assert (first.status_code, first.mimetype) == (200, "application/json")
        assert (again.status_code, again.data) == (304, b"")

    def test_two_processes_agree(self, app: Flask, world: World) -> None:
        """Another process of the same service has the same ETag."""
        other = create_app({"SETTINGS": Settings(healing=world.settings)})
        tags = {a.test_client().get("/api/openapi.json").headers["ETag"] for a in (app, other)}
        assert len(tags) == 1

    def test_a_quarantined_part_is_stilldescribed(self, world: World) -> None:
        """Its operations are there, and say that they do not serve now, and why."""
        broken = Blueprint("metrics", "app.no_such_module", "bp", paths=("/metrics",))
        manifest = [broken if spec.name == "metrics" else spec for spec in BLUEPRINTS]
        app = create_app(
            {
                "SETTINGS": Settings(healing=world.settings),
                "AUTO_FIXER": world.fixer(),
                "BLUEPRINTS": manifest,
            }
        )
        client = app.test_client()
        document = client.get("/api/openapi.json").get_json()
        assert client.get("/metrics").status_code == 503
        assert document["paths"]["/metrics"]["get"]["x-unavailable"] == "first_party_missing"
        assert "x-unavailable" not in document["paths"]["/livez"]["get"]
        assert b"first_party_missing" in client.get("/api/docs").data

    def test_a_broken_description_costs_itself_alone(self, world: World) -> None:
        """Everything else serves while the description cannot be imported."""
        broken = Blueprint("docs", "app.no_such_docs", "bp", paths=("/api/docs",))
        manifest = [broken if spec.name == "docs" else spec for spec in BLUEPRINTS]
        app = create_app(
            {
                "SETTINGS": Settings(healing=world.settings),
                "AUTO_FIXER": world.fixer(),
                "BLUEPRINTS": manifest,
            }
        )
        client = app.test_client()
        assert client.get("/api/docs").status_code == 503
        assert client.get("/readyz").status_code == 200
        page = client.get("/").text
        assert "<code>/api/docs</code>" in page
        assert 'href="/api/docs"' not in page
