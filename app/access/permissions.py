"""Who may change things and see details.

With no token configured reads are open and every change is refused. With one, changes and the
details of reads need it. Whoever presents wrong tokens is slowed down (:mod:`app.access.guessing`);
their reads are answered all the same, without the details.
"""

from __future__ import annotations

import logging

from flask import current_app, g, request

from app.access.errors import ChangesDisabled, TokenRequired, TooManyAttempts
from app.access.guessing import Access, Caller

logger = logging.getLogger(__name__)


def details_allowed() -> bool:
    """Whether this request may see advice, addresses and history."""
    access: Access = current_app.extensions["access"]
    if not access.tokens.configured:
        return True
    # Most readers of cached health send no token.
    return "HTTP_AUTHORIZATION" in request.environ and _caller(access).name is not None


def require_token() -> None:
    """Let only a request through that may change something; the log says whose token it had.

    Raises:
        AccessRefused: changes are switched off, or the right token is missing or has to wait.
    """
    access: Access = current_app.extensions["access"]
    if not access.tokens.configured:
        raise ChangesDisabled
    caller = _caller(access)
    if caller.wait > 0:
        raise TooManyAttempts(caller.wait)
    if caller.name is None:
        raise TokenRequired
    fields = {"token": caller.name, "method": request.method, "path": request.path}
    logger.info("change allowed", extra={"fields": fields})


def _caller(access: Access) -> Caller:
    """Looked at once a request, so that one wrong token is one failure however often it counts."""
    if "caller" not in g:
        authorization = request.headers.get("Authorization", "")
        g.caller = access.identify(authorization, request.remote_addr)
    caller: Caller = g.caller
    return caller
