"""How log records become lines, in this service and in gunicorn.

An event is constant text; its data travels in ``extra={"fields": {...}}``. Whatever a value
holds, it cannot start a line of its own or steer a terminal: such characters are escaped.

What is bound with ``bind`` stands on every line of that context, whoever logs it: the id of a
request, for one. This module needs the standard library alone, so it can tell of a heal of any
other.
"""

from __future__ import annotations

import json
import logging
import logging.config
import math
import re
from collections.abc import Mapping
from contextvars import ContextVar
from datetime import UTC, datetime
from functools import lru_cache
from types import MappingProxyType
from typing import Any

#: The logger of access lines alone, so that they can be told apart and turned down by name.
ACCESS = "app.access"

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
#: What each JSON line has of its own.
_OWN_NAMES = frozenset({"time", "level", "logger", "event", "pid", "exception"})
#: Made once: json.dumps makes one for each call that has an option.
_to_json = json.JSONEncoder(allow_nan=False).encode
_quote = json.encoder.encode_basestring_ascii


def bind(**fields: object) -> None:
    """Put these fields, and no others, on every line that this context logs from now on.

    A record's own field of the same name wins. Without any, nothing is put on the lines.
    """
    _bound.set(fields)


def _escape(text: str) -> str:
    """The text with every unsafe character as a backslash escape."""
    return _UNSAFE.sub(lambda match: ascii(match.group())[1:-1], text)


def _fields(record: logging.LogRecord) -> Mapping[str, object]:
    own, bound = getattr(record, "fields", None), _bound.get()
    if not isinstance(own, Mapping):
        return bound
    return {**own, **bound, **own} if bound else own


def _event(record: logging.LogRecord) -> str:
    text = record.getMessage()
    return _COLOUR.sub("", text) if "\x1b" in text else text


class ConsoleFormatter(logging.Formatter):
    """``time LEVEL logger event key=value``, tracebacks indented below."""

    def __init__(self) -> None:
        super().__init__()
        self._clock = _Clock()

    def format(self, record: logging.LogRecord) -> str:
        """One line, and under it the indented traceback when the record has one."""
        head = f"{self._clock.text(record.created)} {record.levelname} {_escape(record.name)}"
        parts = [head, _escape(_event(record)), *map(_pair, _fields(record).items())]
        return "\n".join([" ".join(parts), *self._traceback(record)])

    def _traceback(self, record: logging.LogRecord) -> list[str]:
        # The prefix keeps an exception's own newlines from looking like the start of a record.
        text = _exception_text(self, record)
        return [f"    | {_escape(line)}" for line in text.split("\n")] if text else []


class JsonFormatter(logging.Formatter):
    """One JSON object a line; the fields stand beside ``time``, ``level``, ``logger``, ``event``.

    A field with one of the formatter's own names gets an underscore behind it.
    """

    def __init__(self) -> None:
        super().__init__()
        self._clock = _Clock()

    def format(self, record: logging.LogRecord) -> str:
        """One line of ASCII JSON."""
        told = _told(record.levelname, record.name, _event(record))
        parts = [
            f'{{"time": "{self._clock.text(record.created)}", {told}, "pid": {record.process or 0}'
        ]
        if text := _exception_text(self, record):
            parts.append(f', "exception": {_quote(text)}')
        for key, value in _fields(record).items():
            text = _quote(value) if type(value) is str and len(value) <= _MAX_VALUE else ""
            parts += (_member_name(key), text or _json_text(value))
        parts.append("}")
        return "".join(parts)


class _Clock:
    """Tells times in UTC, and the second of the last one from memory."""

    __slots__ = ("_last",)

    def __init__(self) -> None:
        self._last = (-1, "")

    def text(self, seconds: float) -> str:
        """``2026-01-31T23:59:59.999Z``."""
        whole, milliseconds = divmod(int(seconds * 1000), 1000)
        second, text = self._last
        if second != whole:
            text = datetime.fromtimestamp(whole, UTC).isoformat()[:-6]
            # One assignment: threads that tell the time at once do not mix two seconds.
            self._last = (whole, text)
        return f"{text}.{milliseconds:03d}Z"


def _exception_text(formatter: logging.Formatter, record: logging.LogRecord) -> str:
    if not (record.exc_info or record.exc_text or record.stack_info):
        return ""
    text = formatter.formatException(record.exc_info) if record.exc_info else record.exc_text
    stack = formatter.formatStack(record.stack_info) if record.stack_info else None
    return "\n".join(part for part in (text, stack) if part)


def _pair(item: tuple[object, object]) -> str:
    key, value = str(item[0]), _shorten(_text(item[1]))
    return f"{_bare(key, _BARE_KEY)}={_bare(value, _BARE_VALUE)}"


def _bare(text: str, pattern: re.Pattern[str]) -> str:
    return text if pattern.fullmatch(text) else json.dumps(text)


def _text(value: object) -> str:
    if isinstance(value, (Mapping, list, tuple, set, frozenset)):
        return json.dumps(_plain(value))
    return str(value)


def _shorten(text: str) -> str:
    return text if len(text) <= _MAX_VALUE else f"{text[:_MAX_VALUE]}..."


@lru_cache(maxsize=256)
def _told(level: str, logger: str, event: str) -> str:
    """What is the same each time; code has few events."""
    return f'"level": {_quote(level)}, "logger": {_quote(logger)}, "event": {_quote(event)}'


@lru_cache(maxsize=256)
def _member_name(key: object) -> str:
    """How a further member of a JSON object begins; code has few names for its fields."""
    return f", {_quote(f'{key}_' if key in _OWN_NAMES else str(key))}: "


def _json_text(value: object) -> str:
    """The value in JSON; numbers, which most lines have, are the quickest."""
    if type(value) is int or (type(value) is float and math.isfinite(value)):
        return repr(value)
    return _to_json(_plain(value))


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


_FORMATTERS = {"console": ConsoleFormatter, "json": JsonFormatter}


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
        "formatters": {"line": {"()": _FORMATTERS[log_format]}},
        "handlers": {
            "stderr": {
                "class": "app.telemetry.gathering_handler.GatheringHandler",
                "formatter": "line",
                "stream": "ext://sys.stderr",
                "gathered": [ACCESS],
            }
        },
        "root": {"level": level, "handlers": ["stderr"]},
        "loggers": {"gunicorn.error": through_root, "gunicorn.access": through_root},
    }


def configure_logging(level: str, log_format: str) -> None:
    """Send every log record of this process to standard error, in the given level and format."""
    logging.config.dictConfig(logging_dict(level, log_format))
