"""A pooler in front of a PostgreSQL server: the real pgbouncer, in transaction mode."""

from __future__ import annotations

import os
import shutil
import subprocess
import tempfile
from pathlib import Path
from types import TracebackType
from typing import Self

from tests.support.postgres import PASSWORD, USER, Postgres
from tests.support.processes import wait_until
from tests.support.sockets import free_port, is_open

CONFIGURATION = """\
[databases]
postgres = host=127.0.0.1 port={server} user={user} password='{password}'
[pgbouncer]
listen_addr = 127.0.0.1
listen_port = {port}
auth_type = any
pool_mode = transaction
default_pool_size = 5
unix_socket_dir =
ignore_startup_parameters = extra_float_digits
"""
SECONDS = 30.0


class PgBouncer:
    """One pooler; in a ``with`` statement it runs."""

    def __init__(self, server: Postgres) -> None:
        self.server = server
        self.port = free_port()
        self._root = Path(tempfile.mkdtemp(prefix="pgbouncer-"))
        self._process: subprocess.Popen[bytes] | None = None

    def __enter__(self) -> Self:
        text = CONFIGURATION.format(
            server=self.server.port, port=self.port, user=USER, password=PASSWORD
        )
        (self._root / "pgbouncer.ini").write_text(text, "utf-8")
        if os.geteuid() == 0:
            for path in (self._root, self._root / "pgbouncer.ini"):
                shutil.chown(path, "postgres", "postgres")
        self.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.stop()
        shutil.rmtree(self._root, ignore_errors=True)

    def start(self) -> None:
        """Start, and wait until connections are accepted."""
        program = shutil.which("pgbouncer") or "/usr/sbin/pgbouncer"
        command = [program, "-q", str(self._root / "pgbouncer.ini")]
        # It refuses to run as root, and so does the server.
        user = "postgres" if os.geteuid() == 0 else None
        self._process = subprocess.Popen(
            command, user=user, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, cwd="/"
        )
        wait_until(lambda: is_open(self.port), timeout=SECONDS)

    def stop(self) -> None:
        """End it at once, with every connection."""
        if self._process is not None:
            self._process.kill()
            self._process.wait()
            self._process = None
