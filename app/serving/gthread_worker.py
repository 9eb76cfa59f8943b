"""gunicorn's threaded worker, in which no slow client holds a thread.

gunicorn's own reads a request's head in a thread and waits there for as long as the client likes;
eight dripping connections take all of eight threads. Here the poller gathers each head, with a
small body, and a thread gets the connection when they are whole. Likewise gunicorn's own waits in
a thread until the client has taken the answer; here the poller sends what the client does not take
at once.
"""

from __future__ import annotations

import contextlib
import errno
import logging
import math
import selectors
import socket
import time
from collections import deque
from collections.abc import Iterator
from concurrent.futures import Future
from functools import partial
from typing import TYPE_CHECKING, Any

from gunicorn.http.errors import LimitRequestHeaders, LimitRequestLine
from gunicorn.workers.gthread import ThreadWorker

from app.serving.connections import UNSENT_BYTES, AnswerSocket, Connection, Head
from app.serving.requests import ClosedListener, HeadTooSlow, Strict, StrictRequest, close_listener
from app.settings.declarations import Settings

if TYPE_CHECKING:
    from types import FrameType

    Listener = ClosedListener | socket.socket

logger = logging.getLogger(__name__)

#: Seconds for which a connection is still read after its last answer, so that the answer is not
#: lost in a reset (RFC 9112 section 9.6); gunicorn's own number.
LINGER_SECONDS = 2.0
#: Seconds in which a client has to take the unsent rest of an answer: 1 MiB at most, so 70 kbit/s.
TAKING_SECONDS = 120.0
#: Unsent bytes of all connections of a worker together, about what the worker itself takes.
#: Past that the client that has taken nothing for longest is given up.
ALL_UNSENT_BYTES = 64 * UNSENT_BYTES
#: Seconds that a stopping worker has left when it gives up answers that are not taken.
STOP_MARGIN = 2.0
#: Seconds that a connection has in any case: with all of them younger, new ones wait their turn.
LEAST_WAIT = 0.25
#: Connections that are given up when the process has no descriptor left.
SPARE = 32
#: Seconds before accepting is tried again then.
ACCEPT_PAUSE = 0.1


