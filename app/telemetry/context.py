"""Whose work this is: the request's id, and its place in a trace.

Trace context is that of the W3C (https://www.w3.org/TR/trace-context/). A request and the calls
that are made for it share one, and their log lines show it. It goes with the work of a request
into the threads that are started with a copy of its context.
"""

from __future__ import annotations

import random
import re
from collections.abc import Mapping
from contextvars import ContextVar
from typing import NamedTuple

from app.telemetry import logs

REQUEST_ID_HEADER = "X-Request-ID"
_REQUEST_ID = re.compile(r"[A-Za-z0-9][A-Za-z0-9._:=+/-]{0,127}", re.ASCII)
# A later version may have more behind the flags, which says nothing to this one.
_TRACEPARENT = re.compile(
    r"(?P<version>[0-9a-f]{2})-(?P<trace>[0-9a-f]{32})-(?P<span>[0-9a-f]{16})"
    r"-(?P<flags>[0-9a-f]{2})(?P<more>-[!-~]*)?",
    re.ASCII,
)
_TRACESTATE = re.compile(r"[ -~\t]{1,512}")
_NOT_SAMPLED = "00"


class Trace(NamedTuple):
    """One span's place in a trace: lower-case hexadecimal ids and flags, and the vendors' state."""

    trace_id: str
    span_id: str
    flags: str = _NOT_SAMPLED
    state: str = ""

    def headers(self) -> dict[str, str]:
        """The header fields that hand it on."""
        fields = {"Traceparent": f"00-{self.trace_id}-{self.span_id}-{self.flags}"}
        return {**fields, "Tracestate": self.state} if self.state else fields


class Work(NamedTuple):
    """The request that something is done for; ``trace`` is None where none goes on."""

    request_id: str
    trace: Trace | None


_current: ContextVar[Work | None] = ContextVar("current_work", default=None)


def enter(request_id: str, trace: Trace) -> Work:
    """Work for this request from now on: it is ``current``, and its ids stand on every log line."""
    work = Work(request_id, trace)
    _current.set(work)
    logs.bind(request_id=request_id, trace_id=trace.trace_id)
    return work


def leave(work: Work) -> None:
    """Do nothing more for this request; changes nothing where another one has begun since."""
    if _current.get() is work:
        _current.set(None)
        logs.bind()


def current() -> Work | None:
    """The request that this is done for; None outside of any."""
    return _current.get()


def current_id() -> str:
    """The id of the request that this is done for, or a new one outside of any."""
    work = _current.get()
    return work.request_id if work is not None else request_id(None)


def work_of(headers: Mapping[str, str]) -> Work:
    """The request that this is done for, or else what headers (by lower-case name) say of one."""
    return _current.get() or Work(
        request_id(headers.get("x-request-id")),
        continued(headers.get("traceparent"), headers.get("tracestate")),
    )


def request_id(given: str | None) -> str:
    """The caller's id when it is a plain one, or else a new one."""
    return given if given and _REQUEST_ID.fullmatch(given) else _hex(16)


def continued(traceparent: str | None, tracestate: str | None = None) -> Trace | None:
    """The caller's place in a trace; None when it names none, or none that is valid."""
    match = _TRACEPARENT.fullmatch(traceparent) if traceparent else None
    if match is None or match["version"] == "ff" or (match["version"] == "00" and match["more"]):
        return None
    if not match["trace"].strip("0") or not match["span"].strip("0"):
        return None
    state = tracestate if tracestate and _TRACESTATE.fullmatch(tracestate) else ""
    return Trace(match["trace"], match["span"], match["flags"], state)


def begun(parent: Trace | None) -> Trace:
    """A new span's place: below ``parent``, or at the root of a new trace that is not sampled."""
    if parent is not None:
        return Trace(parent.trace_id, _hex(8), parent.flags, parent.state)
    ids = _hex(24)
    return Trace(ids[:32], ids[32:])


def _hex(size: int) -> str:
    """So many random bytes: unique, not secret.

    Asking the kernel would let another thread go first, twice a request. Each process has a seed of
    its own, after a fork too.
    """
    return random.randbytes(size).hex()  # noqa: S311 - guards nothing
