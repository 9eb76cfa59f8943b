"""How log records become lines, in this service and in gunicorn.

An event is constant text; its data travels in ``extra={"fields": {...}}``. Whatever a value
holds, it cannot start a line of its own or steer a terminal: such characters are escaped.
"""

from __future__ import annotations

import json
import logging
import logging.config
import math
import re
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any

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


def _escape(text: str) -> str:
    """The text with every unsafe character as a backslash escape."""
    return _UNSAFE.sub(lambda match: ascii(match.group())[1:-1], text)


def _fields(record: logging.LogRecord) -> Mapping[str, object]:
    fields = getattr(record, "fields", None)
    return fields if isinstance(fields, Mapping) else {}


def _event(record: logging.LogRecord) -> str:
    return _COLOUR.sub("", record.getMessage())


class ConsoleFormatter(logging.Formatter):
    """``time LEVEL logger event key=value``, tracebacks indented below."""

    def format(self, record: logging.LogRecord) -> str:
        """One line, and under it the indented traceback when the record has one."""
        head = f"{_timestamp(record.created)} {record.levelname} {_escape(record.name)}"
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

    def format(self, record: logging.LogRecord) -> str:
        """One line of ASCII JSON."""
        line: dict[str, object] = {
            "time": _timestamp(record.created),
            "level": record.levelname,
            "logger": record.name,
            "event": _event(record),
            "pid": record.process,
        }
        if text := _exception_text(self, record):
            line["exception"] = text
        for key, value in _fields(record).items():
            line[f"{key}_" if key in line else str(key)] = _plain(value)
        return json.dumps(line, allow_nan=False)


def _timestamp(seconds: float) -> str:
    return datetime.fromtimestamp(seconds, UTC).isoformat(timespec="milliseconds")[:-6] + "Z"


def _exception_text(formatter: logging.Formatter, record: logging.LogRecord) -> str:
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


def _plain(value: object, depth: int = 0) -> object:
    """The value as JSON can carry it; what JSON does not know becomes its text."""
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

    Everything goes to standard error through one handler of the root logger.

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
                "class": "logging.StreamHandler",
                "formatter": "line",
                "stream": "ext://sys.stderr",
            }
        },
        "root": {"level": level, "handlers": ["stderr"]},
        "loggers": {"gunicorn.error": through_root, "gunicorn.access": through_root},
    }


def configure_logging(level: str, log_format: str) -> None:
    """Send every log record of this process to standard error, in the given level and format."""
    logging.config.dictConfig(logging_dict(level, log_format))
