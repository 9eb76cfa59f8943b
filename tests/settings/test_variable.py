"""How tokens are written."""

from __future__ import annotations

import pytest

from app.settings.variable import parse_token_file, parse_tokens


class TestPairs:
    """``name:token`` in a variable."""

    @pytest.mark.parametrize(
        ("text", "pairs"),
        [
            ("ci:abc", (("ci", "abc"),)),
            ("ci:abc,ops:def", (("ci", "abc"), ("ops", "def"))),
            (" ci:abc ,\n ops:def ", (("ci", "abc"), ("ops", "def"))),
            ("a.b_C-1:a:b=~!", (("a.b_C-1", "a:b=~!"),)),
            ("a:same,b:same", (("a", "same"), ("b", "same"))),
            ("x" * 64 + ":y", (("x" * 64, "y"),)),
        ],
    )
    def test_read(self, text: str, pairs: tuple[tuple[str, str], ...]) -> None:
        """Pairs keep their order; only the first colon separates."""
        assert parse_tokens(text) == pairs

    @pytest.mark.parametrize(
        "text",
        [
            "",
            ",",
            "bare",
            "ci:",
            ":token",
            "ci:abc,",
            "ci:abc,ops",
            "ci:abc,ci:def",
            "c i:abc",
            "ci:a b",
            "ci: abc",
            "cï:abc",
            "ci:äbc",
            "ci:a\x00c",
            "x" * 65 + ":y",
            "ci:" + "x" * 4097,
        ],
    )
    def test_refused(self, text: str) -> None:
        """What is no list of pairs is refused, and the error does not quote it."""
        with pytest.raises(ValueError, match=r"^expected [a-zA-Z: ]+$"):
            parse_tokens(text)


class TestFileText:
    """The text of a token file."""

    @pytest.mark.parametrize(
        ("text", "pairs"),
        [
            ("abc", (("file", "abc"),)),
            ("\n# ours, für alle\n  abc  \r\n\n", (("file", "abc"),)),
            ("ci:abc\nops:def\n", (("ci", "abc"), ("ops", "def"))),
            ("ci:abc,def\n", (("ci", "abc,def"),)),
        ],
    )
    def test_read(self, text: str, pairs: tuple[tuple[str, str], ...]) -> None:
        """One bare token, or a pair on each line; blank lines and comments do not count."""
        assert parse_token_file(text) == pairs

    @pytest.mark.parametrize(
        "text", ["", "\n\n", "# none\n", "abc\ndef", "ci:abc\ndef", "ci:a\nci:b", "a b", "ci:\n"]
    )
    def test_refused(self, text: str) -> None:
        """No token at all, several bare ones and broken lines are refused."""
        with pytest.raises(ValueError, match=r"^expected [a-zA-Z: ]+$"):
            parse_token_file(text)
