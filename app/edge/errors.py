"""The errors of the edge functions.

::

    EdgeError
    ├── RegistryError         the registry file cannot be used; says which lines and why
    ├── UnknownFunction       no function of that name is registered
    ├── InvalidPath           the path under a function's URL could lead elsewhere
    └── NoTransport           neither aiohttp nor requests can be imported

What goes wrong during a call is no exception but an :class:`ErrorKind` in the response.
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
    ErrorKind.TIMEOUT: "The function did not answer within its timeout.",
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

    def __init__(self, name: str) -> None:
        super().__init__("no edge function has this name")
        self.name = name


class InvalidPath(EdgeError):
    """The path has dot segments, backslashes or control characters."""


class NoTransport(EdgeError):
    """Neither aiohttp nor requests can be imported."""
