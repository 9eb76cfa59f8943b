"""What may be called a module, and how distributions are spelt."""

from __future__ import annotations

import keyword
import re

from app.settings.errors import InvalidModuleName

#: Longest dotted name that is looked at; the longest in a large environment measured 94.
MAX_MODULE_NAME = 200


def check_module_name(name: str) -> str:
    """Return ``name`` when it is an absolute dotted name of ASCII identifiers.

    Python would import non-ASCII identifiers too. They are refused because no approved module has
    one, and look-alike letters are a way to ask for something other than what is read. So is
    ``__main__``, by which a package is run as a program (PEP 338): importing it would run it here.

    Raises:
        InvalidModuleName: for anything else: empty, relative, over 200 characters, an option.
    """
    parts = name.split(".") if len(name) <= MAX_MODULE_NAME and name.isascii() else []
    if not parts or not all(map(_is_part, parts)):
        raise InvalidModuleName(name)
    return name


def _is_part(part: str) -> bool:
    return part.isidentifier() and not keyword.iskeyword(part) and part != "__main__"


def top_level(module: str) -> str:
    """The first part of a dotted name: what the allow-list speaks of."""
    return module.partition(".")[0]


def normalize(distribution: str) -> str:
    """A distribution's name as PEP 503 compares it."""
    return re.sub(r"[-_.]+", "-", distribution).lower()


def requirement_name(requirement: str) -> str:
    """The normalized distribution name of a PEP 508 requirement such as ``aiohttp>=3.8.0``."""
    match = re.match(r"\s*([A-Za-z0-9][A-Za-z0-9._-]*)", requirement)
    return normalize(match[1]) if match else ""
