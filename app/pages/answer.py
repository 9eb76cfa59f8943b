"""How a page is answered: made once a second at most, 304 for who has it already."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from http import HTTPStatus

from flask import Response, current_app, render_template, request, url_for

from app.access.permissions import SESSION_COOKIE, details_allowed, form_token, session_name
from app.healing.report import timestamp
from app.pages.cache import PageCache
from app.pages.text import shown, visible
from app.routes.bodies import VERSION
from app.services import Services
from app.web.headers import PAGES_HEADERS

#: The pages that the navigation leads to, as far as they are served.
NAVIGATION = (
    ("Now", "main.index"),
    ("Blueprints", "pages.blueprints"),
    ("Workers", "pages.workers"),
    ("Edge functions", "pages.edge_functions"),
    ("History", "pages.history"),
    ("Settings", "pages.settings"),
    ("Layers", "pages.layers"),
)

#: Makes what a template is filled with: ``build(services, details=…)``.
Build = Callable[..., Mapping[str, object]]


def page(template: str, build: Build, *, status: int = HTTPStatus.OK) -> Response:
    """A page as it was made within the last second; one that is no 200 is made anew."""
    services: Services = current_app.extensions["services"]
    details, name = details_allowed(), session_name()
    session = request.cookies.get(SESSION_COOKIE, "") if name else ""

    def make() -> str:
        current_app.jinja_env.filters.update(
            shown=shown, visible=visible, timestamp=timestamp, duration=_duration
        )
        return render_template(
            f"pages/{template}",
            **build(services, details=details),
            address=_address,
            # Made once: the first screen may lead to hundreds of them.
            fault_page=_address("pages.fault"),
            details=details,
            session_name=name,
            form_token=form_token() if name else "",
            tokens=services.access.tokens.configured,
            navigation=_navigation(services),
            version=VERSION,
        )

    if status != HTTPStatus.OK:
        return Response(make(), status, mimetype="text/html", headers=PAGES_HEADERS)
    pages: PageCache = current_app.extensions.setdefault("pages", PageCache())
    made = pages.get((request.script_root, request.full_path, details, session), make)
    response = Response(made.content, mimetype="text/html", headers=PAGES_HEADERS)
    response.set_etag(made.tag)
    response.make_conditional(request)
    return response


def _navigation(services: Services) -> list[tuple[str, str]]:
    """The pages that are served, then one for each kind of fault."""
    served = [(text, _address(name)) for text, name in NAVIGATION]
    served += [
        (name.capitalize(), _address("pages.kind", name=name)) for name in services.fixer.kinds
    ]
    return [(text, address) for text, address in served if address != "#"]


def _address(endpoint: str, **values: object) -> str:
    """Where a page is; where its blueprint is in quarantine, here."""
    return url_for(endpoint, **values) if endpoint in current_app.view_functions else "#"  # type: ignore[arg-type]


def _duration(seconds: int) -> str:
    """A span of whole seconds in its largest unit."""
    for unit, length in (("day", 86400), ("hour", 3600), ("minute", 60)):
        if seconds >= length:
            count = seconds // length
            return f"{count} {unit}{'' if count == 1 else 's'}"
    return f"{seconds} seconds"
