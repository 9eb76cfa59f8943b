"""The pages beside the first screen: faults and their stories, and what there is to know.

They work without scripts. A GET changes nothing; a form changes something only for a session that
a token has begun.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Mapping
from http import HTTPStatus

from flask import Blueprint, Response, abort, current_app, redirect, request, url_for
from werkzeug.wrappers import Response as BaseResponse

from app.access.errors import AccessRefused
from app.access.guessing import Access
from app.access.permissions import (
    SESSION_COOKIE,
    caller_name,
    require_form,
    require_own_origin,
    session_name,
)
from app.access.sessions import LASTS
from app.healing.engine import PlanChanged, UnknownFault
from app.healing.ignored import MAX_REASON, Ignored
from app.healing.kind import NothingToConfirm, OtherCaller, Step
from app.pages import tables
from app.pages.answer import page
from app.pages.faults import overview
from app.pages.plots import BARS, HEIGHT, WIDTH, attempts_over_time
from app.services import Services
from app.settings.sources import Environment

pages_bp = Blueprint("pages", __name__)

MAX_FORM = 16 << 10
#: Attempts that a page lists, and those that its plot counts.
LISTED, PLOTTED = 100, 5000
#: For how long a fault may be ignored, in seconds; None until the lock changes.
ENDS: Mapping[str, int | None] = {"hour": 3600, "day": 86400, "lock": None}
MESSAGES: Mapping[str, str] = {
    "begun": "The fix has begun.",
    "changed": "The plan has changed since that page was made: look at it again.",
    "closed": "Nothing is wrong with it any more.",
    "open": "Looked again: it is still at fault.",
    "kept": "The fix stays.",
    "undone": "The fix is taken back.",
    "ended": "No fix waits for a confirmation any more.",
    "others": "Only who asked for the fix may confirm it or take it back.",
    "ignored": "It is ignored for now.",
    "unignored": "It is not ignored any more.",
    "unkept": "That could not be kept: the home cannot be written.",
}


@pages_bp.errorhandler(AccessRefused)
def _refused(error: AccessRefused) -> BaseResponse:  # noqa: ARG001 - whatever it was
    """Where to sign in, for who may not do what a form asked for."""
    return redirect(url_for("pages.sign_in", why="refused"), 303)


@pages_bp.get("/fault")
def fault() -> Response:
    """One fault: its plan, what was tried, and what can be done; also when it is closed."""
    kind, subject = request.args.get("kind", ""), request.args.get("subject", "")

    def build(services: Services, *, details: bool) -> dict[str, object]:
        states = current_app.extensions["blueprints"]
        attempts = services.fixer.history(LISTED, kind=kind, subject=subject)
        found = overview(services, states, details=details).of(kind, subject)
        known = services.fixer.kinds.get(kind)
        if not subject or (found is None and not attempts and known is None):
            abort(404)
        return {
            "kind": kind,
            "subject": subject,
            "fault": found,
            "every": 2 if found else 5,
            "until": services.fixer.unconfirmed().get((kind, subject.partition("#")[0])),
            "lasting": known is not None and bool(known.basis()),
            "steps": [str(step) for step in Step],
            "installs": kind == services.fixer.dependency.name,
            "message": MESSAGES.get(request.args.get("done", "")),
            "table": tables.attempts(attempts if details else ()),
        }

    return page("fault.html", build)


@pages_bp.get("/kinds/<name>")
def kind(name: str) -> Response:
    """What one kind of fault watches, and what is wrong with it."""

    def build(services: Services, *, details: bool) -> dict[str, object]:
        found = services.fixer.kinds.get(name)
        if found is None:
            abort(404)
        attempts = services.fixer.history(LISTED, kind=name) if details else ()
        measured = tables.measured(found) if details else None
        shown = (tables.subjects(found), measured, tables.attempts(attempts))
        return {"heading": f"Faults of {name}", "tables": [each for each in shown if each]}

    return page("tables.html", build)


@pages_bp.get("/blueprints")
def blueprints() -> Response:
    """The blueprints and what they need."""

    def build(services: Services, *, details: bool) -> dict[str, object]:  # noqa: ARG001
        states = current_app.extensions["blueprints"]
        both = (tables.blueprints(states), tables.needs(services.fixer))
        return {"heading": "Blueprints", "tables": both}

    return page("tables.html", build)


@pages_bp.get("/workers")
def workers() -> Response:
    """What each worker of this host serves, and what it runs now."""

    def build(services: Services, *, details: bool) -> dict[str, object]:  # noqa: ARG001
        return {"heading": "Workers", "tables": (tables.workers(services.workers.read()),)}

    return page("tables.html", build)


@pages_bp.get("/edge-functions")
def edge_functions() -> Response:
    """The edge functions: their checks, calls and latencies."""

    def build(services: Services, *, details: bool) -> dict[str, object]:  # noqa: ARG001
        return {"heading": "Edge functions", "tables": (tables.edge_functions(services.edge),)}

    return page("tables.html", build)


@pages_bp.get("/history")
def history() -> Response:
    """The attempts to heal, of one kind, subject or outcome if asked for, with a plot of them."""
    chosen = {name: request.args.get(name, "") for name in ("kind", "subject", "outcome")}

    def build(services: Services, *, details: bool) -> dict[str, object]:
        found = services.fixer.history(PLOTTED, **chosen)
        return {
            "chosen": chosen,
            "plot": attempts_over_time(found, time.time()),
            "bars": BARS,
            "width": WIDTH,
            "height": HEIGHT,
            "table": tables.attempts(found[:LISTED] if details else ()),
        }

    return page("history.html", build)


@pages_bp.get("/settings")
def settings() -> Response:
    """The settings of the service and where each comes from; no values."""

    def build(services: Services, *, details: bool) -> dict[str, object]:  # noqa: ARG001
        found = (tables.settings(Environment.of({**os.environ})),) if details else ()
        lead = "" if details else "Sign in to see them."
        return {"heading": "Settings", "lead": lead, "tables": found}

    return page("tables.html", build)


@pages_bp.get("/layers")
def layers() -> Response:
    """What runs only because it was healed."""

    def build(services: Services, *, details: bool) -> dict[str, object]:
        found = (tables.layers(services.fixer.fixes()),) if details else ()
        lead = "Deleting AUTO_FIX_HOME while the service is stopped undoes all of it."
        return {"heading": "Layers", "lead": lead, "tables": found}

    return page("tables.html", build)


@pages_bp.post("/fault")
def act() -> BaseResponse:
    """Carry out a fault's plan, look at it again, or ignore it; for a session's own forms alone."""
    request.max_content_length = MAX_FORM
    form = request.form
    require_form(form.get("form_token", ""))
    services: Services = current_app.extensions["services"]
    kind, subject = form.get("kind", ""), form.get("subject", "")
    actions: dict[str, Callable[[], str]] = {
        "fix": lambda: _fix(services, kind, subject, form.get("plan", "")),
        "keep": lambda: _confirm(services, kind, subject, keep=True),
        "undo": lambda: _confirm(services, kind, subject, keep=False),
        "check": lambda: _check(services, kind, subject),
        "ignore": lambda: _ignore(services, kind, subject, form),
        "unignore": lambda: _unignore(services, kind, subject),
    }
    action = actions.get(form.get("action", ""))
    if action is None:
        abort(400)
    try:
        done = action()
    except UnknownFault:
        done = "closed"
    except PlanChanged:
        done = "changed"
    except OtherCaller:
        done = "others"
    except NothingToConfirm:
        done = "ended"
    except OSError:
        done = "unkept"
    return redirect(url_for("pages.fault", kind=kind, subject=subject, done=done), 303)


@pages_bp.get("/sign-in")
def sign_in() -> Response:
    """The form that begins a session."""
    message = "Sign in to change something." if "why" in request.args else None
    return page("sign_in.html", lambda *_, **__: {"message": message})


@pages_bp.post("/sign-in")
def begin_session() -> BaseResponse:
    """Begin a session for who sends a token; who guesses has to wait, as everywhere."""
    request.max_content_length = MAX_FORM
    require_own_origin()
    services: Services = current_app.extensions["services"]
    access = services.access
    caller = access.identify(f"Bearer {request.form.get('token', '')}", request.remote_addr)
    cookie = access.sessions.begin(caller.name) if caller.name else None
    if cookie is None:
        message = "This token does not count."
        if caller.wait > 0:
            message = f"Too many wrong tokens: wait {caller.wait:.0f} seconds."
        elif caller.name:
            message = "No session can be begun: the home cannot be written."
        return page(
            "sign_in.html", lambda *_, **__: {"message": message}, status=HTTPStatus.FORBIDDEN
        )
    answer = _to_first_screen()
    answer.set_cookie(
        SESSION_COOKIE,
        cookie,
        max_age=LASTS,
        secure=request.is_secure,
        httponly=True,
        samesite="Strict",
    )
    return answer


@pages_bp.post("/sign-out")
def sign_out() -> BaseResponse:
    """End this browser's session."""
    request.max_content_length = MAX_FORM
    require_form(request.form.get("form_token", ""))
    access: Access = current_app.extensions["access"]
    access.sessions.end(request.cookies[SESSION_COOKIE])
    answer = _to_first_screen()
    answer.delete_cookie(SESSION_COOKIE, httponly=True, samesite="Strict")
    return answer


