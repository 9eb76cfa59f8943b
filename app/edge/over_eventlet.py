"""Edge calls through requests on green threads, under an eventlet worker.

Monkey patching has made threads, locks, queues and sockets cooperative, so what waits here lets
other requests go on. An event loop in a thread of its own is what such a process cannot have.
"""

from __future__ import annotations

from app.edge.over_requests import RequestsTransport


class EventletTransport(RequestsTransport):
    """Sends through requests on green threads; only for a monkey-patched process."""

    name = "requests-eventlet"


TRANSPORT = EventletTransport