class PatientThreadWorker(Strict, ThreadWorker):  # type: ignore[misc]
    """Serves requests on threads that no client can hold by being slow.

    A head that is not whole ``request_timeout`` seconds after its first byte (the first one of a
    connection: after the connection was accepted) is answered with 408, and so is a body of at most
    ``BODY_BYTES`` that is not whole as long after its head. An answer of which the
    client takes nothing for that long is given up, and so is one of which it has not taken the end
    ``TAKING_SECONDS`` after the thread is done; until then the connection serves no other request.
    Only a streamed or very large answer, with more than ``UNSENT_BYTES`` not yet taken, waits in
    its thread. With as many connections as there may be, the one that has waited longest makes room
    for a new one, so that silent clients shut nobody out.
    """

    request_timeout: float = Settings().request_timeout
    worker_connections: int

    def __init__(self, *args: Any, **kwargs: Any) -> None:  # noqa: ANN401 - gunicorn's own
        super().__init__(*args, **kwargs)
        self.lingering: deque[Connection] = deque()
        #: Connections whose answers are made and not yet taken, the last one to take some last.
        self.sending: dict[AnswerSocket, Connection] = {}
        self._sending_until = math.inf
        #: Until when there are fewer connections than there may be.
        self._fewer_until = -math.inf

    @classmethod
    def check_config(cls, cfg: Any, log: Any) -> None:  # noqa: ANN401 - gunicorn's own
        """Refuse what the poller cannot read.

        Raises:
            RuntimeError: with the sentence that gunicorn ends with.
        """
        super().check_config(cfg, log)
        if cfg.is_ssl or "h2" in str(cfg.http_protocols):
            raise RuntimeError("TLS and HTTP/2 end at the proxy in front of this service")

    def accept(self, listener: socket.socket) -> None:
        """Take a connection, and wait for its first request."""
        try:
            client, address = listener.accept()
        except OSError as error:
            if error.errno not in {errno.EMFILE, errno.ENFILE}:
                if error.errno not in {errno.EAGAIN, errno.ECONNABORTED}:
                    raise
                return
            fewer = max(2 * self.cfg.threads, self.nr_conns - SPARE)
            if fewer < self.worker_connections:
                self.worker_connections = fewer
                fields = {"connections": fewer}
                logger.warning("no descriptors left, fewer connections", extra={"fields": fields})
            self._fewer_until = time.monotonic() + self.request_timeout
            time.sleep(ACCEPT_PAUSE)
            return
        self._take(listener, client, address)

    def _take(self, listener: Listener, client: socket.socket, address: Any) -> None:  # noqa: ANN401
        self.nr_conns += 1
        # A thread has something left to send: the poller sends it.
        on_unsent = partial(self.method_queue.defer, self.on_unsent)
        sock = AnswerSocket(client, self.request_timeout, on_unsent)
        conn = Connection(self.cfg, sock, address, listener.getsockname())
        self._proceed(conn, Head.PARTIAL)

    def handle_exit(self, sig: int, frame: FrameType | None) -> None:
        """Begin to drain, at once."""
        super().handle_exit(sig, frame)
        self.method_queue.defer(lambda: None)

    def wait_for_and_dispatch_events(self, timeout: float) -> None:
        """Do what there is to do, and wait for it no longer than this."""
        super().wait_for_and_dispatch_events(self.round_seconds(timeout))

    def on_pending_socket_readable(self, conn: Connection, client: socket.socket) -> None:
        """Take more of a head that is waited for."""
        head = conn.receive()
        if head is not Head.PARTIAL:
            self.poller.unregister(client)
            self.pending_conns.remove(conn)
            self._proceed(conn, head)

    def on_client_socket_readable(self, conn: Connection, client: socket.socket) -> None:
        """Take the beginning of the next request on a connection that stayed open."""
        self.poller.unregister(client)
        self.keepalived_conns.remove(conn)
        self._proceed(conn, conn.receive())

    def on_unsent(self, client: AnswerSocket) -> None:
        """Wait until a client takes more of its answer; its thread may be adding to it."""
        if client.unsent:
            self.poller.register(client, selectors.EVENT_WRITE, self.on_unsent_socket_writable)

    def on_unsent_socket_writable(self, client: AnswerSocket) -> None:
        """Send more of an answer."""
        if not client.unsent:
            # It was given up in the same round of events.
            return
        try:
            taken, left = client.push()
        except OSError:
            taken, left = 0, 0
        # Only what push() said counts: a thread may have left more by now.
        if left == 0:
            self.poller.unregister(client)
        conn = self.sending.pop(client, None) if taken or left == 0 else None
        if conn is None:
            return
        if left and time.monotonic() < conn.taken_until:
            # The first in ``sending`` has waited longest.
            conn.timeout = time.monotonic() + self.request_timeout
            self.sending[client] = conn
        elif left:
            self._give_up(conn)
        elif taken:
            self._go_on(conn)
        else:
            self._drop(conn)

    def on_lingering_socket_readable(self, conn: Connection, client: socket.socket) -> None:
        """Read on after the last answer, until the client ends the connection."""
        if not conn.drain():
            self.poller.unregister(client)
            self.lingering.remove(conn)
            self._drop(conn)

    def handle(self, conn: Connection) -> object:
        """Serve one request whose head is here; runs in a thread."""
        conn.hand_over()
        try:
            return super().handle(conn)
        except SystemExit as error:
            # gunicorn's own would end the worker when a view calls sys.exit().
            self.handle_error(None, conn.sock, conn.client, error)
            return False

    def handle_request(self, req: StrictRequest, conn: Connection) -> bool:
        """Let the application answer."""
        try:
            return bool(super().handle_request(req, conn))
        except BlockingIOError:
            # What a blocking socket raises when its send timeout is over.
            conn.given_up = True
            return False

    def finish_request(self, conn: Connection, fs: Future[object]) -> None:
        """Go on with a connection that a thread is done with, once its answer is sent."""
        conn.served = fs
        if conn.given_up:
            self._give_up(conn)
        else:
            self._go_on(conn)

    def murder_keepalived(self, force: bool = False) -> None:  # noqa: FBT001, FBT002
        """Close what is open for a next request and got none; a late one is not reset."""
        for conn in self._expired(self.keepalived_conns):
            conn.served = None
            self._go_on(conn)
        super().murder_keepalived(force)

    def murder_pending(self) -> None:
        """End what has waited too long; one that sent nothing has asked for no answer.

        gunicorn calls this after each round of events, so no event of a closed connection is left.
        """
        for conn in self._expired(self.pending_conns):
            if conn.head:
                self._refuse(conn, HeadTooSlow())
            else:
                self._drop(conn)
        for conn in self._expired(self.lingering):
            self._drop(conn)
        now, unsent = time.monotonic(), sum(len(client.unsent) for client in self.sending)
        while self.sending:
            conn = next(iter(self.sending.values()))
            until = min(conn.timeout, self._sending_until)
            if now < until and unsent <= ALL_UNSENT_BYTES:
                break
            unsent -= len(conn.sock.unsent)
            self._give_up(conn)
        if now >= self._fewer_until:
            # Others may have had the descriptors. If not, it shows with the next connection.
            self.worker_connections = self.cfg.worker_connections
        while self.nr_conns >= self.worker_connections and self._make_room():
            pass

    def _cap_keepalive(self, deadline: float) -> None:
        """A worker that stops waits no longer for the rest of a head than for a next request.

        gunicorn calls this when it has stopped accepting.
        """
        for listener in self.sockets:
            for connection in close_listener(listener.sock):
                self._take(*connection)
        super()._cap_keepalive(deadline)
        for conn in self.pending_conns:
            conn.timeout = min(conn.timeout, deadline)
        self._sending_until = time.monotonic() + max(self.cfg.graceful_timeout - STOP_MARGIN, 0)

    def _proceed(self, conn: Connection, head: Head) -> None:
        if head is Head.WHOLE:
            self.enqueue_req(conn)
        elif head in {Head.PARTIAL, Head.BODY_IS_LEFT}:
            # The same time for all leaves the queue in the order of its times.
            conn.timeout = time.monotonic() + self.request_timeout
            self.pending_conns.append(conn)
            conn.sock.settimeout(0)
            on_readable = partial(self.on_pending_socket_readable, conn)
            self.poller.register(conn.sock, selectors.EVENT_READ, on_readable)
        elif head is Head.NEVER:
            self._drop(conn)
        elif b"\r\n" in conn.head:
            self._refuse(conn, LimitRequestHeaders("head"))
        else:
            self._refuse(conn, LimitRequestLine(len(conn.head)))

    def _refuse(self, conn: Connection, error: Exception) -> None:
        self.handle_error(None, conn.sock, conn.client, error)
        conn.served = None
        self._go_on(conn)

    def _go_on(self, conn: Connection) -> None:
        """Wait until the answer is sent, or then for another request or the end."""
        served, now = conn.served, time.monotonic()
        if conn.sock.unsent:
            conn.sock.settimeout(0)
            conn.taken_until, conn.timeout = now + TAKING_SECONDS, now + self.request_timeout
            self.sending[conn.sock] = conn
        elif served is None or served.exception() or not served.result():
            # Nothing more comes: wait without a thread until the client has seen that.
            try:
                conn.sock.shutdown(socket.SHUT_WR)
                conn.sock.settimeout(0)
            except OSError:
                self._drop(conn)
                return
            conn.timeout = now + LINGER_SECONDS
            self.lingering.append(conn)
            on_readable = partial(self.on_lingering_socket_readable, conn)
            self.poller.register(conn.sock, selectors.EVENT_READ, on_readable)
        elif rest := conn.parser.unreader.take_buffered():
            self._proceed(conn, conn.gather(rest))
        else:
            super().finish_request(conn, served)

    def _give_up(self, conn: Connection) -> None:
        fields = {"peer": conn.client[0] if conn.client else ""}
        logger.info("answer not taken", extra={"fields": fields})
        self._drop(conn)

    def _drop(self, conn: Connection) -> None:
        self.nr_conns -= 1
        if conn.sock.unsent or conn.given_up:
            self.sending.pop(conn.sock, None)
            # What was refused a moment ago is not there yet.
            with contextlib.suppress(KeyError):
                self.poller.unregister(conn.sock)
            conn.sock.abort()
        conn.close()

    def _expired(self, waiting: deque[Connection]) -> Iterator[Connection]:
        now = time.monotonic()
        while waiting and waiting[0].timeout <= now:
            yield self._first(waiting)

    def _first(self, waiting: deque[Connection]) -> Connection:
        conn = waiting.popleft()
        self.poller.unregister(conn.sock)
        return conn

    def _make_room(self) -> bool:
        """Close the connection that has waited longest; False when none has for long enough."""
        waits = (
            (LINGER_SECONDS, self.lingering),
            (self.request_timeout, self.pending_conns),
            (self.cfg.keepalive, self.keepalived_conns),
            (self.request_timeout, self.sending.values()),
        )
        firsts = [(next(iter(queue)), seconds, queue) for seconds, queue in waits if queue]
        since = [(conn.timeout - seconds, conn, queue) for conn, seconds, queue in firsts]
        first, conn, queue = min(since, key=lambda wait: wait[0], default=(math.inf, None, ()))
        if conn is None or time.monotonic() - first < LEAST_WAIT:
            return False
        self._drop(self._first(queue) if isinstance(queue, deque) else conn)
        return True
