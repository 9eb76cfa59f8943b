"""What a run of schemathesis loads: each of its requests comes from an address of its own.

The rate limits and the pause after wrong tokens count by address. With one address for all, most
requests would be answered 429 and say nothing about the API.
"""

from __future__ import annotations

import itertools
from ipaddress import IPv4Address
from typing import TYPE_CHECKING, Any

import schemathesis

if TYPE_CHECKING:
    from schemathesis import Case, HookContext

#: Addresses for documentation and benchmarks (RFC 2544).
_ADDRESSES = map(str, map(IPv4Address, itertools.count(int(IPv4Address("198.18.0.1")))))


@schemathesis.hook
def before_call(_context: HookContext, case: Case[Any], _kwargs: dict[str, Any]) -> None:
    """Say which address the request comes from, as a trusted proxy would."""
    case.headers["X-Forwarded-For"] = next(_ADDRESSES)
