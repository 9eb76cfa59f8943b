"""The OpenAPI 3.1 document of one application."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping
from typing import Annotated

from app.description.auto_fix import AUTO_FIX
from app.description.edge_functions import EDGE_FUNCTIONS
from app.description.operations import Access, Group, Operation
from app.description.responses import Responses, headers
from app.description.schemas import Schema, Schemas
from app.description.site import DESCRIPTION, FILES, LANDING, METRICS, PROBES
from app.description.url_map import Routes, undescribed
from app.routes.bodies import VERSION
from app.web.json_bodies import Keywords

#: In the order of the page.
GROUPS = (PROBES, AUTO_FIX, EDGE_FUNCTIONS, METRICS, LANDING, DESCRIPTION, FILES)
#: The blueprints whose operations are described here, and not from the URL map.
DESCRIBED = frozenset(group.blueprint for group in GROUPS if group.blueprint)

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
#: The security requirement of each, as OpenAPI says it.
_REQUIREMENTS: Mapping[Access, list[Schema]] = {
    Access.OPEN: [],
    Access.DETAILS: [{}, {"bearer": []}],
    Access.CHANGE: [{"bearer": []}],
    Access.OWN: [],
}


def describe(
    blueprints: Mapping[str, str | None], *, guarded: bool, routes: Routes | None = None
) -> Schema:
    """The document of an application with these blueprints.

    Args:
        blueprints: each blueprint's name, to the reason of its quarantine or None when it serves.
            Operations of others are left out.
        routes: what the application routes: operations that are described nowhere get a
            description of their own.
        guarded: whether a token is configured. With none there is nothing to authenticate with, so
            no operation asks for it.
    """
    groups = [g for g in GROUPS if g.blueprint is None or g.blueprint in blueprints]
    described = {(o.path, o.method) for group in groups for o in group.operations}
    groups += undescribed(routes or Routes(), described, [group.title for group in groups])
    return _Writer(guarded=guarded).document(groups, blueprints)


class _Writer:
    """Writes one document, and collects what its operations refer to."""

    def __init__(self, *, guarded: bool) -> None:
        self._guarded = guarded
        self._schemas = Schemas()
        self._responses = Responses(self._schemas)

    def document(self, groups: Iterable[Group], blueprints: Mapping[str, str | None]) -> Schema:
        groups = list(groups)
        paths: dict[str, Schema] = defaultdict(dict)
        for group in groups:
            reason = blueprints.get(group.blueprint) if group.blueprint else None
            for operation in group.operations:
                described = self._operation(operation, group.title)
                if reason is not None:
                    described["x-unavailable"] = reason
                paths[operation.path][operation.method] = described
        return {
            "openapi": "3.1.0",
            "jsonSchemaDialect": "https://spec.openapis.org/oas/3.1/dialect/base",
            "info": _INFO,
            "servers": [{"url": "/"}],
            "tags": [{"name": g.title, "description": g.description} for g in groups],
            "paths": {path: {**item, **self._implied(item)} for path, item in paths.items()},
            "components": {
                "responses": self._responses.components(),
                "headers": self._responses.header_components(),
                "securitySchemes": {"bearer": _BEARER},
                "schemas": self._schemas.components,
            },
        }

    def _operation(self, operation: Operation, tag: str) -> Schema:
        described: Schema = {
            "operationId": operation.name,
            "tags": [tag],
            "summary": operation.summary,
        }
        if operation.description:
            described["description"] = operation.description
        described["parameters"] = [
            {
                "name": parameter.name,
                "in": parameter.place,
                "description": parameter.description,
                "required": parameter.required,
                "schema": self._schemas.schema(parameter.kind),
            }
            for parameter in operation.parameters
        ]
        if body := operation.body:
            found = [self._schemas.open_object(kind) for kind in body.kinds]
            schema = {"anyOf": found} if found else {}
            described["requestBody"] = {
                "description": body.description,
                "required": body.required,
                "content": {body.media_type: {"schema": schema}},
            }
        described["security"] = _REQUIREMENTS[operation.access] if self._guarded else []
        described["x-access"] = operation.access
        described["responses"] = self._responses.of(operation.answers, operation.problems)
        return described

    def _implied(self, item: Schema) -> Schema:
        """HEAD and OPTIONS, which the framework answers for every path."""
        first = next(iter(item.values()))
        # A part of the path is free for OPTIONS, which looks at none.
        free = self._schemas.schema(Annotated[str, Keywords(minLength=1)])
        parts = [{**p, "schema": free} for p in first["parameters"] if p["in"] == "path"]
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
                    "headers": headers([("Allow",)]),
                },
                # A part of a path can have characters that no route takes, such as a line feed.
                **self._responses.of((), ("not_found",) if parts else ()),
            },
        }
        if "get" not in item:
            return {"options": options}
        read = item["get"]
        head = {
            **read,
            "operationId": f"{read['operationId']}Head",
            "summary": "As GET, without body",
            "responses": {
                status: {name: value for name, value in response.items() if name != "content"}
                for status, response in read["responses"].items()
            },
        }
        return {"head": head, "options": options}
