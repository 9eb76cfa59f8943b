"""The request methods that are told apart; a caller can make up any other."""

from __future__ import annotations

#: Those of RFC 9110 section 9 and RFC 5789.
METHODS = frozenset(
    {"CONNECT", "DELETE", "GET", "HEAD", "OPTIONS", "PATCH", "POST", "PUT", "TRACE"}
)
