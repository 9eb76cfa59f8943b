"""Makes one call, again where that is safe, within the call's time."""

from __future__ import annotations

import random
import time
from collections.abc import Callable
from dataclasses import replace

from app.edge.errors import ErrorKind
from app.edge.exchange import CallFailed, EdgeRequest, Reply
from app.edge.functions import IDEMPOTENT
from app.edge.headers import TIMEOUT_HEADER
from app.edge.transports import Transport

#: What a repeated call may well bring: the function was not reached, or says to come back.
_REPEATED_KINDS = frozenset({ErrorKind.CONNECT, ErrorKind.PROTOCOL})
_REPEATED_STATUSES = frozenset({502, 503, 504})
#: Seconds before the first repetition; each later pause is twice as long.
FIRST_PAUSE = 0.05


def call(
    transport: Transport,
    request: EdgeRequest,
    until: float,
    retries: int,
    *,
    pause: Callable[[float], None] = time.sleep,
) -> Reply:
    """Call until there is an answer that is worth passing on, at most ``retries`` times more.

    Only an idempotent method (RFC 9110, 9.2.2) with a body that is at hand is repeated, and only
    while there is time.

    Raises:
        CallFailed: when no attempt brought a usable answer.
        CallerFault: when the caller's body could not be read.
    """
    at_hand = request.body is None or isinstance(request.body, bytes)
    left = retries if at_hand and request.method in IDEMPOTENT else 0
    wait = FIRST_PAUSE
    while True:
        wait *= random.uniform(0.5, 1.5)  # noqa: S311 - spreads load, guards nothing
        again = left > 0 and time.monotonic() + wait < until
        reply = _attempt(transport, request, until, again=again)
        if reply is not None:
            return reply
        left -= 1
        pause(wait)
        wait *= 2


def _attempt(
    transport: Transport, request: EdgeRequest, until: float, *, again: bool
) -> Reply | None:
    """One attempt; None when it failed in a way that is worth another, and there may be one."""
    try:
        reply = transport.open(_timed(request, until))
    except CallFailed as failure:
        if again and failure.kind in _REPEATED_KINDS:
            return None
        raise
    if again and reply.status in _REPEATED_STATUSES:
        reply.close()
        return None
    return reply


def _timed(request: EdgeRequest, until: float) -> EdgeRequest:
    """The request with the time that is left; the function is told so too."""
    left = max(0.001, until - time.monotonic())
    headers = {**request.headers, TIMEOUT_HEADER: f"{left:.3f}"}
    return replace(request, timeout=left, headers=headers)
