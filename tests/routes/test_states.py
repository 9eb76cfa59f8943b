"""What is described holds when things are not as they should be, and in every format."""

from __future__ import annotations

import json
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Any

import pytest
from flask.testing import FlaskClient
from openapi_schema_validator import OAS31Validator
from werkzeug.test import TestResponse

from app import create_app
from app.healing.report import Check
from app.health import Group, HealthCheck, HealthService
from app.manifest import Blueprint
from app.settings.declarations import Settings
from tests.conftest import World
from tests.edge.served import function
from tests.support.blueprints import BLUEPRINTS
from tests.support.edge_server import edge_server

TOKEN = "a-token-for-the-states-of-the-api"  # noqa: S105 - a made-up one
BEARER = {"Authorization": f"Bearer {TOKEN}"}


class Described:
    """A client that holds each answer to the description of the same application."""

    def __init__(self, client: FlaskClient) -> None:
        self.client = client
        self.document = client.get("/api/openapi.json").get_json()

    def ask(
        self,
        template: str,
        status: int,
        *,
        method: str = "get",
        **request: Any,  # noqa: ANN401
    ) -> Any:  # noqa: ANN401
        """Ask, and return the body of an answer with this status that is as described."""
        path = request.pop("path", template)
        response = self.client.open(path, method=method, **request)
        assert response.status_code == status, response.text
        told = self._told(template, method, response)
        assert {name for name in told["headers"] if self._always(told, name)} <= {
            *response.headers.keys()
        }
        return self._body(told["content"], response)

    def _told(self, template: str, method: str, response: TestResponse) -> dict[str, Any]:
        responses = self.document["paths"][template][method]["responses"]
        told: dict[str, Any] = responses.get(str(response.status_code), responses.get("default"))
        return self._resolved(told)

    def _resolved(self, told: dict[str, Any]) -> dict[str, Any]:
        if "$ref" not in told:
            return told
        found: dict[str, Any] = self.document
        for part in told["$ref"].removeprefix("#/").split("/"):
            found = found[part]
        return found

    def _always(self, told: dict[str, Any], name: str) -> bool:
        return bool(self._resolved(told["headers"][name])["required"])

    def _body(self, content: dict[str, Any], response: TestResponse) -> Any:  # noqa: ANN401
        kind = response.mimetype or ""
        body = json.loads(response.data) if kind.endswith("json") else response.text
        schema = {**content[kind]["schema"], "components": self.document["components"]}
        OAS31Validator(schema).validate(body)
        return body


@pytest.fixture
def functions(tmp_path: Path) -> Iterator[Path]:
    """A registry of a function that answers and of one that is not there."""
    file = tmp_path / "functions.toml"
    with edge_server() as edge:
        gone = function("gone", "http://127.0.0.1:9", timeout=1)
        file.write_text(
            function("echo", edge.url) + gone + function("fails", f"{edge.url}/failing")
        )
        yield file


@pytest.fixture
def service(world: World, functions: Path) -> Iterator[Described]:
    """A service with a token, something to heal, and a part in quarantine."""
    world.publish("healable")
    broken = Blueprint("metrics", "app.no_such_module", "bp", paths=("/metrics",))
    settings = Settings(healing=world.settings, token=TOKEN, edge_functions_file=functions)
    app = create_app(
        {
            "SETTINGS": settings,
            "AUTO_FIXER": world.fixer(required=("no_such_module",)),
            "BLUEPRINTS": [broken if spec.name == "metrics" else spec for spec in BLUEPRINTS],
            "TESTING": True,
        }
    )
    yield Described(app.test_client())
    app.extensions["edge"].close()


@pytest.mark.parametrize("headers", [{}, BEARER])
@pytest.mark.parametrize("kind", ["application/json", "application/health+json"])
@pytest.mark.parametrize("path", ["/healthz", "/api/auto-fix/health"])
def test_health_in_each_format(
    service: Described, path: str, kind: str, headers: dict[str, str]
) -> None:
    """Health is as described in both formats, with the token and without."""
    service.ask("/api/auto-fix/force-health-check", 200)
    body = service.ask(path, 200, headers={"Accept": kind, **headers})
    assert body["status" if "status" in body else "overall_status"] in {"warn", "degraded"}


@pytest.mark.parametrize("kind", ["application/json", "application/health+json"])
def test_when_something_critical_fails(service: Described, kind: str) -> None:
    """An unhealthy service answers 503 as described, on every path that tells of health."""
    check = Check(name="made_up", kind="test", subject="x", ok=False, critical=True, reason="off")
    health: HealthService = service.client.application.extensions["health"]
    health.add(HealthCheck(name="made_up", kind="test", run=lambda: [check], groups=(Group.READY,)))
    health.force()
    for path in ("/healthz", "/api/auto-fix/health", "/api/auto-fix/force-health-check"):
        service.ask(path, 503, headers={"Accept": kind})
    assert service.ask("/readyz", 503)["failed"] == ["made_up"]


