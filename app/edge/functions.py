"""What is registered: edge functions and the registry that holds them."""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import StrEnum

from app.edge.errors import RegistryError

MEBIBYTE = 1024 * 1024
#: Methods that a caller may repeat without doing twice what it asked for (RFC 9110, 9.2.2).
IDEMPOTENT = frozenset({"GET", "HEAD", "OPTIONS", "PUT", "DELETE"})
#: Methods that only read: what a caller's GET may become.
READING = frozenset({"GET", "HEAD", "OPTIONS"})
_SUCCESS = range(200, 300)


class Priority(StrEnum):
    """How much a function matters to the operator."""

    HIGH = "high"
    NORMAL = "normal"
    LOW = "low"


@dataclass(frozen=True, slots=True, kw_only=True)
class EdgeFunction:
    """A remote HTTP function.

    ``timeout`` is the seconds that a whole call may take, its retries included; ``max_request`` and
    ``max_response`` are bytes. ``method`` None means the caller's, ``concurrency`` None the share
    of the worker. ``health_status`` empty means any status from 200 to 299. With ``stream`` the
    answer is passed on as it comes. The values of ``headers`` may be secret and are never shown.
    """

    name: str
    url: str
    category: str = "general"
    priority: Priority = Priority.NORMAL
    description: str = ""
    tags: tuple[str, ...] = ()
    health_path: str = "/health"
    health_status: tuple[int, ...] = ()
    method: str | None = None
    timeout: float = 5.0
    retries: int = 0
    concurrency: int | None = None
    max_request: int = MEBIBYTE
    max_response: int = MEBIBYTE
    stream: bool = False
    headers: tuple[tuple[str, str], ...] = field(default=(), repr=False)

    @property
    def health_url(self) -> str:
        """Where its health is asked for."""
        return self.url + self.health_path

    def is_healthy(self, status: int | None) -> bool:
        """Whether a health check that got this status went well."""
        return status in (self.health_status or _SUCCESS)


@dataclass(frozen=True, slots=True, kw_only=True)
class EdgeRegistry:
    """What the file registers, in its order.

    ``error`` is there when the file cannot be used as it is now: the functions are then those of
    its last version that could be. ``configured`` is false when no file is named.
    """

    functions: tuple[EdgeFunction, ...] = ()
    error: RegistryError | None = None
    configured: bool = False
