"""Request ids and W3C trace context (https://www.w3.org/TR/trace-context/) of a call."""

from __future__ import annotations

import re
import secrets
import uuid
from collections.abc import Mapping

_REQUEST_ID = re.compile(r"[A-Za-z0-9][A-Za-z0-9._:=+/-]{0,127}", re.ASCII)
_TRACEPARENT = re.compile(
    r"(?P<version>[0-9a-f]{2})-(?P<trace>[0-9a-f]{32})-(?P<span>[0-9a-f]{16})-(?P<flags>[0-9a-f]{2})",
    re.ASCII,
)
_TRACESTATE = re.compile(r"[ -~\t]{1,512}")
_NOT_SAMPLED = "00"


def request_id(given: str | None) -> str:
    """The caller's id when it is a plain one, or else a new one."""
    return given if given and _REQUEST_ID.fullmatch(given) else uuid.uuid4().hex


def trace_headers(given: Mapping[str, str]) -> dict[str, str]:
    """The trace context of a call that this process makes.

    The caller's trace goes on under a new span; a context that is not valid is replaced.

    Args:
        given: the caller's headers by lower-case name.
    """
    match = _TRACEPARENT.fullmatch(given.get("traceparent", ""))
    if match is None or not _is_valid(match):
        return {"Traceparent": _traceparent(secrets.token_hex(16), _NOT_SAMPLED)}
    headers = {"Traceparent": _traceparent(match["trace"], match["flags"])}
    state = given.get("tracestate", "")
    return {**headers, "Tracestate": state} if _TRACESTATE.fullmatch(state) else headers


def _is_valid(match: re.Match[str]) -> bool:
    return match["version"] != "ff" and set(match["trace"]) != {"0"} and set(match["span"]) != {"0"}


def _traceparent(trace: str, flags: str) -> str:
    return f"00-{trace}-{secrets.token_hex(8)}-{flags}"