def _to_first_screen() -> BaseResponse:
    """Lead to the first screen; to the first page of these where another serves that, or none."""
    there = "main.index" in current_app.view_functions
    return redirect(url_for("main.index" if there else "pages.blueprints"), 303)


def _fix(services: Services, kind: str, subject: str, plan: str) -> str:
    services.fixer.begin_fix(kind, subject, plan, caller_name(session_name()))
    return "begun"


def _confirm(services: Services, kind: str, subject: str, *, keep: bool) -> str:
    """Keep a fix that waits for it, or take it back."""
    services.fixer.confirm(kind, subject, caller_name(session_name()), keep=keep)
    return "kept" if keep else "undone"


def _check(services: Services, kind: str, subject: str) -> str:
    still = services.fixer.recheck(kind, subject)
    services.health.refresh()
    return "closed" if still is None else "open"


def _ignore(services: Services, kind: str, subject: str, form: Mapping[str, str]) -> str:
    """Ignore a fault for as long as a form says, for the reason that it gives."""
    fixer, now = services.fixer, time.time()
    found, reason = fixer.fault(kind, subject), form.get("reason", "").strip()
    seconds = ENDS.get(form.get("ends", ""), 0)
    basis = fixer.kinds[kind].basis() if seconds is None else ""
    if not reason or not (seconds or basis):
        abort(400)
    choice = Ignored(
        kind=kind,
        subject=subject,
        cause=found.cause,
        reason=reason[:MAX_REASON],
        by=session_name() or "",
        at=now,
        until=None if seconds is None else now + seconds,
        basis=basis,
    )
    fixer.ignored.add(choice)
    return "ignored"


def _unignore(services: Services, kind: str, subject: str) -> str:
    found = services.fixer.fault(kind, subject)
    services.fixer.ignored.remove(kind, subject, found.cause)
    return "unignored"
