"""Named bearer tokens as text: ``name:token`` pairs in a variable, or one a line in a file.

No error says what the text was: it may be a token.
"""

from __future__ import annotations

import re
from collections.abc import Iterable

TokenPair = tuple[str, str]

_NAME = re.compile(r"[A-Za-z0-9._-]{1,64}")
_TOKEN = re.compile(r"[!-~]{1,4096}")
#: What the only token of a file is called when the file gives it no name.
FILE_NAME = "file"


def parse_token(text: str) -> str:
    """The token: visible ASCII without spaces, no longer than a header may be.

    Raises:
        ValueError: it is something else, or empty.
    """
    if not _TOKEN.fullmatch(text):
        raise ValueError("expected visible ASCII characters without spaces")
    return text


def parse_tokens(text: str) -> tuple[TokenPair, ...]:
    """The pairs of ``name:token,name:token``, in their order; no token has a comma here.

    A name has 1 to 64 letters, digits, dots, underscores and hyphens.

    Raises:
        ValueError: one is no such pair, or two have the same name.
    """
    return _distinct(_pair(entry.strip()) for entry in text.split(","))


def parse_token_file(text: str) -> tuple[TokenPair, ...]:
    """The tokens of a file: ``name:token`` on each line, or a single token alone.

    Blank lines and those that begin with ``#`` are left out. A line with a colon is a pair.

    Raises:
        ValueError: a line is neither, two names are the same, or there is no token.
    """
    stripped = [line.strip() for line in text.splitlines()]
    lines = [line for line in stripped if line and not line.startswith("#")]
    if not lines:
        raise ValueError("expected a token")
    if len(lines) == 1 and ":" not in lines[0]:
        return ((FILE_NAME, parse_token(lines[0])),)
    return _distinct(_pair(line) for line in lines)


def _pair(text: str) -> TokenPair:
    name, colon, token = text.partition(":")
    if not colon or not _NAME.fullmatch(name):
        raise ValueError("expected name:token")
    return name, parse_token(token)


def _distinct(found: Iterable[TokenPair]) -> tuple[TokenPair, ...]:
    pairs = tuple(found)
    if len({name for name, _ in pairs}) < len(pairs):
        raise ValueError("expected each name once")
    return pairs
