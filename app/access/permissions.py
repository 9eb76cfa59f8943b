"""Who may change things and see details.

With no token configured reads are open and every change is refused. With one, changes and the
details of reads need it. Whoever presents wrong tokens is slowed down (:mod:`app.access.guessing`);
their reads are answered all the same, without the details.

A session of the pages (:mod:`app.access.sessions`) shows details as its token does. It changes
nothing but by a form of the pages, which another site cannot send.
"""

from __future__ import annotations

import hmac
import logging

from flask import current_app, g, request

from app.access.errors import ChangesDisabled, StrangeForm, TokenRequired, TooManyAttempts
from app.access.guessing import Access, Caller

logger = logging.getLogger(__name__)

SESSION_COOKIE = "auto_fix_session"


def details_allowed() -> bool:
    """Whether this request may see advice, addresses and history."""
    access: Access = current_app.extensions["access"]
    if not access.tokens.configured:
        return True
    # Most readers of cached health send no token.
    if "HTTP_AUTHORIZATION" in request.environ:
        return _caller(access).name is not None
    return "HTTP_COOKIE" in request.environ and session_name() is not None


def session_name() -> str | None:
    """The name of the token that this request's session stands for; None without a session."""
    access: Access = current_app.extensions["access"]
    return access.sessions.name_of(request.cookies.get(SESSION_COOKIE, ""))


def caller_name(token: str | None) -> str:
    """Whose a change is that a token has allowed, wherever it came from."""
    return f"token {token}"


def form_token() -> str:
    """What the forms of this session's pages have to send along."""
    access: Access = current_app.extensions["access"]
    return access.sessions.form_token(request.cookies.get(SESSION_COOKIE, ""))


def require_own_origin() -> None:
    """Refuse what a browser says to be sent by a page of another origin.

    Raises:
        AccessRefused: it says so.
    """
    # As the browser spells the host, too: host_url has an international name decoded.
    own = f"{request.scheme}://{request.host.lower()}"
    if request.headers.get("Origin", own) != own:
        raise StrangeForm


def require_form(given: str) -> None:
    """Let only a form through that this session's own page has sent.

    ``given`` is the token that the form has sent along. A browser that says of which origin the
    form is has to name this one.

    Raises:
        AccessRefused: changes are switched off, there is no session, or the form is a stranger's.
    """
    access: Access = current_app.extensions["access"]
    if not access.tokens.configured:
        raise ChangesDisabled
    name = session_name()
    if name is None:
        raise TokenRequired
    require_own_origin()
    if not hmac.compare_digest(given.encode(), form_token().encode()):
        raise StrangeForm
    fields = {"token": name, "method": request.method, "path": request.path}
    logger.info("change allowed", extra={"fields": fields})


def require_token() -> str:
    """Let only a request through that may change something; the name of its token.

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
    return caller.name


def _caller(access: Access) -> Caller:
    """Looked at once a request, so that one wrong token is one failure however often it counts."""
    if "caller" not in g:
        authorization = request.headers.get("Authorization", "")
        g.caller = access.identify(authorization, request.remote_addr)
    caller: Caller = g.caller
    return caller
