"""The registry as it follows its file while the service runs."""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Callable, Mapping
from pathlib import Path

from app.edge.functions import EdgeRegistry
from app.edge.registry import load_registry

#: Seconds between two looks at the file.
LOOK_SECONDS = 1.0

_Signature = tuple[int, int, int] | None


class RegistryFile:
    """Reads the file once, and again when it has changed; safe to use from any thread.

    While the file cannot be used, what it last registered stays, with the error beside it.

    Args:
        path: the file, or None when there is none.
        environ: where the headers' values come from.
        clock: seconds that never go back.
    """

    def __init__(
        self,
        path: Path | None,
        environ: Mapping[str, str] = os.environ,
        *,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._path = path
        self._environ = environ
        self._clock = clock
        self._lock = threading.Lock()
        self._looked_at = clock()
        self._signature = self._sign()
        self._registry = load_registry(path, environ)

    @property
    def registry(self) -> EdgeRegistry:
        """What is registered now.

        Costs a stat of the file at most once a second, and whoever finds it changed reads it;
        others go on with what was registered before meanwhile.
        """
        due = self._path is not None and self._clock() - self._looked_at >= LOOK_SECONDS
        if due and self._lock.acquire(blocking=False):
            try:
                self._looked_at = self._clock()
                self._follow()
            finally:
                self._lock.release()
        return self._registry

    def _follow(self) -> None:
        signature = self._sign()
        if signature != self._signature:
            self._signature = signature
            self._registry = load_registry(self._path, self._environ, self._registry)

    def _sign(self) -> _Signature:
        """What changes with the file's content; None while there is no file."""
        if self._path is None:
            return None
        try:
            found = self._path.stat()
        except OSError:
            return None
        return found.st_mtime_ns, found.st_size, found.st_ino


class FixedRegistry:
    """A registry that stays as it is, for callers that have no file."""

    def __init__(self, registry: EdgeRegistry) -> None:
        self.registry = registry
