"""Edge functions: which there are, how they are, and calling one."""

from __future__ import annotations

from typing import Annotated, Any

from app.description.operations import (
    ANY_STATUS,
    ANY_TYPE,
    BODY_PROBLEMS,
    JSON,
    Access,
    Answer,
    Body,
    Group,
    Operation,
    Parameter,
)
from app.edge.headers import TIMEOUT_HEADER
from app.routes.bodies.edge_functions import EdgeHealth, EdgeList, EdgeMetrics, EdgeStatus, Name
from app.web.json_bodies import Keywords
from app.web.problem_table import FAILED_CALLS

#: One segment or more, none of them a dot segment, without backslashes and control characters.
_Path = Annotated[
    str,
    Keywords(
        minLength=1,
        pattern=r"^[^/\\\u0000-\u001f\u007f][^\\\u0000-\u001f\u007f]*$",
        examples=["v1/items"],
        **{"not": {"pattern": r"(^|/)\.\.?(/|$)"}},
    ),
]


def _read(
    path: str,
    name: str,
    summary: str,
    body: type,
    *,
    method: str = "get",
    description: str = "",
    problems: tuple[str, ...] = (),
) -> Operation:
    answer = Answer(description="As of now.", content={JSON: body}, headers=("Cache-Control",))
    return Operation(
        method=method,
        path=f"/api/edge-functions{path}",
        name=name,
        summary=summary,
        description=description,
        access=Access.DETAILS,
        answers=(answer,),
        problems=problems,
    )


def _invoke(method: str, *, below: bool) -> Operation:
    posts = method == "post"
    parameters = [
        Parameter(
            place="path", name="name", kind=Name, description="Which function.", required=True
        ),
        Parameter(
            place="path",
            name="path",
            kind=_Path,
            description="What is added to its address.",
            required=True,
        ),
        Parameter(
            place="header",
            name=TIMEOUT_HEADER,
            kind=Annotated[str, Keywords(examples=["2.5"])],
            description=(
                "Seconds that the caller gives the call, such as `2.5`; what is no such number is"
                " ignored."
            ),
        ),
    ]
    if not below:
        del parameters[1]
    return Operation(
        method=method,
        path="/api/edge-functions/{name}/invoke" + ("/{path}" if below else ""),
        name=f"{method}Invoke" + ("Below" if below else ""),
        summary="Call a function" + (" at a path below its address" if below else ""),
        description=(
            "Answers as the function does: its status, its body and an allow-list of its headers."
            " Redirects are not followed, cookies stay there. Authorization is not sent on."
        ),
        parameters=tuple(parameters),
        body=Body(
            description="Sent on as it is, up to the function's `max_request` bytes.",
            media_type=ANY_TYPE,
            required=False,
        )
        if posts
        else None,
        answers=(
            Answer(
                status=ANY_STATUS,
                description="What the function answered, with any status from 200 to 599.",
                content={ANY_TYPE: Any},
                headers=(
                    *("X-Edge-Function", "X-Edge-Transport", "X-Edge-Fallback-Reason?"),
                    "Cache-Control",
                ),
            ),
        ),
        problems=(
            *("unknown_function", "method_not_allowed", "no_transport", "circuit_open"),
            "edge_saturated",
            *FAILED_CALLS.values(),
            *(("invalid_path", "not_found") if below else ()),
            *(BODY_PROBLEMS if posts else ()),
        ),
    )


EDGE_FUNCTIONS = Group(
    blueprint="edge_functions",
    title="Edge functions",
    description="Remote functions, called through circuit breakers and within limits.",
    operations=(
        _read("", "listEdgeFunctions", "The registered functions", EdgeList),
        _read(
            "/status",
            "edgeStatus",
            "How every function is",
            EdgeStatus,
            description="Health, breakers and statistics over all workers; calls no function.",
        ),
        _read("/metrics", "edgeMetrics", "What was counted", EdgeMetrics),
        *(
            _read(
                "/health-check",
                f"{method}EdgeHealthCheck",
                "Check every function now",
                EdgeHealth,
                method=method,
                description=(
                    "Calls all health paths concurrently; callers at the same time share one run."
                ),
                problems=("no_transport", "edge_saturated", "rate_limited"),
            )
            for method in ("get", "post")
        ),
        *(_invoke(method, below=below) for below in (False, True) for method in ("get", "post")),
    ),
)
