"""Edge functions: which there are, how they are, and calling one."""

from __future__ import annotations

from app.description.faults import (
    BODY,
    CIRCUIT_OPEN,
    FAILED_CALL,
    FUNCTION_METHOD,
    INVALID_PATH,
    NO_SUCH_PATH,
    NO_TRANSPORT,
    RATE_LIMITED,
    SATURATED,
    UNKNOWN_FUNCTION,
)
from app.description.operations import (
    JSON,
    Access,
    Answer,
    Group,
    Operation,
    header,
    path_part,
)
from app.description.schemas import (
    ANYTHING,
    Schema,
    flag,
    listed,
    maybe,
    moment,
    number,
    one_of,
    ref,
    shape,
    share,
    table,
    text,
    whole,
)
from app.edge import ErrorKind, HealthState
from app.edge.breaker import BreakerState
from app.edge.functions import Priority
from app.edge.headers import TIMEOUT_HEADER
from app.edge.rules import LONGEST_TIMEOUT, MAX_TEXT, MOST_CONCURRENCY, MOST_RETRIES, NAME
from app.edge.statistics import PERCENTILES
from app.edge.store import WINDOWS
from app.edge.transports import AIOHTTP_UNAVAILABLE, EVENTLET_WORKER

_TRANSPORT = maybe(one_of(("aiohttp", "requests"), "What calls are made with; null: none can be."))
_NAME = text(pattern=f"^{NAME.pattern}$", examples=["orders"])
#: One segment or more, none of them a dot segment, without backslashes and control characters.
_PATH = {
    **text(
        minLength=1,
        pattern=r"^[^/\\\u0000-\u001f\u007f][^\\\u0000-\u001f\u007f]*$",
        examples=["v1/items"],
    ),
    "not": {"pattern": r"(^|/)\.\.?(/|$)"},
}

_FUNCTION = {
    "name": _NAME,
    "category": text(),
    "priority": one_of(Priority),
    "description": text(maxLength=MAX_TEXT),
    "tags": listed(text()),
    "health_status": listed(
        whole(minimum=200, maximum=599), "What counts as healthy; empty: 200 to 299."
    ),
    "method": maybe(text("The method it is called with; null: the caller's.")),
    "timeout": number("Seconds that a call may take.", maximum=LONGEST_TIMEOUT),
    "retries": whole(maximum=MOST_RETRIES),
    "concurrency": maybe(whole(minimum=1, maximum=MOST_CONCURRENCY)),
    "max_request": whole("Bytes."),
    "max_response": whole("Bytes."),
    "stream": flag("Whether its answers are passed on as they come."),
}
_SECRET = {
    "url": text("With the token only.", format="uri"),
    "health_path": text("With the token only."),
    "headers": listed(text(), "The names of the headers it is sent; with the token only."),
}
_FAULT = shape(
    "One fault of the registry file.",
    {"line": maybe(whole(minimum=1)), "message": text()},
)
_OVERVIEW = {
    "transport": _TRANSPORT,
    "fallback_reason": maybe(
        one_of(
            (AIOHTTP_UNAVAILABLE, EVENTLET_WORKER, "no_transport"),
            "Why it is not the first choice.",
        )
    ),
    "configuration": shape(
        "The registry file.",
        {
            "state": one_of(("valid", "none", "invalid")),
            "faults": listed(_FAULT, "What is wrong with it; with the token only."),
        },
    ),
    "total": whole("How many functions are registered."),
}
_COUNTS = {str(state): whole(f"How many functions are {state}.") for state in HealthState}
_CHECKED = shape(
    "A function's last health check, and the state that its checks amount to.",
    {
        "name": _NAME,
        "healthy": flag("What this check found."),
        "state": one_of(HealthState),
        "streak": whole("How many checks in a row had this result.", minimum=1),
        "status": maybe(whole("What it answered.", minimum=100, maximum=999)),
        "error": maybe(one_of(ErrorKind, "Why it did not answer.")),
        "milliseconds": number(),
        "checked_at": moment("When."),
    },
)
_BREAKER = shape(
    "Its circuit breaker over all workers.",
    {
        "state": one_of(BreakerState, "The worst of all workers."),
        "workers": table(whole(), "How many workers are in which state."),
    },
)
_LATENCY = {name: maybe(number()) for name in PERCENTILES}
_UPTIME = {name: maybe(share("Of the checks in this time.")) for name in WINDOWS}
_STATISTICS = shape(
    "Counts over all workers, restarts included.",
    {
        "calls": whole(),
        "ok": whole(),
        "errors": table(whole(), "How many calls ended otherwise, by how."),
        "latency_ms": shape("Milliseconds; null before the first call.", _LATENCY),
        "uptime": shape("The share of health checks that went well.", _UPTIME),
    },
)
_LANE = shape(
    "A function in one worker.",
    {
        "breaker": one_of(BreakerState),
        "retry_after": number("Seconds until it is tried again."),
        "limit": whole("Calls that may be under way."),
        "in_flight": whole("Calls that are."),
    },
)
_WORKER = shape(
    "What one worker says of itself.",
    {
        "host": text(),
        "pid": whole(minimum=1),
        "transport": _TRANSPORT,
        "functions": table(_LANE, "Those of which there is something to tell."),
    },
)
_WATCHED = {
    **_FUNCTION,
    "health": {"anyOf": [ref("EdgeCheck"), {"type": "null"}]},
    "breaker": _BREAKER,
    "statistics": ref("EdgeStatistics"),
}
_SCHEMAS = {
    "EdgeCheck": _CHECKED,
    "EdgeStatistics": _STATISTICS,
    "EdgeList": shape(
        "The registered functions.",
        {**_OVERVIEW, "functions": listed(shape("One function.", _FUNCTION, _SECRET))},
    ),
    "EdgeStatus": shape(
        "The functions with their health, breakers and statistics.",
        {
            **_OVERVIEW,
            **_COUNTS,
            "workers": listed(_WORKER),
            "functions": listed(shape("One function.", _WATCHED, _SECRET)),
        },
    ),
    "EdgeMetrics": shape(
        "Counts, latencies and uptime of each function.",
        {**_OVERVIEW, "functions": table(ref("EdgeStatistics"), "By name.")},
    ),
    "EdgeHealth": shape(
        "The health of every function, checked now.",
        {**_OVERVIEW, **_COUNTS, "results": listed(ref("EdgeCheck"))},
    ),
}

