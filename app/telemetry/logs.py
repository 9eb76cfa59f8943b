"""How log records become lines, in this service and in gunicorn.

An event is constant text; its data travels in ``extra={"fields": {...}}``. Whatever a value
holds, it cannot start a line of its own or steer a terminal: such characters are escaped.

What is bound with ``bind`` stands on every line of that context, whoever logs it: the id of a
request, for one. This module needs the standard library alone, so it can log the heal of any other.
"""

from __future__ import annotations

import json
import logging
import logging.config
import math
import re
from abc import abstractmethod
from collections.abc import Iterable, Mapping
from contextlib import suppress
from contextvars import ContextVar
from datetime import UTC, datetime
from functools import lru_cache
from types import MappingProxyType
from typing import Any, TextIO

#: The logger of access lines alone, so that they can be selected and turned down by name.
ACCESS = "app.access"
#: So many gathered lines are written in any case: whoever logs them may never flush.
MOST_LINES = 1000

_bound: ContextVar[Mapping[str, object]] = ContextVar("log_fields", default=MappingProxyType({}))

#: Control characters, line separators, text-direction overrides and lone surrogates.
_UNSAFE = re.compile(
    "[\x00-\x1f\x7f-\x9f\u061c\u200e\u200f\u2028\u2029\u202a-\u202e\u2066-\u2069\ufeff\ud800-\udfff]"
)
#: Colours, which werkzeug's development server puts into its access lines.
_COLOUR = re.compile("\x1b\\[[0-9;]*m")
_BARE_VALUE = re.compile(r"[\w.:/@%+,<>=~\-]+", re.ASCII)
_BARE_KEY = re.compile(r"[A-Za-z_][\w.]*", re.ASCII)
#: A caller may log a whole report; a line stays one that a log shipper accepts.
_MAX_VALUE = 4096
_MAX_DEPTH = 6
#: Names that each JSON line has.
_OWN_NAMES = frozenset({"time", "level", "logger", "event", "pid", "exception"})
#: Made once: json.dumps makes one for each call that has an option.
_to_json = json.JSONEncoder(allow_nan=False).encode
_quote = json.encoder.encode_basestring_ascii


def bind(**fields: object) -> None:
    """Put these fields, and no others, on every line that this context logs from now on.

    A record's own field of the same name wins. Without any, nothing is put on the lines.
    """
    _bound.set(fields)


class LineFormatter(logging.Formatter):
    """What both formats have in common: an event, its fields, its time in UTC, its traceback."""

    def __init__(self) -> None:
        super().__init__()
        #: The last whole second that was written, and its text.
        self._second = (-1, "")

    def format(self, record: logging.LogRecord) -> str:
        """The lines of a record."""
        event = record.getMessage()
        if "\x1b" in event:
            event = _COLOUR.sub("", event)
        fields, own = _bound.get(), getattr(record, "fields", None)
        if isinstance(own, Mapping):
            fields = {**own, **fields, **own} if fields else own
        exception = ""
        if record.exc_info or record.exc_text or record.stack_info:
            text = self.formatException(record.exc_info) if record.exc_info else record.exc_text
            stack = self.formatStack(record.stack_info) if record.stack_info else None
            exception = "\n".join(part for part in (text, stack) if part)
        return self.lines(record, event, fields, exception)

    def formatTime(self, record: logging.LogRecord, datefmt: str | None = None) -> str:  # noqa: ARG002, N802 - logging's own
        """``2026-01-31T23:59:59.999Z``, whatever ``datefmt`` is."""
        whole, milliseconds = divmod(int(record.created * 1000), 1000)
        second, text = self._second
        if second != whole:
            text = datetime.fromtimestamp(whole, UTC).isoformat()[:-6]
            # One assignment: threads that format at once do not mix two seconds.
            self._second = (whole, text)
        return f"{text}.{milliseconds:03d}Z"

    @abstractmethod
    def lines(
        self, record: logging.LogRecord, event: str, fields: Mapping[str, object], exception: str
    ) -> str:
        """The text of a record; ``exception`` is its traceback, or empty."""


class ConsoleFormatter(LineFormatter):
    """``time LEVEL logger event key=value``, tracebacks indented below."""

    def lines(
        self, record: logging.LogRecord, event: str, fields: Mapping[str, object], exception: str
    ) -> str:
        """One line, and under it the indented traceback when the record has one."""
        parts = [self.formatTime(record), record.levelname, _escape(record.name), _escape(event)]
        for name, value in fields.items():
            nested = isinstance(value, (Mapping, list, tuple, set, frozenset))
            key, text = str(name), _shorten(json.dumps(_plain(value)) if nested else str(value))
            key = key if _BARE_KEY.fullmatch(key) else json.dumps(key)
            parts.append(f"{key}={text if _BARE_VALUE.fullmatch(text) else json.dumps(text)}")
        # The prefix keeps an exception's own newlines from looking like the start of a record.
        below = [f"    | {_escape(line)}" for line in exception.split("\n") if exception]
        return "\n".join([" ".join(parts), *below])


