"""Hooks that a blueprint has for all requests of the application, not for its own alone.

They never run at the core addresses. Elsewhere they run as Flask says, and one that raises costs
the request, which is answered 503 with the name of its blueprint: it may be what guards, so no
request goes on without it.
"""

from __future__ import annotations

import functools
import logging
from collections.abc import Callable, Iterator
from typing import Any

from flask import Flask, Response, abort, current_app, g, has_request_context, request
from werkzeug.exceptions import HTTPException

from app.isolation.states import HOOK_FAILED, is_core_address
from app.services import Services
from app.web.problems import problem

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
            answer = _failed(hook, blueprint, error)
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
