"""Every problem that a client may be answered with (RFC 9457): the one table of them.

Views, the server below the application and the API's description read it. It needs the standard
library alone, so that the server can answer where Flask is missing. Closed sets are taken from the
code that owns them, so that none can grow unseen here.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, replace
from typing import Annotated

from app.edge.errors import EXPLANATIONS, ErrorKind
from app.healing.kind import Outcome
from app.kinds.standard import MEANINGS, OUTCOMES
from app.web.json_bodies import Keywords, encode

MEDIA_TYPE = "application/problem+json"


@dataclass(frozen=True, slots=True, kw_only=True)
class ProblemDetails:
    """Problem details (RFC 9457). No text of an exception is ever in one."""

    title: Annotated[str, "What kind of problem this is, the same each time."]
    status: Annotated[int, "The HTTP status.", Keywords(minimum=400, maximum=599)]
    detail: Annotated[str, "One sentence about this occurrence."]
    code: Annotated[str, "A stable word for programs.", Keywords(pattern="^[a-z][a-z0-9_]*$")]
    error: Annotated[str, "The same as `detail`."]


@dataclass(frozen=True, slots=True)
class Problem:
    """One kind of problem.

    ``meaning`` is a sentence that is safe to show, and the detail of an answer that has no better
    one; ``retry_after`` is the seconds after which to ask again where nothing says better.
    ``headers`` are the names of those that come along. ``members`` is the dataclass of what it adds
    to the members that every problem has.
    """

    status: int
    code: str
    meaning: str
    headers: tuple[str, ...] = ()
    retry_after: float | None = None
    members: type | None = None

    @property
    def title(self) -> str:
        """The code in words."""
        return self.code.replace("_", " ").capitalize()

    def document(self, detail: str | None = None, **members: object) -> str:
        """The body of an answer, which also carries ``error`` for callers of the older kind.

        Args:
            detail: one sentence about this occurrence, safe to show; the meaning without one.
            members: more members, JSON values.
        """
        detail = detail or self.meaning
        details = ProblemDetails(
            title=self.title, status=self.status, detail=detail, code=self.code, error=detail
        )
        return encode({**asdict(details), **members})


@dataclass(frozen=True, slots=True, kw_only=True)
class LoggedMembers:
    """What an unexpected failure says of itself."""

    id: Annotated[str, "Under which the log has the reason."]


@dataclass(frozen=True, slots=True, kw_only=True)
class QuarantineMembers:
    """What is said of a part of the service that is not available."""

    state: Annotated[str, "The address that tells more.", Keywords(format="uri-reference")]
    blueprint: Annotated[str | None, "The part of the service that is in quarantine."] = None
    needs_restart: Annotated[bool | None, "Whether only a new process can bring it back."] = None


@dataclass(frozen=True, slots=True, kw_only=True)
class HookMembers:
    """Whose hook failed."""

    blueprint: Annotated[str, "The part of the service whose hook failed."]


@dataclass(frozen=True, slots=True, kw_only=True)
class ProbeMembers:
    """Why a probe fails."""

    failed: Annotated[list[str], "The names of the critical checks that fail."]


@dataclass(frozen=True, slots=True, kw_only=True)
class CallMembers:
    """Which call of an edge function failed."""

    function: Annotated[str, "The function's name."]
    id: Annotated[str, "The call's X-Request-ID."]


_LATER = ("Retry-After",)
_ROWS = (
    # What the server refuses itself: it cannot be read, or does not come.
    Problem(400, "bad_request", "The request cannot be read."),
    Problem(408, "request_timeout", "The request did not arrive in time."),
    Problem(414, "uri_too_long", "The request line is too long."),
    Problem(417, "expectation_failed", "Only 100-continue can be expected."),
    Problem(431, "request_header_fields_too_large", "The header fields are too many or too large."),
    Problem(501, "not_implemented", "The transfer coding is not supported."),
    Problem(505, "http_version_not_supported", "This is not HTTP/1."),
    Problem(
        500,
        "internal_error",
        "The request failed unexpectedly; the log has the reason under this id.",
        members=LoggedMembers,
    ),
    # What any other path and any other method get, and a balancer that is not trusted.
    Problem(403, "forbidden", "This address may not speak the PROXY protocol."),
    Problem(404, "not_found", "There is no such address."),
    Problem(405, "method_not_allowed", "It is not called with this method.", ("Allow",)),
    # What one operation or another answers with.
    Problem(400, "fault_required", "The body must name a fault: its kind and its subject."),
    Problem(400, "incomplete_body", "The body broke off."),
    Problem(400, "invalid_json", "The body must be a JSON object."),
    Problem(400, "invalid_module_name", "This is no absolute module name."),
    Problem(400, "invalid_path", "The path has dot segments, backslashes or control characters."),
    Problem(400, "module_required", "No module is named."),
    Problem(401, "token_required", "This needs a valid bearer token.", ("WWW-Authenticate",)),
    Problem(403, "changes_disabled", "No token is configured, so nothing can be changed."),
    Problem(403, "other_caller", "Only who has asked for this fix may end it."),
    Problem(404, "nothing_to_confirm", "No fix of this subject waits for a confirmation."),
    Problem(404, "unknown_fault", "Nothing is known to be wrong with this subject."),
    Problem(404, "unknown_function", "No edge function of this name is registered."),
    Problem(409, "plan_changed", "What would be done is not what was approved: look again."),
    Problem(413, "content_too_large", "The body is larger than allowed."),
    Problem(415, "unsupported_media_type", "The body must be application/json."),
    Problem(416, "requested_range_not_satisfiable", "No such part of it.", ("Content-Range",)),
    Problem(429, "rate_limited", "This address has asked too often; it has to wait.", _LATER, 1),
    Problem(429, "too_many_attempts", "Wrong tokens came from here; it has to wait.", _LATER, 1),
    Problem(503, "no_transport", "Neither aiohttp nor requests can be imported.", _LATER, 30),
    Problem(503, "circuit_open", "The function fails, and is left alone for a while.", _LATER, 1),
    Problem(503, "edge_saturated", "As many calls are under way as there may be.", _LATER, 1),
    Problem(
        503,
        "hook_failed",
        "What a part of the service does for all requests has failed.",
        _LATER,
        5,
        HookMembers,
    ),
    Problem(503, "not_alive", "This process has to be replaced.", _LATER, 5, ProbeMembers),
    Problem(503, "not_ready", "Something critical is missing.", _LATER, 5, ProbeMembers),
    Problem(503, "not_started", "The imports of the start go on.", _LATER, 2, ProbeMembers),
)

#: By their codes.
PROBLEMS: Mapping[str, Problem] = {row.code: row for row in _ROWS}

#: Why a part of the service is in quarantine, or a request misses what it needs at that moment;
#: the reconciler looks twice a second.
QUARANTINE: Mapping[str, Problem] = {
    code: Problem(503, code, meaning, _LATER, 2, QuarantineMembers)
    for code, meaning in {
        **MEANINGS,
        "registration_failed": "This part cannot be registered.",
        "blueprint_missing": "This part defines no blueprint.",
        "crashed_import": "Importing this part ended the process.",
        "address_taken": "This part wants an address that belongs to the service itself.",
        "unavailable": "This part is not available.",
    }.items()
}


def quarantine_problem(code: str) -> Problem:
    """Why something is not available; a cause that the table does not list keeps its code."""
    return QUARANTINE.get(code) or replace(QUARANTINE["unavailable"], code=code)


_FIX_STATUS: Mapping[str, int] = {
    Outcome.BUDGET: 429,
    Outcome.BUSY: 503,
    Outcome.STOPPING: 503,
}
#: The ends of a request to fix that did not mend anything. Those that may end otherwise a moment
#: later have statuses that say so; the others are the caller's to resolve.
NOT_FIXED: Mapping[str, Problem] = {
    str(outcome): Problem(
        _FIX_STATUS.get(outcome, 409),
        str(outcome),
        f"{meaning[:1].upper()}{meaning[1:]}.",
        ("Retry-After?",),
    )
    for outcome, meaning in OUTCOMES.items()
    if outcome != Outcome.HEALED
}


def not_fixed(outcome: str) -> Problem:
    """Why a fix did not mend anything; an outcome that the table does not list keeps its code."""
    return NOT_FIXED.get(outcome) or replace(NOT_FIXED[Outcome.FAILED], code=outcome)


#: The headers of every answer to a call of an edge function.
CALLED = ("X-Edge-Function", "X-Edge-Transport", "X-Edge-Fallback-Reason?")
#: Why a call of an edge function brought no usable answer.
FAILED_CALLS: Mapping[ErrorKind, Problem] = {
    kind: Problem(
        504 if kind is ErrorKind.TIMEOUT else 502,
        f"edge_{kind}",
        explanation,
        CALLED,
        members=CallMembers,
    )
    for kind, explanation in EXPLANATIONS.items()
}
