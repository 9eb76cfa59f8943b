"""Calls the registered functions, and nothing else."""

from __future__ import annotations

import re
import time
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from urllib.parse import quote

from app.edge.errors import ErrorKind, InvalidPath, NoTransport, UnknownFunction
from app.edge.registry import EdgeFunction, EdgeRegistry
from app.edge.transports import EdgeRequest, EdgeResponse, Importer, TransportChoice, Transports
from app.healing.report import Check
from app.utils.shared_call import SharedCall

#: How long a function's last health check counts in the service's own health, in seconds.
RESULT_LIFETIME = 300.0
#: The request headers that reach a function. Authorization is the operator's and stays here.
FORWARDED_HEADERS = (
    "Accept",
    "Accept-Language",
    "Content-Type",
    "Idempotency-Key",
    "If-Modified-Since",
    "If-None-Match",
    "Traceparent",
    "Tracestate",
    "X-Request-ID",
)
_SUCCESS = range(200, 300)
_CLEAN_VALUE = re.compile(r"[ -~\t]{0,4096}")
# What RFC 3986 allows in a path and in a query; the rest is percent-encoded.
_PATH_SAFE = "/~!$&'()*+,;=:@-._"
_QUERY_SAFE = _PATH_SAFE + "?%"


@dataclass(frozen=True, slots=True, kw_only=True)
class FunctionHealth:
    """How one function answered its last health check.

    ``status`` is None when it sent none, ``error`` None when it answered with any status.
    """

    name: str
    healthy: bool
    status: int | None
    error: ErrorKind | None
    milliseconds: float
    checked_at: datetime

    def to_dict(self) -> dict[str, object]:
        """The result as JSON shows it."""
        return {
            "name": self.name,
            "healthy": self.healthy,
            "status": self.status,
            "error": self.error,
            "milliseconds": self.milliseconds,
            "checked_at": self.checked_at.isoformat(),
        }


@dataclass(frozen=True, slots=True)
class Invocation:
    """A function's answer, and the transport that brought it."""

    response: EdgeResponse
    choice: TransportChoice


