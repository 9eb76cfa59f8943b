"""RFC 9457 problem details as plain data: the same below Flask as above it."""

from __future__ import annotations

import json

MEDIA_TYPE = "application/problem+json"
#: A response that says nothing else may load nothing, run nothing and stand in no frame.
SAFE_HEADERS = {
    "X-Content-Type-Options": "nosniff",
    "Content-Security-Policy": "default-src 'none'; frame-ancestors 'none'; sandbox",
    "Referrer-Policy": "no-referrer",
}


def problem_document(status: int, code: str, title: str, detail: str, **extra: object) -> str:
    """The body of a problem, which also carries ``error`` for callers of the older kind.

    Args:
        status: the HTTP status.
        code: a stable machine-readable word, such as ``module_required``.
        title: what kind of problem this is, the same each time.
        detail: one sentence about this occurrence, safe to show.
        extra: more members, JSON values.
    """
    body = {
        "title": title,
        "status": status,
        "detail": detail,
        "code": code,
        "error": detail,
        **extra,
    }
    return json.dumps(body) + "\n"
