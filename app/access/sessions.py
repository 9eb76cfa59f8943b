"""Sessions of the pages: a signed cookie that stands for a token, for eight hours.

Browsers cannot send a bearer token with a link, so a form takes the token once. What signs the
cookie is made of a key that is kept in the home and of the token: a session counts on every worker
of the host, until it is ended, too old, or its token is no token any more.
"""

from __future__ import annotations

import hashlib
import hmac
import os
import secrets
import time
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING

from app.access.tokens import Tokens
from app.healing.home import make_directory

if TYPE_CHECKING:
    from itsdangerous import TimestampSigner

#: Seconds for which a session counts.
LASTS = 8 * 60 * 60
KEY_BYTES = 32


class Sessions:
    """Who has shown a token by a form; safe to use from any thread.

    Args:
        home: where the key is kept; it is made with the first session.
        tokens: those that count now.
    """

    def __init__(self, home: Path, tokens: Tokens) -> None:
        self._path = home / "session.key"
        self._ended = home / "ended-sessions"
        self._tokens = tokens

    def begin(self, name: str) -> str | None:
        """The cookie of a new session for the token of that name.

        None when the key cannot be kept: no other worker would take the cookie.
        """
        signing = self._signing_key(name) or (self._make_key() and self._signing_key(name))
        if not signing:
            return None
        return _signer(signing).sign(f"{secrets.token_urlsafe(16)}.{name}").decode()

    def name_of(self, cookie: str) -> str | None:
        """The name of the token that a session stands for, None when it counts no more."""
        name = cookie.partition(".")[2].rpartition(".")[0].rpartition(".")[0]
        signing = self._signing_key(name) if name else None
        if signing is None:
            return None
        # It comes with Flask, which the process may have had to heal.
        from itsdangerous import BadSignature

        with suppress(BadSignature, OSError):
            if _signer(signing).unsign(cookie, LASTS) and not self._mark(cookie).exists():
                return name
        return None

    def end(self, cookie: str) -> None:
        """Have a session that counts count no more, on every worker: a copy of its cookie neither.

        In a home that cannot be written it ends with its browser's cookie alone.
        """
        with suppress(OSError):
            make_directory(self._ended)
            self._mark(cookie).touch(mode=0o600)
            for mark in self._ended.iterdir():
                if time.time() - mark.stat().st_mtime > LASTS:
                    mark.unlink(missing_ok=True)

    def _mark(self, cookie: str) -> Path:
        """What stands in the home for a session that has ended: its random part is its name."""
        return self._ended / cookie.partition(".")[0]

    def form_token(self, cookie: str) -> str:
        """What each form of a session has to send along, which no other site can know."""
        return hmac.new(self._read_key() or b"", cookie.encode(), "sha256").hexdigest()

    def _signing_key(self, name: str) -> bytes | None:
        key, digest = self._read_key(), self._tokens.digest_of(name)
        return hmac.digest(key, digest, "sha256") if key and digest else None

    def _read_key(self) -> bytes | None:
        with suppress(OSError):
            key = self._path.read_bytes()
            return key if len(key) == KEY_BYTES else None
        return None

    def _make_key(self) -> bool:
        """Keep a new key, unless another worker has been faster; whether there is one now."""
        fresh = self._path.with_name(f".{self._path.name}.{secrets.token_hex(8)}")
        with suppress(OSError):
            make_directory(fresh.parent)
            descriptor = os.open(fresh, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
            with os.fdopen(descriptor, "wb") as file:
                file.write(secrets.token_bytes(KEY_BYTES))
            if self._path.exists() and self._read_key() is None:
                # Something else has its name, or it was cut short.
                self._path.unlink()
            with suppress(FileExistsError):
                self._path.hardlink_to(fresh)
        with suppress(OSError):
            fresh.unlink(missing_ok=True)
        return self._read_key() is not None


def _signer(key: bytes) -> TimestampSigner:
    from itsdangerous import TimestampSigner

    return TimestampSigner(key, salt="auto-fix-session", digest_method=hashlib.sha256)
