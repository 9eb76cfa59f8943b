"""Problem codes: those of the table, and those that a document describes."""

from __future__ import annotations

from typing import Any

from app.web.problem_table import FAILED_CALLS, NOT_FIXED, PROBLEMS, QUARANTINE


def described(schema: Any) -> set[str]:  # noqa: ANN401 - a part of a JSON document
    """Every value that a ``code`` in it may have."""
    if isinstance(schema, list):
        return {code for each in schema for code in described(each)}
    if not isinstance(schema, dict):
        return set()
    own = schema.get("properties", {}).get("code", {}).get("oneOf", ())
    return {choice["const"] for choice in own} | described(list(schema.values()))


def listed() -> set[str]:
    """The codes of the table."""
    rows = (PROBLEMS, QUARANTINE, NOT_FIXED, FAILED_CALLS)
    return {problem.code for table in rows for problem in table.values()}