class JsonFormatter(LineFormatter):
    """One JSON object a line; the fields stand beside ``time``, ``level``, ``logger``, ``event``.

    A field with one of the formatter's own names gets an underscore behind it.
    """

    def lines(
        self, record: logging.LogRecord, event: str, fields: Mapping[str, object], exception: str
    ) -> str:
        """One line of ASCII JSON."""
        source = _source(record.levelname, record.name, event)
        time = self.formatTime(record)
        parts = [f'{{"time": "{time}", {source}, "pid": {record.process or 0}']
        if exception:
            parts += (', "exception": ', _quote(exception))
        for key, value in fields.items():
            # Short texts and numbers, which most lines have, need no encoder.
            if type(value) is str and len(value) <= _MAX_VALUE:
                text = _quote(value)
            elif type(value) is int or (type(value) is float and math.isfinite(value)):
                text = repr(value)
            else:
                text = _to_json(_plain(value))
            parts += (_member_name(key), text)
        parts.append("}")
        return "".join(parts)


class GatheringHandler(logging.StreamHandler[TextIO]):
    """Gathers the lines of some loggers until ``flush``, and writes any other at once.

    Lines stay in order: one that is written at once takes those with it that came before it, and
    so does one above INFO, whosever it is. A line of its own for each request would mean a system
    call for each, in which a thread gives its turn away.

    Args:
        stream: what is written to.
        gathered: the names of the loggers whose lines wait; whoever logs to them flushes.
    """

    def __init__(self, stream: TextIO, gathered: Iterable[str]) -> None:
        super().__init__(stream)
        self._gathered = frozenset(gathered)
        self._lines: list[str] = []

    def emit(self, record: logging.LogRecord) -> None:
        """Gather the line of a record, or write it with all that were gathered."""
        try:
            self._lines.append(self.format(record) + self.terminator)
        except Exception:  # noqa: BLE001 - logging's own way to report it
            self.handleError(record)
        waits = record.name in self._gathered and record.levelno <= logging.INFO
        if not waits or len(self._lines) >= MOST_LINES:
            self.flush()

    def flush(self) -> None:
        """Write what was gathered; logging does it, too, when the process ends."""
        self.acquire()
        try:
            lines, self._lines = self._lines, []
            # Where nothing can be written there is nobody to report it to either.
            with suppress(OSError, ValueError):
                self.stream.write("".join(lines))
                self.stream.flush()
        finally:
            self.release()


def logging_dict(level: str, log_format: str) -> dict[str, Any]:
    """The configuration for :func:`logging.config.dictConfig` and gunicorn's ``logconfig_dict``.

    Everything goes to standard error through one handler of the root logger, access lines together
    (:mod:`app.telemetry.notes`).

    Args:
        level: a name such as ``INFO``.
        log_format: ``console`` or ``json``.
    """
    through_root = {"level": "NOTSET", "handlers": [], "propagate": True}
    return {
        "version": 1,
        "disable_existing_loggers": False,
        "formatters": {"line": {"()": JsonFormatter if log_format == "json" else ConsoleFormatter}},
        "handlers": {
            "stderr": {
                "()": GatheringHandler,
                "formatter": "line",
                "stream": "ext://sys.stderr",
                "gathered": [ACCESS],
            }
        },
        "root": {"level": level, "handlers": ["stderr"]},
        "loggers": {"gunicorn.error": through_root, "gunicorn.access": through_root},
    }


def configure_logging(level: str, log_format: str) -> None:
    """Send every log record of this process to standard error, in the given level and format.

    Python's own warnings are records too, from then on.
    """
    logging.config.dictConfig(logging_dict(level, log_format))
    logging.captureWarnings(capture=True)


def _escape(text: str) -> str:
    """The text with every unsafe character as a backslash escape."""
    return _UNSAFE.sub(lambda match: ascii(match.group())[1:-1], text)


def _shorten(text: str) -> str:
    return text if len(text) <= _MAX_VALUE else f"{text[:_MAX_VALUE]}..."


@lru_cache(maxsize=256)
def _source(level: str, logger: str, event: str) -> str:
    """What is the same each time; code has few events."""
    return f'"level": {_quote(level)}, "logger": {_quote(logger)}, "event": {_quote(event)}'


@lru_cache(maxsize=256)
def _member_name(key: object) -> str:
    """How a further member of a JSON object begins; code has few names for its fields."""
    return f", {_quote(f'{key}_' if key in _OWN_NAMES else str(key))}: "


def _plain(value: object, depth: int = 0) -> object:
    """The value as JSON can carry it; what JSON does not know becomes its text."""
    if isinstance(value, str):
        return _shorten(value)
    if value is None or isinstance(value, (bool, int)):
        return value
    if isinstance(value, float):
        return value if math.isfinite(value) else str(value)
    if depth < _MAX_DEPTH and isinstance(value, Mapping):
        return {str(key): _plain(item, depth + 1) for key, item in value.items()}
    if depth < _MAX_DEPTH and isinstance(value, (list, tuple, set, frozenset)):
        return [_plain(item, depth + 1) for item in value]
    return _shorten(str(value))
