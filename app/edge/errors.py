"""The errors of the edge functions.

::

    EdgeError
    ├── RegistryError         the registry file cannot be used; says which lines and why
    ├── UnknownFunction       no function of that name is registered
    ├── InvalidPath           the path under a function's URL could lead elsewhere
    ├── MethodRefused         the function is called with another method
    ├── NoTransport           neither aiohttp nor requests can be imported
    ├── Refused               not called now; says when to come back
    │   ├── CircuitOpen       the function fails, and is left alone for a while
    │   └── Saturated         edge calls have all the threads that they may have
    ├── CallerFault           the caller's body cannot be sent on
    │   ├── BodyTooLarge      it is larger than the function takes
    │   ├── BodyTooSlow       it did not arrive within the call's time
    │   └── BodyBroken        its connection ended before it was whole
    └── CallFailed            a call that was made brought no usable answer

A client puts a failed call's :class:`ErrorKind` into its result; the exception reaches those alone
who are reading an answer when it breaks off.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum


class ErrorKind(StrEnum):
    """Why a call brought no usable answer."""

    TIMEOUT = "timeout"
    CONNECT = "connect"
    TLS = "tls"
    PROTOCOL = "protocol"
    REDIRECT = "redirect"
    TOO_LARGE = "too_large"
    INTERNAL = "internal"


#: One sentence for each kind, safe to show.
EXPLANATIONS = {
    ErrorKind.TIMEOUT: "The function did not answer in the time that the call had.",
    ErrorKind.CONNECT: "No connection to the function could be made.",
    ErrorKind.TLS: "The function's certificate or encryption was not acceptable.",
    ErrorKind.PROTOCOL: "The function broke off or did not answer in valid HTTP.",
    ErrorKind.REDIRECT: "The function answered with a redirect, which is never followed.",
    ErrorKind.TOO_LARGE: "The function's answer was larger than the limit.",
    ErrorKind.INTERNAL: "The call failed inside the service; the log says why.",
}


class EdgeError(Exception):
    """The root of every error that this package raises on purpose."""


@dataclass(frozen=True, slots=True)
class RegistryFault:
    """One fault of the registry file: the line, from 1, and a sentence that is safe to show.

    The line is None when no line is to blame, as for a file that does not exist.
    """

    line: int | None
    message: str

    def __str__(self) -> str:
        return self.message if self.line is None else f"line {self.line}: {self.message}"


class RegistryError(EdgeError):
    """The registry file cannot be used; ``faults`` names everything that is wrong with it."""

    def __init__(self, faults: tuple[RegistryFault, ...]) -> None:
        super().__init__("; ".join(str(fault) for fault in faults))
        self.faults = faults


class UnknownFunction(EdgeError):
    """No function of that name is registered."""


class InvalidPath(EdgeError):
    """The path has dot segments, backslashes or control characters."""


class MethodRefused(EdgeError):
    """The function is not called with the caller's method; ``allowed`` is the one to use."""

    def __init__(self, allowed: str) -> None:
        super().__init__("the function is called with another method")
        self.allowed = allowed


class NoTransport(EdgeError):
    """Neither aiohttp nor requests can be imported."""


class Refused(EdgeError):
    """The function was not called; after ``retry_after`` seconds it may be."""

    def __init__(self, retry_after: float) -> None:
        super().__init__("the function is not called now")
        self.retry_after = retry_after


class CircuitOpen(Refused):
    """The function's circuit breaker is open."""


class Saturated(Refused):
    """The function, or edge calls altogether, have as many calls under way as they may."""


class CallerFault(EdgeError):
    """The caller's body cannot be sent on; the function is not to blame."""


class BodyTooLarge(CallerFault):
    """The body is larger than ``limit`` bytes."""

    def __init__(self, limit: int) -> None:
        super().__init__("the body is too large")
        self.limit = limit


class BodyTooSlow(CallerFault):
    """The body did not arrive within the call's time."""


class BodyBroken(CallerFault):
    """The caller's connection ended before its body was whole."""


class CallFailed(EdgeError):
    """A call ended with an error kind; ``status`` is there when the function sent one."""

    def __init__(self, kind: ErrorKind, status: int | None = None) -> None:
        super().__init__(kind)
        self.kind = kind
        self.status = status
