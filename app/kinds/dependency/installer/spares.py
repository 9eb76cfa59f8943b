"""Spares: wheels of what is approved and missing, fetched while nothing else is to be done.

A heal whose wheels all lie here needs no index. They are downloaded one by one, verified against
the lock, and bounded in bytes; what the lock no longer names, or is installed by now, goes, and so
does what an interpreter has left that is not used any more.
"""

from __future__ import annotations

import hashlib
import logging
import shutil
import time
from collections.abc import Callable, Iterable, Sequence
from contextlib import suppress
from pathlib import Path

from app.healing.background import BoundedCall
from app.healing.children import child_group, limit_file_size
from app.healing.locks import Busy, exclusive
from app.kinds.dependency.installer.configuration import tool_environ
from app.kinds.dependency.installer.tools import Tools, wait
from app.kinds.dependency.lock import LockedDistribution
from app.kinds.dependency.requirements import normalize

logger = logging.getLogger(__name__)

#: Seconds between two looks for what is missing, and after which one download is given up.
LOOK, DOWNLOAD_DEADLINE = 600.0, 300.0
#: Seconds for which those of another interpreter, which a rolling upgrade has, are kept unused.
OTHERS_KEPT = 24 * 3600.0
LOCK, INCOMING = "fetching.lock", "incoming"
DOWNLOAD = (
    *("download", "--no-deps", "--require-hashes", "--only-binary", ":all:", "--no-input"),
    *("--progress-bar=off", "--disable-pip-version-check", "--quiet"),
)


class Spares:
    """The spares under one directory.

    Args:
        directory: where those of this interpreter are, beside those of others; made when the first
            one is fetched.
        limit: how many bytes they may be altogether, with those of others.
        tools: the installers; of them pip downloads.
        wanted: what to have, asked anew at each look.
    """

    def __init__(
        self,
        directory: Path,
        limit: int,
        tools: Tools,
        wanted: Callable[[], Iterable[LockedDistribution]],
    ) -> None:
        self._directory, self._limit = directory, limit
        self._tools, self._wanted = tools, wanted
        self._look: BoundedCall[None] | None = None

    def holding(self, pins: Sequence[LockedDistribution]) -> Path | None:
        """The directory, when it has a wheel of each of these pins with a locked hash."""
        return self._directory if pins and all(map(self._wheel, pins)) else None

    def fetch_soon(self) -> None:
        """Look in a thread for what is missing, unless that was done a moment ago."""
        look = self._look
        if look is None or look.orphaned or look.age > LOOK:
            self._look = BoundedCall(self.fetch, "spares")

    def fetch(self) -> None:
        """Fetch what is missing; whoever comes second on a host leaves it to the first."""
        wanted = list(self._wanted())
        try:
            self._directory.mkdir(parents=True, exist_ok=True)
            with suppress(Busy), exclusive(self._directory / LOCK, wait=0):
                (self._directory / LOCK).touch()
                self._discard(wanted)
                for pin in wanted:
                    if self._wheel(pin) is None and not self._fetch(pin):
                        break
        except OSError as error:
            fields = {"error": type(error).__name__}
            logger.info("spares cannot be kept", extra={"fields": fields})

    def _fetch(self, pin: LockedDistribution) -> bool:
        """Download and verify one wheel; False when there is no room or no pip for more."""
        pip = next((tool for tool in self._tools.here() if tool.name == "pip"), None)
        wheels = self._directory.parent.glob("*/*.whl")
        room = self._limit - sum(path.stat().st_size for path in wheels)
        if pip is None or room <= 0:
            return False
        incoming = self._directory / INCOMING
        shutil.rmtree(incoming, ignore_errors=True)
        incoming.mkdir()
        listed = incoming / "requirements.txt"
        listed.write_text(f"{pin.line}\n", encoding="utf-8")
        command = (*pip.program, *DOWNLOAD, "-d", str(incoming), "-r", str(listed))
        # What a cache holds beside it would not be bounded.
        environ = tool_environ("pip", self._tools.environ)
        environ |= {"TMPDIR": str(incoming), "PIP_NO_CACHE_DIR": "1"}
        try:
            with child_group(command, environ=environ, directory=Path("/")) as child:
                limit_file_size(child, room)
                wait(child, DOWNLOAD_DEADLINE)
            for wheel in incoming.glob("*.whl"):
                if wheel.stat().st_size <= room and _digest(wheel) in pin.hashes:
                    wheel.rename(self._directory / wheel.name)
                    fields = {"pin": pin.pin}
                    logger.info("a spare has been fetched", extra={"fields": fields})
        finally:
            shutil.rmtree(incoming, ignore_errors=True)
        return True

    def _discard(self, wanted: Sequence[LockedDistribution]) -> None:
        kept = {self._wheel(pin) for pin in wanted}
        for path in self._directory.glob("*.whl"):
            if path not in kept:
                path.unlink(missing_ok=True)
        for lock in self._directory.parent.glob(f"*/{LOCK}"):
            other = lock.parent
            if time.time() - lock.stat().st_mtime > OTHERS_KEPT and not other.is_symlink():
                shutil.rmtree(other, ignore_errors=True)

    def _wheel(self, pin: LockedDistribution) -> Path | None:
        for path in self._directory.glob(f"*-{pin.version}-*.whl"):
            if normalize(path.name.partition("-")[0]) == pin.name:
                with suppress(OSError):
                    if _digest(path) in pin.hashes:
                        return path
        return None


def _digest(path: Path) -> str:
    with path.open("rb") as file:
        return f"sha256:{hashlib.file_digest(file, 'sha256').hexdigest()}"
