"""Hooks for all requests of the application: those that a blueprint has, and the gate.

A blueprint's hooks never run at the core addresses. Elsewhere they run as Flask says, and one that
raises costs the request, which is answered 503 with the name of its blueprint: it may be what
guards, so no request goes on without it. The gate comes before all of them.
"""

from __future__ import annotations

import functools
import logging
from collections.abc import Callable, Iterator, Mapping
from typing import Any

from flask import Flask, Response, abort, current_app, g, has_request_context, request
from werkzeug.exceptions import HTTPException

from app.isolation.states import HOOK_FAILED, is_core_address
from app.manifest import Blueprint
from app.services import Services
from app.utils.auto_fix import AutoFixer
from app.web.problems import explained_problem, problem, unavailable

logger = logging.getLogger(__name__)

Hook = Callable[..., Any]

#: Flask's registries of them. The two of teardowns are called when the answer has been decided.
BEFORE, VALUES, AFTER = "before_request_funcs", "url_value_preprocessors", "after_request_funcs"
CONTEXT, ERRORS = "template_context_processors", "error_handler_spec"
TEARDOWN, APP_TEARDOWN = "teardown_request_funcs", "teardown_appcontext_funcs"


def registered(app: Flask) -> frozenset[int]:
    """What is registered by now, for ``contain`` to tell what is new."""
    return frozenset(id(functions[key]) for _, functions, key in _hooks(app))


def contain(app: Flask, known: frozenset[int], blueprint: str) -> None:
    """Put what is not ``known`` under the rules of this module, as hooks of ``blueprint``."""
    for registry, functions, key in list(_hooks(app)):
        if id(functions[key]) not in known:
            functions[key] = _contained(functions[key], registry, blueprint)
            if registry == APP_TEARDOWN:
                # When it is called the request is gone, and what it was for is left in ``g``.
                app.teardown_request(_remember_core_address)


def add_gate(app: Flask, owners: Mapping[str, Blueprint], fixer: AutoFixer) -> None:
    """Answer 503 at once while something is not there that comes and goes, as databases do.

    It stops the requests of those blueprints that need it, and that have a gate.

    Args:
        app: the application, its blueprints registered.
        owners: the blueprint of each endpoint.
        fixer: whose kinds know what is there.
    """
    gates = {
        endpoint: (blueprint.name, needs)
        for endpoint, blueprint in owners.items()
        if blueprint.gate and (needs := fixer.gates(blueprint.needs))
    }

    def gate(endpoint: str | None, _values: object) -> None:
        blueprint, needs = gates.get(endpoint or "", ("", ()))
        for need in needs:
            fault = need()
            if fault is not None:
                detail = f"Something that the {blueprint} part of the service needs is not there."
                abort(unavailable(str(fault.cause), detail, blueprint=blueprint))

    if gates:
        # Values are looked up before any hook runs, by what may ask a database for them.
        app.url_value_preprocessors.setdefault(None, []).insert(0, gate)


def _hooks(app: Flask) -> Iterator[tuple[str, Any, Any]]:
    """Each hook for all requests: its registry, and the container and key that hold it."""
    for registry in (BEFORE, VALUES, AFTER, CONTEXT, TEARDOWN):
        functions = getattr(app, registry)[None]
        for position in range(len(functions)):
            yield registry, functions, position
    for position in range(len(app.teardown_appcontext_funcs)):
        yield APP_TEARDOWN, app.teardown_appcontext_funcs, position
    for handlers in app.error_handler_spec[None].values():
        for error in handlers:
            yield ERRORS, handlers, error


def _contained(hook: Hook, registry: str, blueprint: str) -> Hook:
    @functools.wraps(hook)
    def contained(*arguments: Any) -> Any:  # noqa: ANN401 - as Flask calls it
        at_core = is_core_address(request.path) if has_request_context() else g.get("at_core")
        if at_core:
            return _without(registry, arguments)
        try:
            return current_app.ensure_sync(hook)(*arguments)
        except HTTPException:
            raise
        except (Exception, SystemExit) as error:
            if registry == ERRORS and error is arguments[0]:
                # The handler hands on what it was given.
                raise
            explained = explained_problem(error) if isinstance(error, Exception) else None
            answer = explained or _failed(hook, blueprint, error)
        if registry in {TEARDOWN, APP_TEARDOWN}:
            return None
        if registry in {VALUES, CONTEXT}:
            # What these return is no answer.
            abort(answer)
        return answer

    contained.contained = True  # type: ignore[attr-defined]
    return contained


def _without(registry: str, arguments: tuple[Any, ...]) -> Any:  # noqa: ANN401 - what hooks return
    """What Flask gets in place of a hook that does not run."""
    if registry == AFTER:
        return arguments[0]
    if registry == CONTEXT:
        return {}
    if registry != ERRORS:
        return None
    (error,) = arguments
    codes = (error.code, None) if isinstance(error, HTTPException) else (None,)
    for code in codes:
        handlers = current_app.error_handler_spec[None][code]
        for kind in type(error).__mro__:
            handler = handlers.get(kind)
            if handler is not None and not hasattr(handler, "contained"):
                return handler(error)
    raise error


def _failed(hook: Hook, blueprint: str, error: BaseException) -> Response:
    services: Services = current_app.extensions["services"]
    services.metrics.hook_failure(blueprint)
    if services.board.hook_failed(blueprint):
        fields = {"blueprint": blueprint, "hook": getattr(hook, "__qualname__", repr(hook))}
        logger.error("hook for all requests failed", exc_info=error, extra={"fields": fields})
    return problem(HOOK_FAILED, blueprint=blueprint)


def _remember_core_address(_error: BaseException | None = None) -> None:
    g.at_core = is_core_address(request.path)
