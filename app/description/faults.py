"""Every problem that the API answers with: its status, its code, what it means.

Closed sets are taken from the code that owns them, so that none can grow here unseen.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from app.description.schemas import Schema, flag, listed, maybe, ref, text
from app.edge import EXPLANATIONS, ErrorKind
from app.healing.kind import ADVICE, Outcome
from app.kinds.dependency.catalog import INSTALL_ADVICE
from app.kinds.dependency.diagnosis import Cause

PROBLEM_JSON = "application/problem+json"


@dataclass(frozen=True, slots=True)
class Fault:
    """One kind of problem.

    ``members`` are those that it adds to the ones of every problem; ``headers`` names what it
    sends along. One that is not ``answered`` by the application may come from the server, for a
    request that never reached it.
    """

    status: int
    code: str
    meaning: str
    members: Mapping[str, Schema] = field(default_factory=dict)
    headers: tuple[str, ...] = ()
    answered: bool = True


#: What each cause means for somebody who only asked for a page.
_CAUSES: Mapping[Cause, str] = {
    Cause.MISSING_DISTRIBUTION: "A package that this part needs is not installed.",
    Cause.MISSING_SUBMODULE: "A package is there, and a part of it is not.",
    Cause.MISSING_ATTRIBUTE: "A package is too old or too new for what is asked of it.",
    Cause.BROKEN_EXTENSION: "A package's compiled code cannot be loaded here.",
    Cause.PARTIAL_INSTALL: "A package is installed in part.",
    Cause.FIRST_PARTY_MISSING: "A module of the service's own is missing.",
    Cause.STDLIB_MISSING: "A module of the standard library is missing from this Python.",
    Cause.CIRCULAR_IMPORT: "Modules wait for each other to be imported.",
    Cause.SHADOWED: "A local file hides a package.",
    Cause.CODE_ERROR: "A module failed while it was imported.",
    Cause.CRASHED_PROBE: "A package that was installed crashes when it is imported.",
}
_STATE_LINK = text("The address that tells more.", format="uri-reference")
_QUARANTINE = {
    "state": _STATE_LINK,
    "blueprint": text("The part of the service that is in quarantine."),
    "needs_restart": flag("Whether only a new process can bring it back."),
}
_LATER = ("Retry-After",)

#: What the server itself refuses: it cannot be read, or does not come.
REFUSED = (
    Fault(400, "bad_request", "The request cannot be read.", answered=False),
    Fault(408, "request_timeout", "The request did not arrive in time.", answered=False),
    Fault(414, "uri_too_long", "The request line is too long.", answered=False),
    Fault(417, "expectation_failed", "Only 100-continue can be expected.", answered=False),
    Fault(
        431,
        "request_header_fields_too_large",
        "There are too many header fields, or too large ones.",
        answered=False,
    ),
    Fault(501, "not_implemented", "The transfer coding is not supported.", answered=False),
    Fault(505, "http_version_not_supported", "This is not HTTP/1.", answered=False),
)
INTERNAL_ERROR = Fault(
    500,
    "internal_error",
    "The request failed unexpectedly; the log has the reason under the id.",
    {"id": text("Under which the log has the reason.")},
    answered=False,
)
#: Any part of the service may be in quarantine, or miss a module at the moment that it needs it.
QUARANTINE = (
    *(Fault(503, cause, meaning, _QUARANTINE, _LATER) for cause, meaning in _CAUSES.items()),
    Fault(503, "registration_failed", "This part cannot be registered.", _QUARANTINE, _LATER),
    Fault(503, "blueprint_missing", "This part defines no blueprint.", _QUARANTINE, _LATER),
    Fault(503, "unavailable", "This part is not available.", _QUARANTINE, _LATER),
)
NO_SUCH_PATH = Fault(404, "not_found", "There is no such path.")
#: What any other path and any other method get, and a balancer that is not trusted.
OTHERWISE = (
    Fault(403, "forbidden", "This address may not speak the PROXY protocol.", answered=False),
    NO_SUCH_PATH,
    Fault(405, "method_not_allowed", "The path has no such method.", headers=("Allow",)),
)
#: What every operation may answer with, whatever it is.
ANY = (*REFUSED, INTERNAL_ERROR, *QUARANTINE)

_FAILED = {"failed": listed(text(), "The names of the critical checks that fail.")}
NOT_ALIVE = Fault(503, "not_alive", "This process has to be replaced.", _FAILED, _LATER)
NOT_READY = Fault(503, "not_ready", "A critical check fails.", _FAILED, _LATER)

MODULE_REQUIRED = Fault(400, "module_required", "No module is named.")
INVALID_MODULE_NAME = Fault(400, "invalid_module_name", "This is no absolute module name.")
NOT_JSON = Fault(415, "unsupported_media_type", "The body does not say that it is JSON.")
INVALID_JSON = Fault(400, "invalid_json", "The body is no JSON object.")
CONTENT_TOO_LARGE = Fault(413, "content_too_large", "The body is larger than allowed.")
INCOMPLETE_BODY = Fault(400, "incomplete_body", "The body broke off.")
BODY_TOO_SLOW = Fault(408, "request_timeout", "The body did not arrive in time.")
#: What a body that is read may be guilty of, whatever it says.
BODY = (CONTENT_TOO_LARGE, INCOMPLETE_BODY, BODY_TOO_SLOW)
CHANGES_DISABLED = Fault(
    403, "changes_disabled", "No token is configured, so nothing can be changed over HTTP."
)
TOKEN_REQUIRED = Fault(
    401, "token_required", "This needs a valid bearer token.", headers=("WWW-Authenticate",)
)
TOO_MANY_ATTEMPTS = Fault(
    429,
    "too_many_attempts",
    "Wrong tokens came from this address; none is looked at for a while.",
    headers=_LATER,
)
RATE_LIMITED = Fault(
    429,
    "rate_limited",
    "This address has asked for it too often; it may again after a while.",
    headers=_LATER,
)
CHANGE = (CHANGES_DISABLED, TOKEN_REQUIRED, TOO_MANY_ATTEMPTS)

_NOT_FIXED = {
    "module": text("The module that was asked for."),
    "success": flag("False: it cannot be imported."),
    "healed": flag("Whether something has been installed all the same."),
    "available": flag("Whether it is installed."),
    "type": {"type": "null"},
    "diagnosis": maybe(ref("Diagnosis")),
    "note": text("Why a module that is installed was not imported."),
}
_FIX_STATUS: Mapping[str, int] = {Outcome.BUDGET: 429, Outcome.BUSY: 503}
#: The ends of a wish to fix that did not mend anything.
NOT_FIXED = tuple(
    Fault(
        _FIX_STATUS.get(outcome, 409),
        outcome,
        f"{meaning[:1].upper()}{meaning[1:]}.",
        _NOT_FIXED,
        ("Retry-After?",),
    )
    for outcome, meaning in {**ADVICE, **INSTALL_ADVICE}.items()
    if outcome is not Outcome.HEALED
)

UNKNOWN_FUNCTION = Fault(404, "unknown_function", "No edge function of this name is registered.")
INVALID_PATH = Fault(
    400, "invalid_path", "The path has dot segments, backslashes or control characters."
)
FUNCTION_METHOD = Fault(
    405, "method_not_allowed", "This function is called with another method.", headers=("Allow",)
)
NO_TRANSPORT = Fault(
    503, "no_transport", "Neither aiohttp nor requests can be imported.", headers=_LATER
)
CIRCUIT_OPEN = Fault(
    503, "circuit_open", "The function fails, and is left alone for a while.", headers=_LATER
)
SATURATED = Fault(
    503, "edge_saturated", "As many edge calls are under way as there may be.", headers=_LATER
)
#: Why a call of a function brought no usable answer.
FAILED_CALL = tuple(
    Fault(
        504 if kind is ErrorKind.TIMEOUT else 502,
        f"edge_{kind}",
        explanation,
        {"function": text("The function's name."), "id": text("The call's X-Request-ID.")},
        ("X-Edge-Function", "X-Edge-Transport", "X-Edge-Fallback-Reason?"),
    )
    for kind, explanation in EXPLANATIONS.items()
)

NO_SUCH_FILE = Fault(404, "not_found", "There is no such file.")
