"""The response headers that the API speaks of."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

from app.description.schemas import Schema, exactly, one_of, text, whole
from app.edge.transports import AIOHTTP_UNAVAILABLE, EVENTLET_WORKER

#: What every answer of the application carries.
EVERYWHERE = ("Content-Security-Policy", "Referrer-Policy", "X-Content-Type-Options")
_ISOLATION = "What this origin shares with others: nothing."
#: The end of a header's name that says: it may be missing.
MAYBE = "?"

_HEADERS: Mapping[str, tuple[str, Schema]] = {
    "Age": ("Seconds since the service found it out.", whole()),
    "Allow": ("The methods that there are.", text()),
    "Cache-Control": ("Whether and how long it may be kept.", text()),
    "Content-Range": ("Which part of the file this is.", text(pattern="^bytes ")),
    "Content-Security-Policy": ("What a browser may load for it: next to nothing.", text()),
    "Cross-Origin-Opener-Policy": (_ISOLATION, text()),
    "Cross-Origin-Resource-Policy": (_ISOLATION, text()),
    "ETag": ("Its version; for `If-None-Match`.", text(pattern='^(W/)?".*"$')),
    "Last-Modified": ("When it was last changed.", text()),
    "Permissions-Policy": (_ISOLATION, text()),
    "Referrer-Policy": ("What a browser tells others of where it came from.", text()),
    "Retry-After": ("Seconds after which to ask again.", whole()),
    "Strict-Transport-Security": ("Over https alone: that it is used for two years.", text()),
    "Vary": ("The request headers that it depends on.", text()),
    "WWW-Authenticate": ("How to authenticate (RFC 6750).", text(pattern="^Bearer ")),
    "X-Content-Type-Options": ("The type is as it says.", exactly("nosniff")),
    "X-Edge-Fallback-Reason": (
        "Why it was not called with the first choice.",
        one_of((AIOHTTP_UNAVAILABLE, EVENTLET_WORKER)),
    ),
    "X-Edge-Function": ("The function that was called.", text()),
    "X-Edge-Transport": ("What it was called with.", one_of(("aiohttp", "requests"))),
    "X-Permitted-Cross-Domain-Policies": (_ISOLATION, text()),
    "X-Request-ID": ("Under which the log speaks of this request.", text(minLength=1)),
}


def components() -> dict[str, Schema]:
    """Each header twice: as one that is always there, and as one that may be."""
    return {
        f"{name}{suffix}": {"description": said, "required": required, "schema": schema}
        for name, (said, schema) in _HEADERS.items()
        for suffix, required in (("", True), (".optional", False))
    }


def references(variants: Sequence[Iterable[str]]) -> dict[str, Schema]:
    """The headers of a response of several variants; required is what all of them send."""
    names = [set(variant) for variant in variants]
    known = {name.removesuffix(MAYBE) for variant in names for name in variant}
    return {
        name: _reference(name, always=all(name in variant for variant in names))
        for name in sorted(known)
    }


def _reference(name: str, *, always: bool) -> Schema:
    return {"$ref": f"#/components/headers/{name}{'' if always else '.optional'}"}
