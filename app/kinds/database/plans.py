"""What is said of a database that fails, and what would be done about it."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping

from app.healing.kind import Fault, Outcome, Plan
from app.kinds.database.causes import Cause

KIND = "database"
#: What can be done about each cause; of those in OPERATOR nobody else can do it.
ADVICE: Mapping[Cause, str] = {
    Cause.DNS: "the name of its host cannot be resolved",
    Cause.REFUSED: "its host refuses connections: is the server running?",
    Cause.UNREACHABLE: "its host cannot be reached, or does not speak the protocol",
    Cause.TLS: "no trusted TLS connection is made: look at sslmode and at the certificates",
    Cause.AUTHENTICATION: "user or password are refused: set those that the server knows",
    Cause.NO_DATABASE: "the server has no database of that name",
    Cause.TOO_MANY_CONNECTIONS: "the server has no connection left: lower the pools, or raise its"
    " limit",
    Cause.STARTING_UP: "the server is starting",
    Cause.SHUTTING_DOWN: "the server is shutting down",
    Cause.WRONG_ROLE: "the hosts that answer take no writes",
    Cause.TIMEOUT: "it does not answer in time",
    Cause.POOL_EXHAUSTED: "every connection of the pool is in use",
    Cause.STALE_CONNECTIONS: "the server has ended connections that were in use",
    Cause.MIGRATION_PENDING: "it waits for migrations",
    Cause.DRIVER_MISSING: "a package that it is reached with is missing",
    Cause.DISK_FULL: "the disk of the server is full",
    Cause.INVALID_URL: "its URL cannot be used",
    Cause.LOCKED: "somebody who writes has locked it for longer than its connect_timeout",
    Cause.READONLY: "this user may not write its file, or to the file's directory",
    Cause.CORRUPT: "its file is damaged",
    Cause.MISSING_DIRECTORY: "the directory of its file is not there",
    Cause.NOT_A_DATABASE: "its file is no database",
}
OPERATOR = frozenset(
    {
        Cause.TLS,
        Cause.AUTHENTICATION,
        Cause.NO_DATABASE,
        Cause.POOL_EXHAUSTED,
        Cause.MIGRATION_PENDING,
        Cause.DISK_FULL,
        Cause.INVALID_URL,
        Cause.READONLY,
    }
)
STEPS: Mapping[Cause, str] = {
    Cause.DNS: "resolve the name anew",
    Cause.STARTING_UP: "wait until the server has started",
    Cause.WRONG_ROLE: "look for a host of the URL that takes writes",
    Cause.DRIVER_MISSING: "install the packages that are approved for it",
}


def fault_of(name: str, cause: Cause, detail: str, steps: Mapping[Cause, str] | None) -> Fault:
    """A fault with its plan, or with the refusal where an operator has to mend it.

    ``steps`` are what is done about some causes beside connecting anew; None where nothing may be.
    ``detail`` is safe to show.
    """
    advice = f"database {name}: {ADVICE[cause]}{f' ({detail})' if detail else ''}"
    if steps is None or (cause in OPERATOR and cause not in steps):
        refusal = Outcome.NOT_FIXABLE
        return Fault(kind=KIND, subject=name, cause=cause, advice=advice, refusal=refusal)
    lines = (*filter(None, [steps.get(cause)]), f"connect database {name} anew")
    digest = hashlib.sha256("\0".join((cause, *lines)).encode()).hexdigest()[:16]
    plan = Plan(steps=lines, digest=digest)
    return Fault(kind=KIND, subject=name, cause=cause, advice=advice, plan=plan)
