"""Metrics, the pages for people, this description, and the files that the pages load."""

from __future__ import annotations

from app.description.faults import NO_SUCH_FILE, Fault
from app.description.operations import (
    HTML,
    IF_NONE_MATCH,
    JSON,
    PLAIN,
    Access,
    Answer,
    Group,
    Operation,
    header,
    path_part,
    unchanged,
)
from app.description.schemas import Schema, text

OPENMETRICS = "application/openmetrics-text"

_UNCHANGED = unchanged("ETag", "Cache-Control")
_RANGE = Fault(
    416, "requested_range_not_satisfiable", "The file has no such part.", headers=("Content-Range",)
)


def _representation(path: str, name: str, summary: str, content: dict[str, Schema]) -> Operation:
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
                    content={PLAIN: text(), OPENMETRICS: text()},
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
                    content={HTML: text()},
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
        _representation(
            "/api/openapi.json",
            "openapi",
            "The description as OpenAPI 3.1",
            {JSON: {"type": "object", "required": ["openapi", "info", "paths"]}},
        ),
        _representation("/api/docs", "docs", "The description as a page", {HTML: text()}),
    ),
)

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
                path_part(
                    "filename", "Which one.", text(minLength=1, examples=["style.css", "icon.svg"])
                ),
                IF_NONE_MATCH,
                header("If-Modified-Since", "When the caller got it.", text()),
            ),
            answers=(
                Answer(
                    description="The file.",
                    content={"*/*": {}},
                    headers=("ETag", "Cache-Control", "Last-Modified"),
                ),
                Answer(
                    status="206",
                    description="The part that was asked for.",
                    content={"*/*": {}},
                    headers=("ETag", "Cache-Control", "Last-Modified", "Content-Range"),
                ),
                _UNCHANGED,
            ),
            faults=(NO_SUCH_FILE, _RANGE),
        ),
    ),
)
