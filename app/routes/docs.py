"""``/api/openapi.json`` and ``/api/docs``: what the API is, for programs and for people.

The description is data beside the routes (``app.description``), so a fault in it costs these two
paths and nothing else.
"""

from __future__ import annotations

import json
import re
from functools import cached_property

from flask import Blueprint, Response, current_app, render_template, request

from app.description.document import DESCRIBED, describe
from app.description.page import SERVER, outline, sections, shared_headers
from app.description.url_map import Routes
from app.isolation.states import BlueprintState
from app.services import Services
from app.web.answers import lasting_answer
from app.web.headers import PAGE_POLICY

docs_bp = Blueprint("docs", __name__)

EXTENSION = "description"
_ADDRESS = re.compile(r"https?://[A-Za-z0-9.-]+(:[0-9]+)?|https?://\[[0-9a-f:.]+\](:[0-9]+)?")


class Description:
    """One application's description, made when it is first asked for.

    A blueprint that comes back brings a new application, and so a new description.
    """

    @cached_property
    def document(self) -> dict[str, object]:
        """The OpenAPI document of the application that answers."""
        states: tuple[BlueprintState, ...] = current_app.extensions["blueprints"]
        services: Services = current_app.extensions["services"]
        reasons = {s.name: None if s.active else s.reason or "unavailable" for s in states}
        routes = Routes(
            tuple(current_app.url_map.iter_rules()),
            current_app.view_functions,
            {s.name: s.paths for s in states if not s.active and s.name not in DESCRIBED},
        )
        return describe(reasons, guarded=services.access.tokens.configured, routes=routes)

    @cached_property
    def json(self) -> bytes:
        """The document as it is sent."""
        return json.dumps(self.document, ensure_ascii=False, separators=(",", ":")).encode()

    @cached_property
    def page(self) -> str:
        """The document as a page, with ``SERVER`` where the reader's address belongs."""
        return render_template(
            "docs.html",
            document=self.document,
            sections=sections(self.document),
            shared_headers=shared_headers(self.document),
            outline=outline,
        )


docs_bp.record(lambda state: state.app.extensions.update({EXTENSION: Description()}))


@docs_bp.get("/api/openapi.json")
def openapi() -> Response:
    """The document."""
    description: Description = current_app.extensions[EXTENSION]
    return lasting_answer(description.json, "application/json")


@docs_bp.get("/api/docs")
def docs() -> Response:
    """The page: rendered here, without any script."""
    # Whoever asks may put anything into Host: what is no plain address is not repeated.
    address = request.host_url.rstrip("/")
    server = address if _ADDRESS.fullmatch(address) else SERVER
    description: Description = current_app.extensions[EXTENSION]
    response = lasting_answer(description.page.replace(SERVER, server).encode(), "text/html")
    response.headers["Content-Security-Policy"] = PAGE_POLICY
    return response
