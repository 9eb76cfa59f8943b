"""The OpenAPI 3.1 document of one application."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping

from app.description import headers
from app.description.auto_fix import AUTO_FIX
from app.description.edge_functions import EDGE_FUNCTIONS
from app.description.faults import NO_SUCH_PATH
from app.description.health import PROBES
from app.description.operations import REQUIREMENTS, Access, Group, Operation
from app.description.responses import responses, shared_problems, shared_responses
from app.description.schemas import Schema, text
from app.description.shapes import SHAPES
from app.description.site import DESCRIPTION, FILES, LANDING, METRICS

#: The API's own version (semantic versioning); it is not the version of anything inside.
VERSION = "1.0.0"
#: In the order of the page.
GROUPS = (PROBES, AUTO_FIX, EDGE_FUNCTIONS, METRICS, LANDING, DESCRIPTION, FILES)

_INFO = {
    "title": "Royal Equips Orchestrator",
    "version": VERSION,
    "summary": "A service that refuses to go down for a missing package.",
    "description": (
        "Errors are problem details (RFC 9457) with a stable `code`. HEAD answers as GET does,"
        " without the body; OPTIONS names the methods of a path, and another method gets 405 with"
        " `Allow`. An operation with `x-unavailable` belongs to a part of the service that is in"
        " quarantine, for the reason given: it answers 503 until that is healed."
    ),
}
_BEARER = {
    "type": "http",
    "scheme": "bearer",
    "description": (
        "Where a token is configured, changes and the details of reads need it. Where none is,"
        " reads are open and every change is refused."
    ),
}


def describe(blueprints: Mapping[str, str | None], *, guarded: bool) -> Schema:
    """The document of an application with these blueprints.

    Args:
        blueprints: each blueprint's name, to the reason of its quarantine or None when it serves.
            Operations of others are left out.
        guarded: whether a token is configured. With none there is nothing to authenticate with, so
            no operation asks for it.
    """
    groups = [g for g in GROUPS if g.blueprint is None or g.blueprint in blueprints]
    return {
        "openapi": "3.1.0",
        "jsonSchemaDialect": "https://spec.openapis.org/oas/3.1/dialect/base",
        "info": _INFO,
        "servers": [{"url": "/"}],
        "tags": [{"name": g.title, "description": g.description} for g in groups],
        "paths": _paths(groups, blueprints, guarded=guarded),
        "components": {
            "schemas": _schemas(groups),
            "responses": shared_responses(),
            "headers": headers.components(),
            "securitySchemes": {"bearer": _BEARER},
        },
    }


def _schemas(groups: Iterable[Group]) -> dict[str, Schema]:
    own = {name: schema for group in groups for name, schema in group.schemas.items()}
    return {**SHAPES, **shared_problems(), **own}


def _paths(
    groups: Iterable[Group], blueprints: Mapping[str, str | None], *, guarded: bool
) -> dict[str, Schema]:
    paths: dict[str, Schema] = defaultdict(dict)
    for group in groups:
        reason = blueprints.get(group.blueprint) if group.blueprint else None
        for operation in group.operations:
            described = _operation(operation, group.title, guarded=guarded)
            if reason is not None:
                described["x-unavailable"] = reason
            paths[operation.path][operation.method] = described
    return {path: {**item, **_implied(item)} for path, item in paths.items()}


def _implied(item: Schema) -> Schema:
    """HEAD and OPTIONS, which the framework answers for every path."""
    first = next(iter(item.values()))
    parts = [_free(p) for p in first["parameters"] if p["in"] == "path"]
    options = {
        "operationId": f"{first['operationId']}Options",
        "tags": first["tags"],
        "summary": "The methods of this path",
        "parameters": parts,
        "security": [],
        "x-access": Access.OPEN,
        "responses": {
            "200": {
                "description": "They are in `Allow`.",
                "headers": headers.references([("Allow", "X-Request-ID", *headers.EVERYWHERE)]),
            },
            # A part of a path can have characters that no route takes, such as a line feed.
            **responses((), (NO_SUCH_PATH,) if parts else ()),
        },
    }
    if "get" not in item:
        return {"options": options}
    read = item["get"]
    head = {
        **read,
        "operationId": f"{read['operationId']}Head",
        "summary": "As GET, without body",
        "responses": {status: _bodiless(told) for status, told in read["responses"].items()},
    }
    return {"head": head, "options": options}


def _bodiless(response: Schema) -> Schema:
    return {name: value for name, value in response.items() if name != "content"}


def _free(parameter: Schema) -> Schema:
    """A part of the path as it is for OPTIONS, which looks at none."""
    return {**parameter, "schema": text(minLength=1)}


def _operation(operation: Operation, tag: str, *, guarded: bool) -> Schema:
    return {
        "operationId": operation.name,
        "tags": [tag],
        "summary": operation.summary,
        **({"description": operation.description} if operation.description else {}),
        "parameters": list(operation.parameters),
        **({"requestBody": operation.body} if operation.body else {}),
        "security": REQUIREMENTS[operation.access] if guarded else [],
        "x-access": operation.access,
        "responses": responses(operation.answers, operation.faults),
    }
