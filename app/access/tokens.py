"""Bearer tokens: who may change things and see details.

They come from AUTO_FIX_TOKEN (whose name is ``default``), AUTO_FIX_TOKENS and the file that
AUTO_FIX_TOKEN_FILE names. Several at once let one be replaced while the other still works.
"""

from __future__ import annotations

import hashlib
import hmac
import logging
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path

from app.settings.declarations import Settings
from app.settings.errors import SettingFault, SettingsError
from app.settings.files import FollowedFile, read_bounded
from app.settings.variable import TokenPair, parse_token_file

logger = logging.getLogger(__name__)

#: What AUTO_FIX_TOKEN's token is called.
DEFAULT_NAME = "default"
LIST_SETTING = "AUTO_FIX_TOKENS"
LIST_EXPECTED = f"no name twice, and none that is {DEFAULT_NAME} beside AUTO_FIX_TOKEN"
FILE_SETTING = "AUTO_FIX_TOKEN_FILE"
FILE_EXPECTED = "a readable file with one token or name:token lines, their names used nowhere else"
#: The largest token file, in bytes.
MAX_FILE = 64 * 1024

_Known = tuple[tuple[str, bytes], ...]


class Tokens:
    """The tokens of the moment; safe to use from any thread.

    The file is followed without a restart: looked at once a second at most, and only when somebody
    presents a token. While it cannot be used its last good tokens hold, and the log has one line.
    Tokens themselves are not stored, only their digests.

    Args:
        fixed: names and tokens that stay, each name once.
        file: where more of them are, or None.
        clock: seconds that never go back.
    """

    def __init__(
        self,
        fixed: tuple[TokenPair, ...] = (),
        file: Path | None = None,
        *,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._fixed = _digests(fixed)
        self._known = self._fixed
        self._faulty = False
        self._file: FollowedFile | None = None
        if file is not None:
            self._file = FollowedFile(file, partial(self._load, file), clock=clock)

    @classmethod
    def from_settings(cls, settings: Settings) -> Tokens:
        """The tokens that the settings name; a file that cannot be used is logged, not raised."""
        return cls(_fixed(settings), settings.token_file)

    @property
    def configured(self) -> bool:
        """Whether there are tokens, or would be if their file could be used."""
        return self._file is not None or bool(self._fixed)

    def name_of(self, given: str) -> str | None:
        """The name of a token, None for one that nobody has.

        It is compared with every token, in a time that does not depend on what is given.
        """
        if self._file is not None:
            self._file.refresh()
        digest, found = _digest(given), None
        for name, known in self._known:
            if hmac.compare_digest(known, digest):
                found = name
        return found

    def digest_of(self, name: str) -> bytes | None:
        """What stands for the token of that name, None when there is none of it any more."""
        if self._file is not None:
            self._file.refresh()
        return dict(self._known).get(name)

    def _load(self, file: Path) -> None:
        try:
            read = _read(file, {name for name, _ in self._fixed})
        except (OSError, ValueError) as error:
            # Neither has the path, which may be a token that was put into the wrong setting.
            reason = error.strerror if isinstance(error, OSError) else str(error)
        else:
            self._faulty = False
            self._known = (*self._fixed, *_digests(read))
            fields = {"names": " ".join(name for name, _ in read)}
            logger.info("tokens read from the file", extra={"fields": fields})
            return
        # Logged once: a file that is replaced in several steps is faulty at each of them.
        if not self._faulty:
            self._faulty = True
            event = "token file cannot be used, the last good one holds"
            logger.error(event, extra={"fields": {"reason": reason, "tokens": len(self._known)}})


def check_token_file(settings: Settings) -> None:
    """Make sure that no two tokens have the same name, and that a file of tokens has one.

    For the start of the service alone: a worker that begins later, while the file is being
    replaced, has to serve all the same.

    Raises:
        SettingsError: naming each setting that cannot be used.
    """
    faults = []
    names = [name for name, _ in _fixed(settings)]
    if len(set(names)) < len(names):
        faults.append(SettingFault(LIST_SETTING, None, LIST_EXPECTED))
    if settings.token_file is not None:
        try:
            _read(settings.token_file, set(names))
        except (OSError, ValueError):
            faults.append(SettingFault(FILE_SETTING, None, FILE_EXPECTED))
    if faults:
        raise SettingsError(tuple(faults))


def _fixed(settings: Settings) -> tuple[TokenPair, ...]:
    default = ((DEFAULT_NAME, settings.token),) if settings.token else ()
    return (*default, *settings.tokens)


def _read(file: Path, taken: set[str]) -> tuple[TokenPair, ...]:
    """The tokens of a file.

    Raises:
        OSError: it cannot be read.
        ValueError: it holds no tokens, or one has a name that is taken.
    """
    try:
        text = read_bounded(file, MAX_FILE).decode("utf-8-sig")
    except UnicodeDecodeError:
        # Its own text quotes a byte of the file.
        raise ValueError("expected text") from None
    pairs = parse_token_file(text)
    if not taken.isdisjoint(name for name, _ in pairs):
        raise ValueError("expected names that no other setting has")
    return pairs


def _digests(pairs: tuple[TokenPair, ...]) -> _Known:
    return tuple((name, _digest(token)) for name, token in pairs)


def _digest(token: str) -> bytes:
    # A header is bytes that were read as Latin-1; a lone surrogate is nobody's token either.
    return hashlib.sha256(token.encode(errors="surrogatepass")).digest()
