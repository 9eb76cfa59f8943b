"""The files that pages load: text is sent compressed to who takes that, and compressed once."""

from __future__ import annotations

import functools
import gzip
from http import HTTPStatus

from flask import Flask, Response, current_app, request

#: What is no text is compressed already. Python 3.11 alone says application/javascript.
TEXT = ("text/", "image/svg", "application/javascript")


def init_app(app: Flask) -> None:
    """Serve the application's files so."""
    app.view_functions["static"] = send


def send(filename: str) -> Response:
    """One file, by Flask's own rules."""
    response = current_app.send_static_file(filename)
    whole = response.status_code == HTTPStatus.OK and "Range" not in request.headers
    if not (whole and (response.mimetype or "").startswith(TEXT)):
        return response
    response.vary.add("Accept-Encoding")
    if request.accept_encodings["gzip"]:
        tag, _ = response.get_etag()
        response.direct_passthrough = False
        response.set_data(_compressed(tag or "", response.get_data()))
        response.content_encoding = "gzip"
        response.set_etag(f"{tag}-gzip")
        response.make_conditional(request)
    return response


@functools.lru_cache(maxsize=16)
def _compressed(tag: str, content: bytes) -> bytes:  # noqa: ARG001 - what the cache goes by
    return gzip.compress(content, 9, mtime=0)