class EdgeClient:
    """The functions of one registry, called through whichever transport can be imported.

    Args:
        registry: what may be called.
        importer: gives the module of a name, or None when it cannot be imported; asked at each
            call, so that a heal changes the transport.
        clock: seconds that never go back.
    """

    def __init__(
        self,
        registry: EdgeRegistry,
        importer: Importer,
        *,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self.registry = registry
        self._by_name = {function.name: function for function in registry.functions}
        self._transports = Transports(importer)
        self._clock = clock
        self._results: dict[str, FunctionHealth] = {}
        self._checked_at = float("-inf")
        self._check_all = SharedCall(self._checked_now)

    @property
    def functions(self) -> tuple[EdgeFunction, ...]:
        """The registered functions, in the order of the file."""
        return self.registry.functions

    @property
    def results(self) -> Mapping[str, FunctionHealth]:
        """How each function answered when it was last checked by this process."""
        return self._results

    def transport_name(self) -> str | None:
        """The transport that a call made now would use; None when there is none."""
        choice = self._choice()
        return choice.transport.name if choice else None

    def fallback_reason(self) -> str | None:
        """Why that is not the first choice, as a code; None when it is."""
        choice = self._choice()
        return choice.fallback_reason if choice else "no_transport"

    def check_all(self) -> list[FunctionHealth]:
        """Call every function's health path concurrently; callers at the same time share one run.

        Raises:
            NoTransport: when nothing that could make calls can be imported.
        """
        return self._check_all()

    def invoke(
        self,
        name: str,
        *,
        method: str = "GET",
        path: str = "",
        query: str = "",
        body: bytes | None = None,
        headers: Iterable[tuple[str, str]] = (),
    ) -> Invocation:
        """Call a function and bring back what it answered.

        Args:
            name: the function's name.
            method: the HTTP method.
            path: what is added to the function's URL, decoded; it cannot leave that URL.
            query: the query string, as the caller wrote it.
            body: the request's body.
            headers: the caller's headers; only FORWARDED_HEADERS go through.

        Raises:
            UnknownFunction: when the name is not registered.
            InvalidPath: when the path has dot segments, backslashes or control characters.
            NoTransport: when nothing that could make calls can be imported.
        """
        function = self._by_name.get(name)
        if function is None:
            raise UnknownFunction(name)
        request = EdgeRequest(
            name=name,
            method=method,
            url=_address(function.url, path, query),
            timeout=function.timeout,
            headers=_forwarded(headers),
            body=body,
        )
        choice = self._transports.choose()
        (response,) = choice.transport.send([request])
        return Invocation(response, choice)

    def checks(self) -> list[Check]:
        """What the service's own health says of edge functions; calls nobody.

        A function that failed its last health check makes the service degraded, never unhealthy.
        """
        return [self._own_check(), *(_outage(result) for result in self._recent_failures())]

    def close(self) -> None:
        """Give back threads and connections."""
        self._transports.close()

    def _choice(self) -> TransportChoice | None:
        try:
            return self._transports.choose()
        except NoTransport:
            return None

    def _checked_now(self) -> list[FunctionHealth]:
        requests = [
            EdgeRequest(
                name=function.name,
                url=function.url + function.health_path,
                timeout=function.timeout,
            )
            for function in self.functions
        ]
        responses = self._transports.choose().transport.send(requests) if requests else []
        now = datetime.now(UTC)
        results = [_health(response, now) for response in responses]
        self._results = {result.name: result for result in results}
        self._checked_at = self._clock()
        return results

    def _recent_failures(self) -> list[FunctionHealth]:
        if self._clock() - self._checked_at > RESULT_LIFETIME:
            return []
        return [result for result in self._results.values() if not result.healthy]

    def _own_check(self) -> Check:
        reason, advice = self._trouble()
        fallback = self.transport_name() if reason == "fallback_transport" else None
        return Check(
            name="edge_functions",
            kind="edge",
            subject="edge functions",
            ok=reason is None,
            reason=reason,
            advice=advice,
            fallback=fallback,
        )

    def _trouble(self) -> tuple[str | None, str | None]:
        """The first thing that is wrong here: a reason code and a sentence."""
        if self.registry.error is not None:
            return "registry_invalid", f"edge functions file: {self.registry.error}"
        choice = self._choice()
        if choice is None:
            return "no_transport", "neither aiohttp nor requests can be imported"
        if choice.fallback_reason is not None:
            return "fallback_transport", "aiohttp cannot be imported, so requests is used"
        return None, None


def _address(url: str, path: str, query: str) -> str:
    """The function's URL with a path below it, percent-encoded once more.

    Raises:
        InvalidPath: when the path could mean another place than one below the URL.
    """
    unsafe = "\\" in path or any(character < " " or character == "\x7f" for character in path)
    if unsafe or {".", ".."} & set(path.split("/")):
        raise InvalidPath
    address = f"{url}/{quote(path, safe=_PATH_SAFE)}" if path else url
    return f"{address}?{quote(query, safe=_QUERY_SAFE)}" if query else address


def _forwarded(headers: Iterable[tuple[str, str]]) -> dict[str, str]:
    allowed = {name.lower(): name for name in FORWARDED_HEADERS}
    return {
        allowed[name.lower()]: value
        for name, value in headers
        if name.lower() in allowed and _CLEAN_VALUE.fullmatch(value)
    }


def _health(response: EdgeResponse, now: datetime) -> FunctionHealth:
    status = response.status
    return FunctionHealth(
        name=response.name,
        healthy=response.error is None and status in _SUCCESS,
        status=status,
        error=response.error,
        milliseconds=round(response.seconds * 1000, 1),
        checked_at=now,
    )


def _outage(result: FunctionHealth) -> Check:
    how = result.error or f"status {result.status}"
    when = result.checked_at.isoformat(timespec="seconds")
    return Check(
        name=f"edge_function_{result.name}",
        kind="edge",
        subject=result.name,
        ok=False,
        reason=str(result.error or "unexpected_status"),
        advice=f"the function failed its health check at {when}: {how}",
    )
