"""What a process knows of one database: the last probe, made by whichever process of the host.

One process probes at a time and writes down what it found; the others read that. Without a home
that can be written each process probes for itself.
"""

from __future__ import annotations

import hashlib
import json
import os
import random
import threading
import time
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import asdict
from functools import partial
from pathlib import Path

from app.healing.background import BoundedCall, free_after_fork
from app.healing.backoff import doubled
from app.healing.home import make_directory
from app.healing.locks import Busy, exclusive
from app.kinds.database.causes import Cause
from app.kinds.database.declaration import Database, InvalidURL
from app.kinds.database.probe import Probed, probe
from app.settings.files import read_bounded, signature_of

#: Seconds between two probes of a database that is well, and of one that is not; the second one
#: doubles up to the third where an operator has to mend it.
WELL, FIRST_RETRY, LAST_RETRY = 5.0, 0.4, 5.0
#: Seconds between two probes that requests ask for.
WAKE_PAUSE = 0.2
#: Seconds by which a probe may exceed the time that its connections have.
PATIENCE = 2.0
MAX_BYTES = 1 << 14
#: Causes that an operator has to mend: others may pass at any moment.
LASTING = frozenset({Cause.AUTHENTICATION, Cause.NO_DATABASE, Cause.TLS, Cause.INVALID_URL})


class Watch:
    """The state of one database, with the probe that is under way.

    Args:
        database: as it is declared.
        environ: has the variables of its URL.
        directory: where processes tell each other what they found.
    """

    def __init__(self, database: Database, environ: Mapping[str, str], directory: Path) -> None:
        self.database = database
        self.last = Probed()
        self._environ = environ
        self._path = directory / f"{database.name}.json"
        self._known: dict[bytes, Cause] = {}
        self._mutex = free_after_fork(threading.Lock())
        self._call: BoundedCall[Probed | None] | None = None
        self._began = 0.0
        self._failures = 0
        self._due_at = 0.0
        self._woken_at = 0.0
        self._signature: object = None
        #: What the variables of the URL amount to.
        self.address = self._digest()

    @property
    def known(self) -> bool:
        """Whether a probe has ended, of this process or of another one."""
        return self.last.at > 0

    @property
    def age(self) -> float:
        """Seconds since the last probe ended."""
        return time.time() - self.last.at

    def look(self) -> None:
        """Take over what a probe has found, and begin the next one when it is due."""
        with self._mutex:
            self._take_over()
            call, now = self._call, time.monotonic()
            if call is not None and (call.done or call.orphaned):
                self._call = None
                # None: another process probes, and writes down what it finds.
                found = None if call.orphaned else call.wait(0)
                self._due_at = now
                if found is not None:
                    self._accept(found)
            elif call is not None and now - self._began > self._limit:
                # Even looking a name up may hang.
                self._accept(Probed(cause=Cause.TIMEOUT, at=time.time()))
            digest = self._digest()
            if digest != self.address:
                self.address, self._due_at = digest, now
            if self._call is None and now >= self._due_at:
                self._begin()

    def wake(self) -> None:
        """Probe at once: a request has met what a probe would find."""
        now = time.monotonic()
        with self._mutex:
            if self._call is None and now - self._woken_at > WAKE_PAUSE:
                self._woken_at = now
                self._begin()

    def wait(self, seconds: float) -> None:
        """Wait for the probe that is under way, if there is one."""
        call = self._call
        if call is not None and not call.orphaned:
            with suppress(TimeoutError):
                call.wait(seconds)

    def probe(self) -> Probed:
        """What a probe finds that begins now, or that another process is making."""
        found = self._probe(time.time(), self._limit)
        with self._mutex:
            self._accept(found or Probed(cause=Cause.TIMEOUT, at=time.time()))
            return self.last

    @property
    def _limit(self) -> float:
        hosts = self.database.url.count(",") + 1
        return self.database.connect_timeout * hosts + PATIENCE

    def _begin(self) -> None:
        self._began = time.monotonic()
        call = partial(self._probe, time.time(), 0.0)
        self._call = BoundedCall(call, f"probe database {self.database.name}")

    def _probe(self, since: float, wait: float) -> Probed | None:
        """Probe, unless another process has since; None when one does for longer than ``wait``."""
        look = partial(probe, self.database, self._environ, self.last.host, self._known)
        try:
            make_directory(self._path.parent)
            with exclusive(self._path.with_suffix(".lock"), wait):
                found = self._read()
                if found is not None and found.at >= since:
                    return found
                found = look()
                self._write(found)
                return found
        except Busy:
            return None
        except OSError:
            return look()

    def _accept(self, found: Probed) -> None:
        if found.at < self.last.at:
            return
        self.last = found
        lasting = found.cause in LASTING
        pause = WELL if found.cause is None else doubled(FIRST_RETRY, LAST_RETRY, self._failures)
        self._failures = self._failures + 1 if lasting else 0
        self._due_at = time.monotonic() + pause * random.uniform(0.8, 1.0)  # noqa: S311 - no secret

    def _take_over(self) -> None:
        signature = signature_of(self._path)
        if signature != self._signature:
            self._signature = signature
            found = self._read()
            # The clock may have been set back.
            if found is not None and self.last.at < found.at <= time.time() + 1:
                self._accept(found)

    def _read(self) -> Probed | None:
        """What was written down last, for what the URL and the declaration say now."""
        try:
            members = json.loads(read_bounded(self._path, MAX_BYTES))
            if members.pop("of") != self._digest():
                return None
            return Probed(**members | {"pending": tuple(members["pending"])})
        except (OSError, ValueError, TypeError, KeyError, AttributeError):
            return None

    def _write(self, found: Probed) -> None:
        fresh = self._path.with_suffix(f".{os.getpid()}.new")
        fresh.write_text(json.dumps(asdict(found) | {"of": self._digest()}), "utf-8")
        fresh.replace(self._path)

    def _digest(self) -> str:
        """What changes with the URL's variables; too short to say anything of a password."""
        try:
            url = self.database.address(self._environ).url
        except InvalidURL as invalid:
            url = str(invalid)
        told = f"{self.database!r}\0{url}"
        return hashlib.blake2b(told.encode("utf-8", "surrogateescape"), digest_size=4).hexdigest()
