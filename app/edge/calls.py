"""One call of a function: what of a caller's request reaches it, and what comes back."""

from __future__ import annotations

import contextlib
import random
import re
import time
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field, replace
from itertools import chain
from urllib.parse import quote

from app.edge.errors import (
    CallerFault,
    CallFailed,
    ErrorKind,
    InvalidPath,
    MethodRefused,
    Saturated,
)
from app.edge.functions import IDEMPOTENT, EdgeFunction
from app.edge.protection import AdaptiveLimit, Breaker, BreakerState, Bulkhead, Permission, Slot
from app.edge.transports import (
    CHUNK_BYTES,
    CallerBody,
    EdgeRequest,
    Reply,
    Transport,
    TransportChoice,
)
from app.telemetry.context import REQUEST_ID_HEADER, Trace
from app.telemetry.tracing import Span

#: The request headers that reach a function. Authorization is the operator's and stays here; what
#: a function needs of that kind is registered with it.
FORWARDED_HEADERS = (
    "Accept",
    "Accept-Language",
    "Content-Type",
    "Idempotency-Key",
    "If-Modified-Since",
    "If-None-Match",
)
#: Response headers that come back whose lines make up one list (RFC 9110, 5.3).
_LISTS = frozenset({"cache-control", "content-encoding", "content-language", "vary"})
#: The response headers that come back; of those beside the lists the last line counts. Cookies and
#: redirects stay there.
RETURNED_HEADERS = _LISTS | {
    "age",
    "content-type",
    "etag",
    "expires",
    "last-modified",
    "retry-after",
}
#: How many seconds a caller gives a call, and the time that a function has for it.
TIMEOUT_HEADER = "X-Request-Timeout"
_CLEAN_VALUE = re.compile(r"[ -~\t]{0,4096}")
_SECONDS = re.compile(r"[0-9]{1,6}(\.[0-9]{1,6})?", re.ASCII)
# What RFC 3986 allows in a path and in a query; the rest is percent-encoded.
_PATH_SAFE = "/~!$&'()*+,;=:@-._"
_QUERY_SAFE = _PATH_SAFE + "?%"
#: Methods that only read: what a caller's GET may become.
_READING = frozenset({"GET", "HEAD", "OPTIONS"})

#: What a repeated call may well bring: the function was not reached, or says to come back.
_REPEATED_KINDS = frozenset({ErrorKind.CONNECT, ErrorKind.PROTOCOL})
_REPEATED_STATUSES = frozenset({502, 503, 504})
#: Seconds before the first repetition; each later pause is twice as long.
FIRST_PAUSE = 0.05
#: A caller's body has to be here by this share of the call's time before its end, so that who was
#: too slow is never in doubt.
BODY_MARGIN = 0.1

#: A call that takes more than this share of its function's timeout is slow: a failure to the
#: breaker, though its answer is passed on.
SLOW_SHARE = 0.8
_FIRST_SERVER_ERROR = 500
#: Outcomes of calls that were made, besides the error kinds.
OK, SLOW, SERVER_ERROR = "ok", "slow", "server_error"
CALLER_FAULT, CALLER_GONE, CUT_SHORT = "caller_fault", "caller_gone", "cut_short"
#: What says nothing about the function.
_NOT_ITS_FAULT = frozenset({CALLER_FAULT, CALLER_GONE, CUT_SHORT, ErrorKind.INTERNAL})


def address(url: str, path: str, query: str) -> str:
    """The function's URL with a path below it, percent-encoded once more.

    Raises:
        InvalidPath: when the path could mean another place than one below the URL.
    """
    unsafe = "\\" in path or any(character < " " or character == "\x7f" for character in path)
    if unsafe or {".", ".."} & set(path.split("/")):
        raise InvalidPath
    whole = f"{url}/{quote(path, safe=_PATH_SAFE)}" if path else url
    return f"{whole}?{quote(query, safe=_QUERY_SAFE)}" if query else whole


def method_for(function: EdgeFunction, method: str) -> str:
    """The method that the function is called with.

    A caller's GET only becomes a method that reads, so that no GET changes anything there. A HEAD
    is a GET whose body nobody wants (RFC 9110, 9.3.2), there as here.

    Raises:
        MethodRefused: when the caller's method is not the one to use for this function.
    """
    if function.method is None:
        return method
    wanted = "GET" if function.method in _READING else "POST"
    if wanted != ("GET" if method == "HEAD" else method):
        raise MethodRefused(wanted)
    return "HEAD" if method == "HEAD" and function.method == "GET" else function.method


