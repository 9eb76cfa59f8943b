"""What an application routes, and what a document describes: paths and methods as OpenAPI says."""

from __future__ import annotations

import re
from collections.abc import Collection
from typing import Any

from flask import Flask

#: The methods that a document can have.
METHODS = frozenset({"get", "put", "post", "delete", "options", "head", "patch", "trace"})


def routed(app: Flask, blueprints: Collection[str] | None = None) -> set[tuple[str, str]]:
    """Every path and method; with ``blueprints`` of these and of the framework alone."""
    rules = (
        rule
        for rule in app.url_map.iter_rules()
        if blueprints is None or rule.endpoint.rpartition(".")[0] in {"", *blueprints}
    )
    return {
        (_path(rule.rule), method.lower())
        for rule in rules
        for method in rule.methods or ()
        if method.lower() in METHODS
    }


def _path(rule: str) -> str:
    plain = rule.replace("{", "%7B").replace("}", "%7D")
    return re.sub(r"<(?:[^<>]*:)?(\w+)>", r"{\1}", plain)


def described(document: dict[str, Any]) -> set[tuple[str, str]]:
    """Every path and method of a document."""
    return {(path, method) for path, item in document["paths"].items() for method in item}
