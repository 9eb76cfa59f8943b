"""Requests that are read more strictly than gunicorn reads them, by every worker class."""

from __future__ import annotations

import re
from typing import Any

from gunicorn.http.body import Body, ChunkedReader, LengthReader
from gunicorn.http.errors import InvalidHeader, NoMoreData
from gunicorn.http.message import Request
from gunicorn.http.parser import RequestParser
from gunicorn.workers.base import Worker

#: RFC 3986 section 3.2: a name or an address, and a port.
_HOST = re.compile(r"[\w.~%!$&'()*+,;=:\[\]-]*", re.ASCII)


class Strict(Worker):  # type: ignore[misc] # gunicorn ships no type hints
    """A mixin for gunicorn's workers: their requests are strict ones."""

    def init_process(self) -> None:
        """Prepare the worker's process."""
        # gunicorn lets no worker choose its parser. This process is the worker's own.
        RequestParser.mesg_class = StrictRequest
        super().init_process()


class StrictRequest(Request):  # type: ignore[misc]
    """A request after which the connection goes on only when the next one's start is known."""

    body: Any

    def set_body_reader(self) -> None:
        """Choose how the body is read.

        Raises:
            InvalidHeader: the host is missing or cannot be one (RFC 9112 section 3.2).
        """
        hosts = [value for name, value in self.headers if name == "HOST"]
        if not all(map(_HOST.fullmatch, hosts)) or (not hosts and self.version > (1, 0)):
            raise InvalidHeader("HOST", req=self)
        super().set_body_reader()
        if type(self.body.reader) is LengthReader:
            self.body = Body(WholeReader(self.unreader, self.body.reader.length))

    def should_close(self) -> bool:
        """Whether no other request can follow on the connection.

        A body that nobody read is not waited for: a thread could be held with it.
        """
        return bool(super().should_close() or self._body_is_left())

    def _body_is_left(self) -> bool:
        if self.body is None or self.body.failed:
            return self.body is not None
        reader = self.body.reader
        if isinstance(reader, ChunkedReader):
            return reader.parser is not None
        return bool(reader.length > self.unreader.buf.getbuffer().nbytes)


class WholeReader(LengthReader):  # type: ignore[misc]
    """Reads a body of known length, and takes no shorter one for it."""

    def read(self, size: int) -> bytes:
        """At most ``size`` bytes.

        Raises:
            NoMoreData: the connection ended before the body did.
        """
        wanted = min(size, self.length)
        found: bytes = super().read(size)
        if len(found) < wanted:
            raise NoMoreData
        return found
