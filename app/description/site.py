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

_TAGGED = ("ETag", "Cache-Control")
_FILE = (*_TAGGED, "Last-Modified")
_SUMMARY = {JSON: HealthSummary, HEALTH_JSON: HealthDocument}
_NOW_OR_TOKEN = ("Cache-Control", "Vary")


def _probe(path: str, word: str, summary: str, description: str, good: str) -> Operation:
    content = {PLAIN: Annotated[str, Keywords(const=f"{word}\n")]}
    answers, problems = (Answer(good, content),), (f"not_{word}",)
    return Operation(path, path[1:], summary, answers, description, problems=problems)


def _lasting(path: str, name: str, summary: str, content: dict[str, Any]) -> Operation:
    """One that is the same until the service changes, and says so by an ETag."""
    answers = (Answer("The newest.", content, _TAGGED), unchanged(*_TAGGED))
    return Operation(path, name, summary, answers, parameters=(IF_NONE_MATCH,))


PROBES = Group(
    "health",
    "Probes",
    "For load balancers, orchestrators and people in a hurry. Never cached.",
    (
        _probe(
            "/livez",
            "alive",
            "Is this process alive?",
            "Answered by every process that can answer at all, without any I/O.",
            "It is.",
        ),
        _probe(
            "/readyz",
            "ready",
            "Can it serve?",
            "Reads the cached health: no check runs for it.",
            "No critical check fails.",
        ),
        _probe(
            "/startupz",
            "started",
            "Has it started?",
            "While the imports of the start go on, STARTUP_PATIENCE seconds at most, it has not.",
            "It has, and stays so.",
        ),
        Operation(
            "/healthz",
            "healthz",
            "Health in a few words",
            (
                Answer("Healthy or degraded.", _SUMMARY, _NOW_OR_TOKEN),
                Answer("Unhealthy.", _SUMMARY, _NOW_OR_TOKEN, "503"),
            ),
        ),
    ),
)

METRICS = Group(
    "metrics",
    "Metrics",
    "For Prometheus.",
    (
        Operation(
            "/metrics",
            "metrics",
            "Every series of the service",
            (Answer("The series.", {PLAIN: str, OPENMETRICS: str}),),
            "OpenMetrics when `Accept` asks for it, else Prometheus' text format.",
        ),
    ),
)

LANDING = Group(
    "main",
    "Landing page",
    "For people.",
    (
        Operation(
            "/",
            "landingPage",
            "What is up, what is not and why",
            (Answer("The page.", {HTML: str}, _NOW_OR_TOKEN),),
            access=Access.DETAILS,
        ),
    ),
)

DESCRIPTION = Group(
    "docs",
    "API description",
    "What you are reading, for programs and for people.",
    (
        _lasting(
            "/api/openapi.json",
            "openapi",
            "The description as OpenAPI 3.1",
            {JSON: Annotated[dict[str, Any], Keywords(required=["openapi", "info", "paths"])]},
        ),
        _lasting("/api/docs", "docs", "The description as a page", {HTML: str}),
    ),
)

FILES = Group(
    None,
    "Files",
    "Style sheets and icons of the pages.",
    (
        Operation(
            "/static/{filename}",
            "staticFile",
            "One file",
            (
                Answer("The file.", {ANY_TYPE: Any}, _FILE),
                Answer("The part asked for.", {ANY_TYPE: Any}, (*_FILE, "Content-Range"), "206"),
                unchanged(*_TAGGED),
            ),
            # No parameter: whether a range can be satisfied is the file's length to say, so there
            # is no schema of the ranges that are answered.
            "A `Range` header (RFC 9110, section 14) gets that part of it.",
            parameters=(
                Parameter(
                    "path",
                    "filename",
                    "Which one.",
                    Annotated[str, Keywords(minLength=1, examples=["style.css", "icon.svg"])],
                    required=True,
                ),
                IF_NONE_MATCH,
                Parameter("header", "If-Modified-Since", "When the caller got it."),
            ),
            problems=("not_found", "requested_range_not_satisfiable"),
        ),
    ),
)
