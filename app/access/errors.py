"""Why a request is refused.

::

    AccessRefused
    ├── ChangesDisabled    no token is configured, so nothing can be changed over HTTP
    ├── TokenRequired      the right bearer token is missing
    ├── StrangeForm        a form was not sent by a page of the caller's own session
    ├── TooManyAttempts    too many wrong tokens came from this origin
    └── RateLimited        this origin has asked too often
"""

from __future__ import annotations

from app.settings.errors import OrchestratorError


class AccessRefused(OrchestratorError):
    """A request may not do what it asks for."""


class ChangesDisabled(AccessRefused):
    """No token is configured, so nothing can be changed over HTTP."""


class TokenRequired(AccessRefused):
    """The request has no bearer token, or a wrong one."""


class StrangeForm(AccessRefused):
    """The form comes from another site, or from a page that is older than the session."""


class TooManyAttempts(AccessRefused):
    """No token from this origin is looked at for another ``retry_after`` seconds."""

    def __init__(self, retry_after: float) -> None:
        super().__init__("too many wrong tokens")
        self.retry_after = retry_after


class RateLimited(AccessRefused):
    """This origin may ask for what makes work again after ``retry_after`` seconds."""

    def __init__(self, retry_after: float) -> None:
        super().__init__("asked too often")
        self.retry_after = retry_after
