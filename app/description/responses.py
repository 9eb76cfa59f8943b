"""The responses of an operation: what it answers, and every problem, merged by status."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Annotated, Any

from app.description.operations import ANY_STATUS, Answer
from app.description.schemas import Schema, Schemas
from app.edge.transports import AIOHTTP_UNAVAILABLE, EVENTLET_WORKER
from app.routes.bodies.edge_functions import TRANSPORTS
from app.web.headers import SECURITY_HEADERS, TLS_HEADERS
from app.web.json_bodies import Count, Keywords
from app.web.problem_table import (
    MEDIA_TYPE,
    PROBLEMS,
    QUARANTINE,
    Problem,
    ProblemDetails,
)

#: What every response carries; a name that ends with a question mark may be missing.
EVERYWHERE = ("X-Request-ID", *SECURITY_HEADERS, *(f"{name}?" for name in TLS_HEADERS))
_MAYBE = "?"
_TAG = Annotated[str, Keywords(pattern='^(W/)?".*"$')]
#: What headers mean, and the types of their values.
HEADERS: Mapping[str, tuple[str, Any]] = {
    "Age": ("Seconds since the service found it out.", Count),
    "Allow": ("The methods that there are.", str),
    "Cache-Control": ("Whether and how long it may be kept.", str),
    "Content-Range": (
        "Which part of the file this is.",
        Annotated[str, Keywords(pattern="^bytes ")],
    ),
    "Content-Security-Policy": ("What a browser may load for it: next to nothing.", str),
    "ETag": ("Its version; for `If-None-Match`.", _TAG),
    "Last-Modified": ("When it was last changed.", str),
    "Referrer-Policy": ("What a browser tells others of where it came from.", str),
    "Retry-After": ("Seconds after which to ask again.", Count),
    "Strict-Transport-Security": ("Over https alone: that it is used for two years.", str),
    "Vary": ("The request headers that it depends on.", str),
    "WWW-Authenticate": (
        "How to authenticate (RFC 6750).",
        Annotated[str, Keywords(pattern="^Bearer ")],
    ),
    "X-Edge-Fallback-Reason": (
        "Why it was not called with the first choice.",
        Annotated[str, Keywords(enum=[AIOHTTP_UNAVAILABLE, EVENTLET_WORKER])],
    ),
    "X-Edge-Function": ("The function that was called.", str),
    "X-Edge-Transport": ("What it was called with.", Annotated[str, Keywords(enum=TRANSPORTS)]),
    "X-Request-ID": (
        "Under which the log speaks of this request.",
        Annotated[str, Keywords(minLength=1)],
    ),
    **{
        name: ("The same in every response.", Annotated[str, Keywords(const=value)])
        for name, value in SECURITY_HEADERS.items()
        if name not in {"Content-Security-Policy", "Referrer-Policy"}
    },
}

#: What the server refuses itself, because a request cannot be read or does not come.
_REFUSED = (
    *("bad_request", "request_timeout", "uri_too_long", "expectation_failed"),
    *("request_header_fields_too_large", "not_implemented", "http_version_not_supported"),
)
#: What every operation may answer with: any part of the service may be in quarantine, or miss a
#: module at the moment that it needs it.
ANY = (
    *(PROBLEMS[code] for code in (*_REFUSED, "internal_error", "hook_failed")),
    *QUARANTINE.values(),
)
#: What any other path and any other method get, and a balancer that is not trusted.
OTHERWISE = tuple(PROBLEMS[code] for code in ("forbidden", "not_found", "method_not_allowed"))
_FOREIGN: Schema = {"type": "object", "description": "A problem of its own."}


class Responses:
    """The responses of one document, whose schemas are collected with the others."""

    def __init__(self, schemas: Schemas) -> None:
        self._schemas = schemas
        self._schemas.components["ProblemDetails"] = schemas.open_object(ProblemDetails)

    def of(self, answers: Iterable[Answer], problems: Iterable[str | Problem]) -> dict[str, Schema]:
        """By status: what the operation answers, its own problems, and those of any request."""
        given = {answer.status: answer for answer in answers}
        rows = [PROBLEMS[one] if isinstance(one, str) else one for one in problems]
        found = {}
        for status in sorted({*given, *(str(row.status) for row in (*rows, *ANY))}):
            answer, own = given.get(status, given.get(ANY_STATUS)), _with(rows, status)
            found[status] = (
                self._merged(status, answer, own)
                if answer or own
                else {"$ref": f"#/components/responses/Problem{status}"}
            )
        return found

    def components(self) -> dict[str, Schema]:
        """The problems of any request, as responses that operations refer to.

        With those of paths and methods that there are not, which no operation can speak of. Their
        schemas are components, too, for responses that say more than that.
        """
        found = {}
        for status in sorted({str(row.status) for row in (*OTHERWISE, *ANY)}):
            rows = _with((*OTHERWISE, *ANY), status)
            self._schemas.components[f"Problem{status}"] = _one(self._problems(rows))
            found[f"Problem{status}"] = self._merged(status, None, (), shared=rows)
        return found

    def header_components(self) -> dict[str, Schema]:
        """Each header twice: as one that is always there, and as one that may be."""
        return {
            f"{name}{suffix}": {
                "description": said,
                "required": not suffix,
                "schema": self._schemas.schema(kind),
            }
            for name, (said, kind) in HEADERS.items()
            for suffix in ("", ".optional")
        }

    def _merged(
        self,
        status: str,
        answer: Answer | None,
        own: Sequence[Problem],
        *,
        shared: Sequence[Problem] | None = None,
    ) -> Schema:
        shared = _with(ANY, status) if shared is None else shared
        content = answer.content if answer else {}
        bodies = {kind: {"schema": self._schemas.schema(type_)} for kind, type_ in content.items()}
        problems = self._problems(own)
        if shared:
            problems.append({"$ref": f"#/components/schemas/Problem{status}"})
        if problems and answer and answer.status == ANY_STATUS:
            problems.append(_FOREIGN)
        if problems:
            bodies[MEDIA_TYPE] = {"schema": _one(problems)}
        sent = [(*row.headers, "Cache-Control") for row in (*own, *shared)]
        if answer:
            sent.append(answer.headers)
        rows = own or shared
        said = rows[0].meaning if len(rows) == 1 else "One of several problems."
        if answer:
            by_chance = answer.status != status
            said = f"{said} Or an answer of its own." if by_chance else answer.description
        return {"description": said, "headers": headers(sent), "content": bodies}

    def _problems(self, rows: Iterable[Problem]) -> list[Schema]:
        """One schema for each set of members that problems of one status have."""
        kinds: dict[type | None, list[Problem]] = {}
        for row in rows:
            kinds.setdefault(row.members, []).append(row)
        found = []
        for members, alike in kinds.items():
            codes = [{"description": row.meaning, "const": row.code} for row in alike]
            properties = {
                "status": {"const": alike[0].status},
                "code": {"type": "string", "oneOf": codes},
                **(self._schemas.open_object(members)["properties"] if members else {}),
            }
            base = {"$ref": "#/components/schemas/ProblemDetails"}
            own = {"type": "object", "properties": properties}
            found.append({"allOf": [base, own], "unevaluatedProperties": False})
        return found


def headers(variants: Sequence[Iterable[str]]) -> dict[str, Schema]:
    """The headers of a response of several variants; required is what all of them send."""
    names = [{*variant, *EVERYWHERE} for variant in variants]
    known = {name.removesuffix(_MAYBE) for variant in names for name in variant}
    return {
        name: {
            "$ref": f"#/components/headers/{name}"
            + ("" if all(name in variant for variant in names) else ".optional")
        }
        for name in sorted(known)
    }


def _one(schemas: Sequence[Schema]) -> Schema:
    return schemas[0] if len(schemas) == 1 else {"anyOf": list(schemas)}


def _with(problems: Iterable[Problem], status: str) -> list[Problem]:
    return [problem for problem in problems if str(problem.status) == status]
