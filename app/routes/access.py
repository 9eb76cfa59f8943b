"""Who may change things and see details (DESIGN section 4).

With no token configured reads are open and every change is refused. With one, changes and the
details of reads need it.
"""

from __future__ import annotations

import hmac

from flask import abort, current_app, request

from app.config import Settings
from app.routes.problems import problem


def details_allowed() -> bool:
    """Whether this request may see advice, addresses and history."""
    token = _token()
    return token is None or _bears(token)


def require_token() -> None:
    """Let only a request through that may change something.

    Raises:
        HTTPException: 403 when changes are switched off, 401 without the right token.
    """
    token = _token()
    if token is None:
        abort(
            problem(
                403,
                "changes_disabled",
                "Changes are switched off",
                "Set AUTO_FIX_TOKEN to allow changes over HTTP.",
            )
        )
    if not _bears(token):
        refusal = problem(
            401, "token_required", "Token required", "This needs the right bearer token."
        )
        refusal.headers["WWW-Authenticate"] = 'Bearer realm="auto-fix"'
        abort(refusal)


def _token() -> str | None:
    settings: Settings = current_app.config["SETTINGS"]
    return settings.token


def _bears(token: str) -> bool:
    scheme, _, given = request.headers.get("Authorization", "").partition(" ")
    # Bytes, because text outside ASCII cannot be compared in constant time.
    matches = hmac.compare_digest(given.strip().encode(errors="replace"), token.encode())
    return matches and scheme.lower() == "bearer"
