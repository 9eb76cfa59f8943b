"""Edge functions: which there are, how they are, and calling one."""

from __future__ import annotations

from typing import Annotated, Any

from app.description.operations import (
    ANY_STATUS,
    ANY_TYPE,
    BODY_PROBLEMS,
    Answer,
    Body,
    Group,
    Operation,
    Parameter,
    json_read,
)
from app.edge.calls import TIMEOUT_HEADER
from app.routes.bodies.edge_functions import EdgeHealth, EdgeList, EdgeMetrics, EdgeStatus, Name
from app.web.json_bodies import Keywords
from app.web.problem_table import CALLED, FAILED_CALLS

_PREFIX = "/api/edge-functions"
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


def _invoke(method: str, *, below: bool) -> Operation:
    posts = method == "post"
    path = Parameter("path", "path", "What is added to its address.", _Path, required=True)
    return Operation(
        f"{_PREFIX}/{{name}}/invoke" + ("/{path}" if below else ""),
        f"{method}Invoke" + ("Below" if below else ""),
        "Call a function" + (" at a path below its address" if below else ""),
        (
            Answer(
                "What the function answered, with any status from 200 to 599.",
                {ANY_TYPE: Any},
                (*CALLED, "Cache-Control"),
                ANY_STATUS,
            ),
        ),
        "Answers as the function does: its status, its body and an allow-list of its headers."
        " Redirects are not followed, cookies stay there. Authorization is not sent on.",
        method,
        (
            Parameter("path", "name", "Which function.", Name, required=True),
            *((path,) if below else ()),
            Parameter(
                "header",
                TIMEOUT_HEADER,
                "Seconds that the caller gives the call, such as `2.5`; what is no such number is"
                " ignored.",
                Annotated[str, Keywords(examples=["2.5"])],
            ),
        ),
        Body(
            "Sent on as it is, up to the function's `max_request` bytes.",
            media_type=ANY_TYPE,
            required=False,
        )
        if posts
        else None,
        (
            *("unknown_function", "method_not_allowed", "no_transport", "circuit_open"),
            "edge_saturated",
            *FAILED_CALLS.values(),
            *(("invalid_path", "not_found") if below else ()),
            *(BODY_PROBLEMS if posts else ()),
        ),
    )


EDGE_FUNCTIONS = Group(
    "edge_functions",
    "Edge functions",
    "Remote functions, called through circuit breakers and within limits.",
    (
        json_read(_PREFIX, "listEdgeFunctions", "The registered functions", EdgeList),
        json_read(
            f"{_PREFIX}/status",
            "edgeStatus",
            "How every function is",
            EdgeStatus,
            "Health, breakers and statistics over all workers; calls no function.",
        ),
        json_read(f"{_PREFIX}/metrics", "edgeMetrics", "What was counted", EdgeMetrics),
        *(
            json_read(
                f"{_PREFIX}/health-check",
                f"{method}EdgeHealthCheck",
                "Check every function now",
                EdgeHealth,
                "Calls all health paths concurrently; callers at the same time share one run.",
                method=method,
                problems=("no_transport", "edge_saturated", "rate_limited"),
            )
            for method in ("get", "post")
        ),
        *(_invoke(method, below=below) for below in (False, True) for method in ("get", "post")),
    ),
)