def forwarded(
    function: EdgeFunction, given: Iterable[tuple[str, str]], request_id: str, trace: Trace
) -> dict[str, str]:
    """What reaches the function: the caller's allowed fields, trace context, what is registered."""
    lower = {name.lower(): value for name, value in given}
    passed = {
        name: lower[name.lower()]
        for name in FORWARDED_HEADERS
        if _CLEAN_VALUE.fullmatch(lower.get(name.lower(), "\0"))
    }
    ours = {REQUEST_ID_HEADER: request_id, **trace.headers()}
    registered = {name.lower() for name, _ in function.headers}
    headers = {n: v for n, v in {**passed, **ours}.items() if n.lower() not in registered}
    return {**headers, **dict(function.headers)}


def returned(headers: Iterable[tuple[str, str]]) -> Iterator[tuple[str, str]]:
    """The fields of a function's answer that the caller may see, each of them once."""
    fields: dict[str, tuple[str, str]] = {}
    for name, value in headers:
        key = name.lower()
        if key not in RETURNED_HEADERS or not _CLEAN_VALUE.fullmatch(value):
            continue
        listed = key in _LISTS and key in fields
        fields[key] = name, f"{fields[key][1]}, {value}" if listed else value
    yield from fields.values()


def patience(given: str) -> float | None:
    """The seconds of a TIMEOUT_HEADER; None when it does not say, or nonsense."""
    return float(given) if _SECONDS.fullmatch(given) and float(given) > 0 else None


def send(transport: Transport, request: EdgeRequest, until: float, retries: int) -> Reply:
    """Call until there is an answer that is worth passing on, at most ``retries`` times more.

    Only an idempotent method (RFC 9110, 9.2.2) with a body that is at hand is repeated, and only
    while there is time.

    Raises:
        CallFailed: when no attempt brought a usable answer.
        CallerFault: when the caller's body could not be read.
    """
    at_hand = request.body is None or isinstance(request.body, bytes)
    left = retries if at_hand and request.method in IDEMPOTENT else 0
    pause = FIRST_PAUSE
    while True:
        pause *= random.uniform(0.5, 1.5)  # noqa: S311 - spreads load, guards nothing
        seconds = max(0.001, until - time.monotonic())
        again = left > 0 and pause < seconds
        headers = {**request.headers, TIMEOUT_HEADER: f"{seconds:.3f}"}
        try:
            reply = transport.open(replace(request, timeout=seconds, headers=headers))
        except CallFailed as failure:
            if not again or failure.kind not in _REPEATED_KINDS:
                raise
        else:
            if not again or reply.status not in _REPEATED_STATUSES:
                return reply
            reply.close()
        left -= 1
        time.sleep(pause)
        pause *= 2


@dataclass(frozen=True, slots=True)
class GuardedFunction:
    """A registered function with what protects it in this process."""

    function: EdgeFunction
    breaker: Breaker
    limit: AdaptiveLimit

    def enter(self, bulkhead: Bulkhead) -> tuple[Permission, Slot]:
        """Permission and room for one call.

        Raises:
            CircuitOpen: when its breaker is open.
            Saturated: when there is no slot.
        """
        permission = self.breaker.allow()
        try:
            return permission, bulkhead.acquire(self.limit)
        except Saturated:
            self.breaker.record(permission, success=None)
            raise

    def state(self) -> dict[str, object] | None:
        """What other workers may want to know of it.

        None when there is nothing to say: closed, idle, and at its ceiling.
        """
        limit, breaker = self.limit, self.breaker
        idle = not limit.in_flight and limit.limit >= limit.ceiling
        if idle and breaker.state is BreakerState.CLOSED:
            return None
        return {
            "breaker": str(breaker.state),
            "retry_after": round(breaker.retry_after, 1),
            "limit": limit.limit,
            "in_flight": limit.in_flight,
        }