@pytest.mark.parametrize("headers", [{}, BEARER])
def test_after_a_heal(service: Described, headers: dict[str, str]) -> None:
    """A heal and what it leaves behind are as described: attempts, fixes, drift."""
    body = {"module": "healable"}
    fixed = service.ask("/api/auto-fix/fix", 200, method="post", json=body, headers=BEARER)
    assert fixed["outcome"] == "healed"
    service.ask("/api/auto-fix/status", 200, headers=headers)
    service.ask("/api/auto-fix/health", 200, headers=headers)
    assert service.ask("/api/auto-fix/drift", 200, headers=headers)["drift"]
    plain = {"Accept": "text/plain", **headers}
    assert service.ask("/api/auto-fix/drift", 200, headers=plain) == "healable>=1.0\n"


@pytest.mark.parametrize("headers", [{}, BEARER])
def test_imports_that_fail(service: Described, headers: dict[str, str]) -> None:
    """A module that is not there is diagnosed as described."""
    path = "/api/auto-fix/test-import"
    for name in ("no_such_module", "json", "healable"):
        service.ask(path, 200, path=f"{path}?module={name}", headers=headers)


def test_a_heal_that_is_not_enough(service: Described) -> None:
    """A package that is healed may lack the module asked for: that is no success, and says so."""
    body = {"module": "healable.nope"}
    answer = service.ask("/api/auto-fix/fix", 409, method="post", json=body, headers=BEARER)
    assert (answer["code"], answer["healed"], answer["success"]) == ("not_fixable", True, False)
    again = service.ask("/api/auto-fix/fix", 409, method="post", json=body, headers=BEARER)
    assert (again["code"], again["healed"]) == ("not_fixable", False)


def test_what_is_refused(service: Described) -> None:
    """Refusals are as described, each by its code."""
    ask = partial(service.ask, "/api/auto-fix/fix", method="post", headers=BEARER)
    unknown = ask(409, json={"module": "no_such_module"})
    assert unknown["code"] == "not_approved"
    ask(415, data=b"module=x", content_type="text/plain")
    ask(413, json={"module": "x" * 20_000})
    ask(400, data=b"[", content_type="application/json")
    service.ask("/api/auto-fix/fix", 401, method="post", json={"module": "healable"})


def test_a_part_in_quarantine(service: Described) -> None:
    """Its 503 is as described."""
    assert service.ask("/metrics", 503)["blueprint"] == "metrics"


@pytest.mark.parametrize("headers", [{}, BEARER])
def test_edge_functions_that_fail(service: Described, headers: dict[str, str]) -> None:
    """Functions that are gone or fail are reported as described, and so are calls of them."""
    template = "/api/edge-functions/{name}/invoke"
    path = template.format(name="gone")
    failed = service.ask(template, 502, path=path, headers=headers)
    assert failed["code"] == "edge_connect"
    checked = service.ask("/api/edge-functions/health-check", 200, headers=headers)
    assert {result["healthy"] for result in checked["results"]} == {True, False}
    for name in ("", "/status", "/metrics"):
        service.ask(f"/api/edge-functions{name}", 200, headers=headers)


def test_an_open_breaker(service: Described) -> None:
    """A function that is left alone is refused as described."""
    template = "/api/edge-functions/{name}/invoke"
    path = template.format(name="gone")
    answers = [service.client.get(path).status_code for _ in range(40)]
    assert 503 in answers
    assert service.ask(template, 503, path=path)["code"] == "circuit_open"
    service.ask("/api/edge-functions/status", 200, headers=BEARER)


def test_a_registry_that_cannot_be_used(world: World, tmp_path: Path) -> None:
    """Its faults are told as described."""
    file = tmp_path / "functions.toml"
    file.write_text("[[function]]\nname = 1\n")
    settings = Settings(healing=world.settings, edge_functions_file=file)
    app = create_app({"SETTINGS": settings, "AUTO_FIXER": world.fixer(), "TESTING": True})
    told = Described(app.test_client()).ask("/api/edge-functions/status", 200)
    app.extensions["edge"].close()
    assert told["configuration"]["state"] == "invalid"
    assert told["configuration"]["faults"]


def test_metrics_in_each_format(app: Any) -> None:  # noqa: ANN401
    """The series come in both formats that are described."""
    described = Described(app.test_client())
    for kind in ("text/plain", "application/openmetrics-text"):
        described.ask("/metrics", 200, headers={"Accept": f"{kind}; version=1.0.0"})
