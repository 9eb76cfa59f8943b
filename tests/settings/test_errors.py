"""Texts of errors: what they show of a value, and never of credentials."""

from __future__ import annotations

import re
import time

import pytest

from app.settings.errors import MAX_SHOWN, shown, without_credentials

#: Passwords with characters that end a host, a path or a query where they stand raw.
PASSWORDS = ["s3cret", "s3c/ret", "s3c#ret", "s3c?ret", "s3c@ret", "s3c%2Fret", "s3c%zz", "12/s3c"]


class TestWithoutCredentials:
    """Users and passwords of addresses are taken out, the rest stays."""

    @pytest.mark.parametrize("password", PASSWORDS)
    @pytest.mark.parametrize("scheme", ["", "https://", "git+ssh://", "HTTP://"])
    def test_any_password(self, scheme: str, password: str) -> None:
        """The host and what follows it stay, with a scheme and without one."""
        address = f"{scheme}user:{password}@host.example:8443/a/b"
        assert without_credentials(address) == f"{scheme}...@host.example:8443/a/b"
        assert without_credentials(f"ask {address}, now") == (
            f"ask {scheme}...@host.example:8443/a/b, now"
        )

    @pytest.mark.parametrize("before", ["`", "'", '"', "(", "<", "--index-url=", "URL='"])
    def test_what_stands_before_an_address(self, before: str) -> None:
        """Quotes, brackets and the name of an option do not hide an address."""
        assert without_credentials(f"{before}https://u:p@host") == f"{before}https://...@host"
        assert "s3cret" not in without_credentials(f"{before}user:s3cret@host")

    @pytest.mark.parametrize(
        "text", ["", "@", "nothing", "https://host/a?b#c", "a @ https://host/a.whl", "a: b", "x@ y"]
    )
    def test_no_credentials(self, text: str) -> None:
        """A text without any is left as it is."""
        assert without_credentials(text) == text

    @pytest.mark.parametrize("password", PASSWORDS)
    def test_pieces(self, password: str) -> None:
        """Of a known address no piece stays that a client may have cut out of it."""
        first, *rest = re.split("[/#?@]", password)
        text = f"port {first!r} of http://someone:{first}/simple, {' '.join(rest)} {password}"
        addresses = [f"http://someone:{password}@host.example/simple", "http://host", "unrelated"]
        safe = without_credentials(text, addresses)
        assert [piece for piece in ("someone", first, *rest) if piece in safe] == []
        assert re.match(r"port '\.\.\.' of http://[.:]*/simple, ", safe)

    def test_words_that_hold_a_piece(self) -> None:
        """A piece is taken out where it stands by itself, not inside of other words."""
        assert without_credentials("a cart at it", ["http://a:it@host"]) == "... cart at ..."

    @pytest.mark.parametrize("character", ["a", "@", ":", "/", "(", "="])
    def test_a_long_run(self, character: str) -> None:
        """A text of one endless word costs no more than its length."""
        begun = time.monotonic()
        without_credentials(character * 1_000_000 + " end")
        assert time.monotonic() - begun < 5


class TestShown:
    """A value in a sentence."""

    def test_bounded_and_harmless(self) -> None:
        """It is one line of bounded length, without credentials."""
        text = shown("user:s3cret@host/\n\x1b[2J" + "a" * 1000)
        assert len(text) <= MAX_SHOWN + 2
        assert text.isprintable()
        assert "s3cret" not in text
