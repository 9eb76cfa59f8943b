"""Where in a TOML text a table or a key stands, which ``tomllib`` does not tell."""

from __future__ import annotations

import re

#: Comments and strings, in the order in which a reader of TOML meets them. The branches that
#: come first keep a quote inside a comment, or a hash inside a string, from opening anything.
_OPAQUE = re.compile(
    r"#[^\n]*"
    r'|"""(?:\\.|[^\\])*?"""+'
    r"|'''.*?'''+"
    r'|"(?:\\.|[^"\\\n])*"'
    r"|'[^'\n]*'",
    re.DOTALL,
)
_MULTI_LINE = ('"""', "'''")
_HEADER = re.compile(r"\s*\[")


class TomlLines:
    """The lines, counted from 1, of the tables of one array in a text that is valid TOML.

    A table written inline has no line of its own: its answers are the line of its array.
    """

    def __init__(self, text: str, array: str) -> None:
        self._lines = _without_long_strings(text).split("\n")
        self._array = array
        header = re.compile(rf"\s*\[\[\s*{_spelled(array)}\s*\]\]")
        self._tables = [n for n, line in enumerate(self._lines, 1) if header.match(line)]

    def top(self, key: str) -> int | None:
        """The line of a key, or of a table's header, of the document itself."""
        opening = re.compile(rf"\s*(?:\[\[?\s*)?{_spelled(key)}\s*[=.\]]")
        return self._find(opening, 1, len(self._lines))

    def table(self, index: int) -> int | None:
        """The line of the header of the array's table with this index."""
        if index < len(self._tables):
            return self._tables[index]
        return self.top(self._array)

    def key(self, index: int, key: str) -> int | None:
        """The line of a key of that table, or the table's own when the key is not found."""
        start = self.table(index)
        if start is None or index >= len(self._tables):
            return start
        assignment = re.compile(rf"\s*{_spelled(key)}\s*[=.]")
        subtable = re.compile(rf"\s*\[\s*{_spelled(self._array)}\s*\.\s*{_key(key)}\s*[.\]]")
        after = self._tables[index + 1] - 1 if index + 1 < len(self._tables) else len(self._lines)
        return (
            self._find(assignment, start + 1, self._end(start))
            or self._find(subtable, start + 1, after)
            or start
        )

    def _end(self, start: int) -> int:
        """The last line before the next header."""
        following = self._find(_HEADER, start + 1, len(self._lines))
        return len(self._lines) if following is None else following - 1

    def _find(self, pattern: re.Pattern[str], first: int, last: int) -> int | None:
        numbers = range(first, last + 1)
        return next((n for n in numbers if pattern.match(self._lines[n - 1])), None)


def _without_long_strings(text: str) -> str:
    """The text with multi-line strings emptied, so that what they hold looks like no key."""

    def emptied(match: re.Match[str]) -> str:
        found = match.group()
        return "\n" * found.count("\n") if found.startswith(_MULTI_LINE) else found

    return _OPAQUE.sub(emptied, text)


def _spelled(key: str) -> str:
    """A pattern for the key, bare or quoted."""
    return rf"""(?P<quote>["']?){re.escape(key)}(?P=quote)"""


def _key(key: str) -> str:
    """The same for a second key of one pattern."""
    return rf"""(?P<second>["']?){re.escape(key)}(?P=second)"""
