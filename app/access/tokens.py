"""Bearer tokens: who may change things and see details.

They come from AUTO_FIX_TOKEN (whose name is ``default``), AUTO_FIX_TOKENS and the file that
AUTO_FIX_TOKEN_FILE names. Several at once let one be replaced while the other still works.
"""

from __future__ import annotations

import hashlib
import hmac
import logging
import os
import stat
import threading
import time
from collections.abc import Callable
from pathlib import Path

from app.settings.declarations import Settings
from app.settings.errors import SettingFault, SettingsError
from app.settings.token_pairs import TokenPair, parse_token_file

logger = logging.getLogger(__name__)

#: What AUTO_FIX_TOKEN's token is called.
DEFAULT_NAME = "default"
LIST_SETTING = "AUTO_FIX_TOKENS"
LIST_EXPECTED = f"no name twice, and none that is {DEFAULT_NAME} beside AUTO_FIX_TOKEN"
FILE_SETTING = "AUTO_FIX_TOKEN_FILE"
FILE_EXPECTED = "a readable file with one token or name:token lines, their names used nowhere else"
#: Seconds between two looks at the file.
LOOK_SECONDS = 1.0
#: The largest token file, in bytes.
MAX_FILE = 64 * 1024

_Known = tuple[tuple[str, bytes], ...]
_Signature = tuple[int, int, int] | None


class Tokens:
    """The tokens of the moment; safe to use from any thread.

    The file is followed without a restart: looked at once a second at most, and only when somebody
    presents a token. While it cannot be used its last good tokens hold, and the log has one line.
    Tokens themselves are not kept, only their digests.

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
        self._file = file
        self._clock = clock
        self._lock = threading.Lock()
        self._looked_at = clock()
        self._signature: _Signature = None
        self._known = self._fixed
        self._faulty = False
        if file is not None:
            self._follow(file)

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
        digest, found = _digest(given), None
        for name, known in self._current():
            if hmac.compare_digest(known, digest):
                found = name
        return found

    def _current(self) -> _Known:
        file = self._file
        if file is None or self._clock() - self._looked_at < LOOK_SECONDS:
            return self._known
        if self._lock.acquire(blocking=False):
            try:
                self._looked_at = self._clock()
                self._follow(file)
            finally:
                self._lock.release()
        return self._known

    def _follow(self, file: Path) -> None:
        signature = _sign(file)
        if signature is not None and signature == self._signature:
            return
        self._signature = signature
        try:
            read = _read(file, {name for name, _ in self._fixed})
        except (OSError, ValueError) as error:
            self._cannot_be_used(error)
            return
        self._faulty = False
        self._known = (*self._fixed, *_digests(read))
        fields = {"names": " ".join(name for name, _ in read)}
        logger.info("tokens read from the file", extra={"fields": fields})

    def _cannot_be_used(self, error: OSError | ValueError) -> None:
        """Say it once: a file that is missing or torn for a while is missing at each look."""
        if not self._faulty:
            self._faulty = True
            # Neither has the path, which may be a token that was put into the wrong setting.
            reason = error.strerror if isinstance(error, OSError) else str(error)
            fields = {"reason": reason, "tokens": len(self._known)}
            logger.error(
                "token file cannot be used, the last good one holds", extra={"fields": fields}
            )


def check_token_file(settings: Settings) -> None:
    """Make sure that the tokens can be told apart, and that a file of tokens has one.

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
    with open(file, "rb", opener=_open_at_once) as opened:
        if not stat.S_ISREG(os.fstat(opened.fileno()).st_mode):
            raise ValueError("expected a regular file")
        content = opened.read(MAX_FILE + 1)
    if len(content) > MAX_FILE:
        raise ValueError("expected a smaller file")
    pairs = parse_token_file(_text(content))
    if not taken.isdisjoint(name for name, _ in pairs):
        raise ValueError("expected names that no other setting has")
    return pairs


def _open_at_once(path: str, flags: int) -> int:
    # A pipe in the file's place would wait for somebody who writes to it.
    return os.open(path, flags | os.O_NONBLOCK)


def _text(content: bytes) -> str:
    try:
        return content.decode("utf-8-sig")
    except UnicodeDecodeError:
        # Its own text quotes a byte of the file.
        raise ValueError("expected text") from None


def _sign(file: Path) -> _Signature:
    """What changes with the file's content; None while there is no file."""
    try:
        found = file.stat()
    except OSError:
        return None
    # The change time moves with the content, and with the permissions too.
    return found.st_ctime_ns, found.st_size, found.st_ino


def _digests(pairs: tuple[TokenPair, ...]) -> _Known:
    return tuple((name, _digest(token)) for name, token in pairs)


def _digest(token: str) -> bytes:
    # A header is bytes that were read as Latin-1; a lone surrogate is nobody's token either.
    return hashlib.sha256(token.encode(errors="surrogatepass")).digest()