@dataclass(slots=True)
class Invocation:
    """A call that was permitted: a function's answer, or why there is none, and what carried it.

    Read ``chunks`` and then close it; an answer that is ``whole`` is all in ``body``. ``id`` is the
    X-Request-ID of the call, ``seconds`` what it took until there was an answer or its beginning,
    without what the caller took to bring its body. ``count`` is given the function's name, the
    outcome and the seconds of the call, once.
    """

    guarded: GuardedFunction
    id: str
    choice: TransportChoice
    span: Span
    permission: Permission
    slot: Slot
    count: Callable[[str, str, float], None]
    seconds: float = 0.0
    reply: Reply | None = None
    error: ErrorKind | None = None
    failed_status: int | None = None
    started: float = field(default_factory=time.monotonic)
    caller_seconds: float = 0.0
    recorded: bool = False

    @property
    def function(self) -> str:
        """The function's name."""
        return self.guarded.function.name

    @property
    def status(self) -> int | None:
        """The status that the function sent, if it got that far."""
        return self.reply.status if self.reply else self.failed_status

    @property
    def headers(self) -> tuple[tuple[str, str], ...]:
        """All header fields of the answer."""
        return self.reply.headers if self.reply else ()

    @property
    def whole(self) -> bool:
        """Whether the body is all there."""
        return self.reply is None or self.reply.rest is None

    @property
    def body(self) -> bytes:
        """What has come of the body so far."""
        return self.reply.start if self.reply else b""

    def call(self, request: EdgeRequest, body: CallerBody | None) -> None:
        """Make it, and record its end when nothing more is to come.

        A small answer gives its slot back at once: it fits into the connection's buffer. A larger
        one keeps it until the caller has taken it.

        Raises:
            CallerFault: when the caller's body is too large or does not come in time.
        """
        until = time.monotonic() + request.timeout
        try:
            if body is not None:
                in_by = until - request.timeout * BODY_MARGIN
                limit = self.guarded.function.max_request
                request = replace(request, body=body.admit(limit, in_by, self.waiting_for_caller))
            self.reply = send(self.choice.transport, request, until, self.guarded.function.retries)
        except CallFailed as failure:
            self.error, self.failed_status = failure.kind, failure.status
        except CallerFault:
            self.record(CALLER_FAULT)
            self.close(CALLER_FAULT)
            raise
        except BaseException as error:
            self.close(type(error).__name__)
            raise
        self.seconds = self.waited
        if self.whole:
            self.record(self.error)
            if len(self.body) <= CHUNK_BYTES:
                self.close()

    def chunks(self) -> Iterator[bytes]:
        """The body, as it comes.

        Raises:
            CallFailed: when it breaks off, exceeds the function's limit or takes too long. What was
                passed on already is then not all of it.
        """
        if self.reply is None:
            return
        start = (self.reply.start,) if self.reply.start else ()
        try:
            for chunk in chain(start, self.reply.rest or ()):
                with self.waiting_for_caller():
                    yield chunk
        except CallFailed as failure:
            self.error = failure.kind
            self.record(self.error)
            raise
        self.record(None)

    @property
    def waited(self) -> float:
        """Seconds for which the function has been waited for, and not the caller."""
        return time.monotonic() - self.started - self.caller_seconds

    @contextlib.contextmanager
    def waiting_for_caller(self) -> Iterator[None]:
        """Wait for the caller within the block, one block at a time; no function is slow by it."""
        began = time.monotonic()
        try:
            yield
        finally:
            self.caller_seconds += time.monotonic() - began

    def record(self, outcome: str | None) -> None:
        """Record how the call ended, None for a whole answer; only the first record counts.

        A timeout before an answer would have been slow says nothing about the function: the call
        was given less time than the function has.
        """
        if self.recorded:
            return
        self.recorded = True
        seconds = self.waited
        slow = seconds > self.guarded.function.timeout * SLOW_SHARE
        if outcome is None:
            failed = (self.status or 0) >= _FIRST_SERVER_ERROR
            outcome = SERVER_ERROR if failed else SLOW if slow else OK
        elif outcome == ErrorKind.TIMEOUT and not slow:
            outcome = CUT_SHORT
        known = outcome not in _NOT_ITS_FAULT
        self.guarded.breaker.record(self.permission, success=outcome == OK if known else None)
        if known:
            self.slot.observe(seconds, answered=outcome != ErrorKind.TIMEOUT)
        self.count(self.function, str(outcome), seconds)

    def close(self, error: str | None = None) -> None:
        """Give back the connection and the slot; closing twice is closing once.

        Without a record of its end, the caller went away in the middle.

        Args:
            error: what ended the call, when that was not the function.
        """
        if self.reply is not None:
            self.reply.close()
        self.record(CALLER_GONE)
        self.slot.release()
        self.span.end(status=self.status, error=error or self.error)
