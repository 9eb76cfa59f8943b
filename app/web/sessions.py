"""No sessions where nothing could sign them."""

from __future__ import annotations

from flask import Flask, Request, Response
from flask.sessions import NullSession, SessionInterface, SessionMixin


class NoSessions(SessionInterface):
    """One empty session for all requests, which refuses to be written to.

    Where there is no SECRET_KEY, Flask finds out for each request anew that there can be no other.
    """

    def __init__(self) -> None:
        self._session = NullSession()

    def open_session(self, app: Flask, request: Request) -> SessionMixin:  # noqa: ARG002
        """The empty one."""
        return self._session

    def save_session(self, app: Flask, session: SessionMixin, response: Response) -> None:
        """There is nothing to save, and no answer depends on a cookie."""


def init_app(app: Flask) -> None:
    """Keep Flask's sessions for an application that can sign them: a blueprint's business."""
    if not app.secret_key:
        app.session_interface = NoSessions()