_INVOKE = (
    "Answers as the function does: its status, its body and an allow-list of its headers."
    " Redirects are not followed, cookies stay there. Authorization is not sent on."
)
_ASKED = (
    header(
        TIMEOUT_HEADER,
        "Seconds that the caller gives the call, such as `2.5`; what is no such number is ignored.",
        text(examples=["2.5"]),
    ),
)
_RETURNED = ("X-Edge-Function", "X-Edge-Transport", "X-Edge-Fallback-Reason?", "Cache-Control")
_BODY: Schema = {
    "description": "Sent on as it is, up to the function's `max_request` bytes.",
    "required": False,
    "content": {"*/*": {}},
}


def _read(path: str, name: str, summary: str, schema: str, description: str = "") -> Operation:
    return Operation(
        path=f"/api/edge-functions{path}",
        name=name,
        summary=summary,
        description=description,
        access=Access.DETAILS,
        answers=(
            Answer(
                description="As of now.", content={JSON: ref(schema)}, headers=("Cache-Control",)
            ),
        ),
    )


def _health_check(method: str) -> Operation:
    return Operation(
        method=method,
        path="/api/edge-functions/health-check",
        name=f"{method}EdgeHealthCheck",
        summary="Check every function now",
        description="Calls all health paths concurrently; callers at the same time share one run.",
        access=Access.DETAILS,
        answers=(
            Answer(
                description="How each function is, whatever that is.",
                content={JSON: ref("EdgeHealth")},
                headers=("Cache-Control",),
            ),
        ),
        faults=(NO_TRANSPORT, SATURATED, RATE_LIMITED),
    )


def _invoke(method: str, *, below: bool) -> Operation:
    posts = method == "post"
    faults = (
        UNKNOWN_FUNCTION,
        FUNCTION_METHOD,
        NO_TRANSPORT,
        CIRCUIT_OPEN,
        SATURATED,
        *FAILED_CALL,
    )
    return Operation(
        method=method,
        path="/api/edge-functions/{name}/invoke" + ("/{path}" if below else ""),
        name=f"{method}Invoke" + ("Below" if below else ""),
        summary="Call a function" + (" at a path below its address" if below else ""),
        description=_INVOKE,
        parameters=(
            path_part("name", "Which function.", _NAME),
            *((path_part("path", "What is added to its address.", _PATH),) if below else ()),
            *_ASKED,
        ),
        body=_BODY if posts else None,
        answers=(
            Answer(
                status="default",
                description="What the function answered, with any status from 200 to 599.",
                content={"*/*": ANYTHING},
                headers=_RETURNED,
            ),
        ),
        faults=(
            *faults,
            *((INVALID_PATH, NO_SUCH_PATH) if below else ()),
            *(BODY if posts else ()),
        ),
    )


EDGE_FUNCTIONS = Group(
    blueprint="edge_functions",
    title="Edge functions",
    description="Remote functions, called through circuit breakers and within limits.",
    schemas=_SCHEMAS,
    operations=(
        _read("", "listEdgeFunctions", "The registered functions", "EdgeList"),
        _read(
            "/status",
            "edgeStatus",
            "How every function is",
            "EdgeStatus",
            "Health, breakers and statistics over all workers; calls no function.",
        ),
        _read("/metrics", "edgeMetrics", "What was counted", "EdgeMetrics"),
        _health_check("get"),
        _health_check("post"),
        _invoke("get", below=False),
        _invoke("post", below=False),
        _invoke("get", below=True),
        _invoke("post", below=True),
    ),
)
