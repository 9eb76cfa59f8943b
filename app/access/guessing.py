"""Whose token a request has, and the pauses that slow down who guesses one.

Failed attempts are counted by where they come from. While a pause lasts nothing from that origin is
compared, or the pause would not slow guessing, so the right token has to wait as well: for 60 s at
most, because what is refused in a pause does not lengthen it.
"""

from __future__ import annotations

import ipaddress
import logging
import re
import threading
import time
from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass

from app.access.sessions import Sessions
from app.access.tokens import Tokens
from app.healing.backoff import doubled
from app.telemetry.metrics import AuthenticationFailure

logger = logging.getLogger(__name__)

#: How many failures may follow one another before there is a pause.
ALLOWED = 5
#: Seconds without a failure or a pause after which an origin begins anew.
FORGOTTEN = 60.0
#: The first and the longest pause, in seconds; each is twice as long as the one before.
FIRST_PAUSE, LAST_PAUSE = 1.0, 60.0
#: How many origins are remembered; the one that failed longest ago goes first.
MAX_ORIGINS = 10_000
#: The network that one IPv6 customer gets at least (RFC 6177), and can pick addresses from.
IPV6_PREFIX = 64
#: ``192.0.2.1:8080``, ``[2001:db8::1]:8080`` and ``[2001:db8::1]`` (RFC 7239 section 6).
_WITH_PORT = re.compile(r"\[(?P<v6>[^]]*)\](?::\d+)?|(?P<v4>[^:]*):\d+", re.ASCII)


def origin_of(address: str | None) -> str:
    """Whose address this is: an IPv4 address itself, an IPv6 address's /64 network.

    A peer without an address, over a Unix socket for one, is ``local``. Some proxies put the port
    behind the address in X-Forwarded-For; what has no address at all is one origin, ``unknown``, or
    each of its spellings would be one that has not failed yet.
    """
    if not address:
        return "local"
    with_port = _WITH_PORT.fullmatch(address)
    try:
        found = ipaddress.ip_address(with_port["v6"] or with_port["v4"] if with_port else address)
    except ValueError:
        return "unknown"
    if isinstance(found, ipaddress.IPv4Address):
        return str(found)
    if found.ipv4_mapped is not None:
        return str(found.ipv4_mapped)
    return str(ipaddress.ip_network((int(found), IPV6_PREFIX), strict=False))


@dataclass(slots=True)
class _Record:
    failures: int = 0
    #: When the last failure, or the pause that it began, was over.
    until: float = 0.0


class FailedAttempts:
    """Who may try again, and when; safe to use from any thread.

    After five failures with less than a minute from each to the next, every further one begins a
    pause: 1 s, 2 s, 4 s, up to 60 s. Nothing is tried in a pause, so nothing in it counts, and it
    ends in any case; a success ends the count.

    Args:
        clock: seconds that never go back.
        max_origins: how many origins are remembered.
    """

    def __init__(
        self, *, clock: Callable[[], float] = time.monotonic, max_origins: int = MAX_ORIGINS
    ) -> None:
        self._clock = clock
        self._max = max_origins
        self._lock = threading.Lock()
        self._records: OrderedDict[str, _Record] = OrderedDict()

    def __len__(self) -> int:
        """How many origins are remembered."""
        return len(self._records)

    def pause(self, origin: str) -> float:
        """Seconds for which this origin may not try; 0 when it may."""
        record = self._records.get(origin)
        return 0.0 if record is None else max(0.0, record.until - self._clock())

    def failed(self, origin: str) -> float:
        """Count a failure; the seconds of the pause that begins with it, 0 while there is none."""
        now = self._clock()
        with self._lock:
            record = self._records.pop(origin, None)
            if record is None or now - record.until > FORGOTTEN:
                record = _Record()
            self._records[origin] = record
            if len(self._records) > self._max:
                self._records.popitem(last=False)
            record.failures += 1
            surplus = record.failures - ALLOWED
            pause = 0.0 if surplus < 0 else doubled(FIRST_PAUSE, LAST_PAUSE, surplus)
            record.until = now + pause
        return pause

    def succeeded(self, origin: str) -> None:
        """Forget the failures of this origin."""
        if origin in self._records:
            with self._lock:
                self._records.pop(origin, None)


@dataclass(frozen=True, slots=True)
class Caller:
    """What is known of a request's bearer token: its name when it is right, the wait in a pause."""

    name: str | None = None
    wait: float = 0.0


@dataclass(frozen=True, slots=True)
class Access:
    """What decides whose token a request has; outlives the application, so a swap forgets nothing.

    ``count`` is called for each token that did not count.
    """

    tokens: Tokens
    sessions: Sessions
    attempts: FailedAttempts
    count: Callable[[AuthenticationFailure], None]

    def identify(self, authorization: str, address: str | None) -> Caller:
        """Who sent the request with this ``Authorization`` header; a wrong token is a failure."""
        scheme, _, given = authorization.partition(" ")
        given = given.strip()
        if scheme.lower() != "bearer" or not given:
            return Caller()
        origin = origin_of(address)
        wait = self.attempts.pause(origin)
        if wait > 0:
            self.count(AuthenticationFailure.PAUSED)
            return Caller(wait=wait)
        name = self.tokens.name_of(given)
        if name is not None:
            self.attempts.succeeded(origin)
            return Caller(name=name)
        self.count(AuthenticationFailure.WRONG)
        pause = self.attempts.failed(origin)
        if pause > 0:
            fields = {"origin": origin, "seconds": pause}
            logger.warning("wrong tokens, none is looked at for a while", extra={"fields": fields})
        return Caller()
