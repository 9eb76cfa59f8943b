"""Quarantine: what is asked of a blueprint that does not serve, and imports that fail in a view."""

from __future__ import annotations

from collections.abc import Iterable
from contextlib import suppress

from flask import Flask, Response, current_app, request
from werkzeug.exceptions import NotFound

from app.isolation.states import BlueprintState, is_core_address, is_core_rule
from app.kinds.dependency.diagnosing.failure import lacks_asgiref
from app.utils.auto_fix import AutoFixer
from app.web.observation import ROUTE
from app.web.problems import unavailable, unexpected_problem

#: Seconds for which a request waits for the heal that it started.
SHORT_WAIT = 0.2


def init_app(app: Flask, states: Iterable[BlueprintState]) -> None:
    """Answer 503 for every method and path of a quarantined blueprint, and for lazy imports.

    It answers only where no rule of the application does: a blueprint that serves keeps its
    addresses whatever prefix another one has, and so do its 405s. Of several quarantined ones the
    one with the longest prefix answers.

    Args:
        app: the application, its blueprints registered.
        states: what became of each blueprint.
    """
    quarantined = [(path, state) for state in states if not state.active for path in state.paths]
    quarantined.sort(key=lambda found: len(found[0]), reverse=True)

    def refuse() -> Response | None:
        rule = request.url_rule
        taken = rule is not None and is_core_address(request.path) and not is_core_rule(rule.rule)
        if not taken and not isinstance(request.routing_exception, NotFound):
            return None
        for path, state in quarantined:
            if request.path == path or (path != "/" and request.path.startswith(f"{path}/")):
                request.environ[ROUTE] = path
                # The advice may name modules and versions: it is where `state` leads, for who may
                # see it.
                return unavailable(
                    state.reason or "unavailable",
                    f"The {state.name} part of the service is not available.",
                    blueprint=state.name,
                    needs_restart=state.needs_restart,
                )
        if taken:
            # A rule for any path is none for a core address.
            raise NotFound
        return None

    app.register_error_handler(ModuleNotFoundError, missing_in_a_view)
    app.register_error_handler(RuntimeError, async_in_vain)
    # Before the view is called: an unknown path below the prefix is no 404.
    app.before_request(refuse)


def missing_in_a_view(error: Exception) -> Response:
    """A lazy import that fails is healed in the background; the next request may find it.

    One of an approved package that may not be healed is no fault of the code either.
    """
    fixer: AutoFixer = current_app.extensions["auto_fixer"]
    diagnosis = fixer.diagnose(error)
    heal = fixer.heal_in_background(diagnosis)
    if heal is None and diagnosis.plan is None:
        return unexpected_problem(error)
    if heal is not None:
        with suppress(TimeoutError):
            heal.wait(SHORT_WAIT)
    return unavailable(str(diagnosis.cause), "A module that this request needs is not available.")


def async_in_vain(error: RuntimeError) -> Response:
    """An ``async def`` view without ``asgiref`` lacks a module as a lazy import does."""
    if lacks_asgiref(error):
        return missing_in_a_view(error)
    return unexpected_problem(error)
