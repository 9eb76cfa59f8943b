"""What no error response may say, and the inspection of every one that the suite receives.

Flask's test client and the requests to real servers inspect what they receive, so no test can
forget to: a leak fails the test that met it.
"""

from __future__ import annotations

import functools
import html
import importlib.metadata
import itertools
import re
import sys
import sysconfig
import tempfile
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from flask.testing import FlaskClient

#: What stands in the environment of every process that tests start, and of the tests' own.
ENVIRON = {"CANARY_SECRET": "canary-of-the-environment-b91f"}
#: A token that a service may be given, and a text for exceptions that tests raise.
TOKEN = "canary-of-a-token-27c4"  # noqa: S105 - a made-up one
EXCEPTION = "canary-of-an-exception-e05a"

#: How many error responses of which status this process has inspected.
INSPECTED: Counter[int] = Counter()

_ROOT = Path(__file__).resolve().parents[2]
_TRACEBACK = r'Traceback \(most recent call last\)|File "[^"]+", line \d'
#: Shorter ones stand in any text.
_SHORTEST_SECRET = 6
_PROBLEM = "application/problem+json"
_RESPONSE = re.compile(rb"HTTP/1\.[01] (\d{3}) ")


class Leak(AssertionError):
    """An error response says what it must not; the message names the kind, not the value."""


def kinds_in(text: str, secrets: Iterable[str] = ()) -> list[str]:
    """The kinds of canaries that a text holds, however HTML or JSON has quoted them."""
    plain = html.unescape(text).replace('\\"', '"')
    kinds = [kind for kind, pattern in _patterns().items() if pattern.search(plain)]
    given = any(secret in plain for secret in secrets if len(secret) >= _SHORTEST_SECRET)
    return [*kinds, "credential"] if given else kinds


def inspect(
    status: int, headers: Iterable[tuple[str, str]], body: bytes, secrets: Iterable[str] = ()
) -> None:
    """Look through a response if it is an error of the service's own.

    What an edge function answered is the function's own; what the service answers in its place is
    a problem.

    Args:
        status: of any response; below 400 nothing is looked at.
        headers: all of them.
        body: the whole of it.
        secrets: more texts that must not be in it, such as the token that the request bore.

    Raises:
        Leak: there is a canary in it.
    """
    fields = [(name.lower(), value) for name, value in headers]
    if status < 400 or _is_somebody_elses(dict(fields)):
        return
    INSPECTED[status] += 1
    text = "\n".join([*(f"{n}: {v}" for n, v in fields), "", body.decode(errors="replace")])
    if kinds := kinds_in(text, secrets):
        raise Leak(f"a response with status {status} holds a canary: {', '.join(kinds)}")


def inspect_raw(received: bytes) -> None:
    """Look through everything that came on a connection, one response after another.

    Raises:
        Leak: there is a canary in an error response.
    """
    begins = [match.start() for match in _RESPONSE.finditer(received)]
    for begin, end in itertools.pairwise([*begins, len(received)]):
        head, _, body = received[begin:end].partition(b"\r\n\r\n")
        status, *lines = head.decode("latin-1").split("\r\n")
        fields = [line.partition(":")[::2] for line in lines]
        inspect(int(status.split()[1]), [(n, v.strip()) for n, v in fields], body)


def inspected_client() -> type[FlaskClient]:
    """Flask's test client, which inspects what it receives."""
    from flask.testing import FlaskClient

    class InspectedClient(FlaskClient):
        def open(self, *args: Any, **kwargs: Any) -> Any:  # noqa: ANN401 - werkzeug's own
            # As a server does: read to the end, and closed.
            response = super().open(*args, **{"buffered": True, **kwargs})
            if response.status_code >= 400:
                sent = response.request.headers.get("Authorization")
                secrets = [*credentials(sent), *self._configured()]
                inspect(response.status_code, response.headers, response.get_data(), secrets)
            return response

        def _configured(self) -> Iterator[str]:
            settings = self.application.config.get("SETTINGS")
            yield getattr(settings, "token", None) or ""

    return InspectedClient


def credentials(authorization: str | None) -> list[str]:
    """What a request's header proves itself with."""
    return [(authorization or "").partition(" ")[2].strip()]


def _is_somebody_elses(headers: Mapping[str, str]) -> bool:
    function = "x-edge-function" in headers and _PROBLEM not in headers.get("content-type", "")
    # The tests' own servers are http.server's.
    return function or headers.get("server", "").startswith(("BaseHTTP/", "SimpleHTTP/"))


@functools.cache
def _patterns() -> Mapping[str, re.Pattern[str]]:
    return {
        "environment": _any_of(ENVIRON.values()),
        "token": _any_of([TOKEN]),
        "exception": _any_of([EXCEPTION]),
        "traceback": re.compile(_TRACEBACK),
        "path": _any_of(_paths()),
        "version": re.compile("|".join(_versions()), re.IGNORECASE),
    }


def _any_of(texts: Iterable[str]) -> re.Pattern[str]:
    return re.compile("|".join(map(re.escape, sorted(set(texts)))))


def _paths() -> Iterator[str]:
    """The checkout, the environment, the interpreter, where tests keep the auto-fix home."""
    yield from ("site-packages", "dist-packages", f"{tempfile.gettempdir()}/")
    yield from (str(_ROOT), sys.prefix, sysconfig.get_path("stdlib"))
    if Path.home() != Path("/"):
        yield f"{Path.home()}/"


def _versions() -> Iterator[str]:
    """``Flask/3.1.2`` and ``flask 3.1.2`` for each distribution, and the interpreter's."""
    yield rf"\bC?Python[/ ]{sys.version_info.major}\.{sys.version_info.minor}\b"
    for found in importlib.metadata.distributions():
        name = re.sub(r"[-_.]+", "[-_.]", re.sub(r"[^\w.-]", "", found.name))
        yield rf"\b{name}[/ ]v?{re.escape(found.version)}\b"
