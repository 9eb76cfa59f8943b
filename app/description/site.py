"""The probes, metrics, the pages for people, this description, and the files that pages load."""

from __future__ import annotations

from typing import Annotated, Any

from app.description.operations import (
    ANY_TYPE,
    HEALTH_JSON,
    HTML,
    IF_NONE_MATCH,
    JSON,
    OPENMETRICS,
    PLAIN,
    Access,
    Answer,
    Group,
    Operation,
    Parameter,
    unchanged,
)
from app.routes.bodies.health import HealthDocument, HealthSummary
from app.web.json_bodies import Keywords

_UNCHANGED = unchanged("ETag", "Cache-Control")
_SUMMARY = {JSON: HealthSummary, HEALTH_JSON: HealthDocument}


def _probe(word: str, summary: str, description: str, good: str) -> Operation:
    return Operation(
        path=f"/{word}z",
        name=f"{word}z",
        summary=summary,
        description=description,
        answers=(
            Answer(
                description=good,
                content={PLAIN: Annotated[str, Keywords(const=_WORDS[word])]},
                headers=("Cache-Control",),
            ),
        ),
        problems=(f"not_{_WORDS[word].strip()}",),
    )


_WORDS = {"live": "alive\n", "ready": "ready\n"}


def _lasting(path: str, name: str, summary: str, content: dict[str, Any]) -> Operation:
    """One that is the same until the service changes, and says so by an ETag."""
    return Operation(
        path=path,
        name=name,
        summary=summary,
        parameters=(IF_NONE_MATCH,),
        answers=(
            Answer(description="The newest.", content=content, headers=("ETag", "Cache-Control")),
            _UNCHANGED,
        ),
    )


PROBES = Group(
    blueprint="health",
    title="Probes",
    description="For load balancers, orchestrators and people in a hurry. Never cached.",
    operations=(
        _probe(
            "live",
            "Is this process alive?",
            "Answered by every process that can answer at all, without any I/O.",
            "It is.",
        ),
        _probe(
            "ready",
            "Can it serve?",
            "Reads the cached health: no check runs for it.",
            "No critical check fails.",
        ),
        Operation(
            path="/healthz",
            name="healthz",
            summary="Health in a few words",
            answers=tuple(
                Answer(
                    status=status,
                    description=description,
                    content=_SUMMARY,
                    headers=("Cache-Control", "Vary"),
                )
                for status, description in (
                    ("200", "Healthy or degraded."),
                    ("503", "Unhealthy."),
                )
            ),
        ),
    ),
)

METRICS = Group(
    blueprint="metrics",
    title="Metrics",
    description="For Prometheus.",
    operations=(
        Operation(
            path="/metrics",
            name="metrics",
            summary="Every series of the service",
            description="OpenMetrics when `Accept` asks for it, else Prometheus' text format.",
            answers=(
                Answer(
                    description="The series.",
                    content={PLAIN: str, OPENMETRICS: str},
                    headers=("Cache-Control",),
                ),
            ),
        ),
    ),
)

LANDING = Group(
    blueprint="main",
    title="Landing page",
    description="For people.",
    operations=(
        Operation(
            path="/",
            name="landingPage",
            summary="What is up, what is not and why",
            access=Access.DETAILS,
            answers=(
                Answer(
                    description="The page.",
                    content={HTML: str},
                    headers=("Cache-Control", "Vary"),
                ),
            ),
        ),
    ),
)

DESCRIPTION = Group(
    blueprint="docs",
    title="API description",
    description="What you are reading, for programs and for people.",
    operations=(
        _lasting(
            "/api/openapi.json",
            "openapi",
            "The description as OpenAPI 3.1",
            {JSON: Annotated[dict[str, Any], Keywords(required=["openapi", "info", "paths"])]},
        ),
        _lasting("/api/docs", "docs", "The description as a page", {HTML: str}),
    ),
)

_FILE = ("ETag", "Cache-Control", "Last-Modified")
FILES = Group(
    blueprint=None,
    title="Files",
    description="Style sheets and icons of the pages.",
    operations=(
        Operation(
            path="/static/{filename}",
            name="staticFile",
            summary="One file",
            # No parameter: whether a range can be satisfied is the file's length to say, so there
            # is no schema of the ranges that are answered.
            description="A `Range` header (RFC 9110, section 14) gets that part of it.",
            parameters=(
                Parameter(
                    place="path",
                    name="filename",
                    kind=Annotated[str, Keywords(minLength=1, examples=["style.css", "icon.svg"])],
                    description="Which one.",
                    required=True,
                ),
                IF_NONE_MATCH,
                Parameter(
                    place="header",
                    name="If-Modified-Since",
                    description="When the caller got it.",
                ),
            ),
            answers=(
                Answer(description="The file.", content={ANY_TYPE: Any}, headers=_FILE),
                Answer(
                    status="206",
                    description="The part that was asked for.",
                    content={ANY_TYPE: Any},
                    headers=(*_FILE, "Content-Range"),
                ),
                _UNCHANGED,
            ),
            problems=("not_found", "requested_range_not_satisfiable"),
        ),
    ),
)
