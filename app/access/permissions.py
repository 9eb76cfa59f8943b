"""Who may change things and see details (DESIGN section 4).

With no token configured reads are open and every change is refused. With one, changes and the
details of reads need it. Whoever presents wrong tokens is slowed down: see
:class:`app.access.guessing.FailedAttempts`. While a pause lasts nothing from that origin is
compared, or the pause would not slow guessing, so the right token has to wait as well: for 60 s at
most, because what is refused in a pause does not lengthen it. Reads are answered all the same,
without the details. Either way the failure is counted for ``/metrics``.
"""

from __future__ import annotations

import logging
from dataclasses import dataclass
from typing import NoReturn

from flask import abort, current_app, g, request

from app.access.guessing import origin_of
from app.services import Services
from app.telemetry.metrics import AuthenticationFailure
from app.web.problems import problem

logger = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Caller:
    """What is known of a request's bearer token: its name when it is right, the wait in a pause."""

    name: str | None = None
    wait: float = 0.0


_ANONYMOUS = Caller()


def details_allowed() -> bool:
    """Whether this request may see advice, addresses and history."""
    services: Services = current_app.extensions["services"]
    if not services.tokens.configured:
        return True
    # Most readers of cached health send no token.
    return "HTTP_AUTHORIZATION" in request.environ and _caller(services).name is not None


def require_token() -> None:
    """Let only a request through that may change something; the log says whose token it had.

    Raises:
        HTTPException: 403 when changes are switched off, 401 without the right token, 429 after
            too many wrong ones.
    """
    services: Services = current_app.extensions["services"]
    if not services.tokens.configured:
        abort(problem("changes_disabled"))
    caller = _caller(services)
    if caller.wait > 0:
        _refuse_for(caller.wait)
    if caller.name is None:
        _ask_for_token()
    fields = {"token": caller.name, "method": request.method, "path": request.path}
    logger.info("change allowed", extra={"fields": fields})


def _caller(services: Services) -> Caller:
    """Looked at once a request, so that one wrong token is one failure however often it counts."""
    if "caller" not in g:
        given = _bearer()
        g.caller = _identify(services, given) if given else _ANONYMOUS
    caller: Caller = g.caller
    return caller


def _bearer() -> str:
    scheme, _, given = request.headers.get("Authorization", "").partition(" ")
    return given.strip() if scheme.lower() == "bearer" else ""


def _identify(services: Services, given: str) -> Caller:
    origin = origin_of(request.remote_addr)
    wait = services.failures.pause(origin)
    if wait > 0:
        services.metrics.authentication_failure(AuthenticationFailure.PAUSED)
        return Caller(wait=wait)
    name = services.tokens.name_of(given)
    if name is not None:
        services.failures.succeeded(origin)
        return Caller(name=name)
    services.metrics.authentication_failure(AuthenticationFailure.WRONG)
    pause = services.failures.failed(origin)
    if pause > 0:
        fields = {"origin": origin, "seconds": pause}
        logger.warning("wrong tokens, none is looked at for a while", extra={"fields": fields})
    return _ANONYMOUS


def _refuse_for(seconds: float) -> NoReturn:
    abort(problem("too_many_attempts", retry_after=seconds))


def _ask_for_token() -> NoReturn:
    refusal = problem("token_required")
    refusal.headers["WWW-Authenticate"] = 'Bearer realm="auto-fix"'
    abort(refusal)
