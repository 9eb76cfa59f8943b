"""Log lines: readable, one record a line, nothing forged."""

from __future__ import annotations

import io
import json
import logging
import logging.config
import subprocess
import sys
import threading
from collections.abc import Iterator, Mapping
from contextvars import copy_context

import pytest

from app.healing.background import BoundedCall
from app.telemetry.logs import (
    MOST_LINES,
    ConsoleFormatter,
    GatheringHandler,
    JsonFormatter,
    bind,
    logging_dict,
)

HOSTILE = 'x\n2026-01-01T00:00:00.000Z ERROR root forged\r\x1b[31m\u2028\u202e"\ud800'


def _record(
    event: str = "module imported",
    fields: Mapping[str, object] | None = None,
    *,
    error: BaseException | None = None,
) -> logging.LogRecord:
    exc_info = (type(error), error, error.__traceback__) if error else None
    made = logging.LogRecord("app.x", logging.WARNING, __file__, 1, event, (), exc_info)
    made.created = 1_700_000_000.25
    if fields is not None:
        made.fields = fields
    return made


def _raised(error: Exception) -> Exception:
    with pytest.raises(type(error)) as caught:
        raise error
    return caught.value


class TestConsole:
    """The format for people."""

    def test_line(self) -> None:
        """A line holds the time in UTC, level, logger, event and the fields in order."""
        line = ConsoleFormatter().format(_record(fields={"module": "aiohttp", "tries": 2}))
        assert line == (
            "2023-11-14T22:13:20.250Z WARNING app.x module imported module=aiohttp tries=2"
        )

    def test_spaces_are_quoted(self) -> None:
        """A value that is more than one word stands in quotes."""
        assert ConsoleFormatter().format(_record(fields={"a": "b c"})).endswith(' a="b c"')

    def test_empty_value_is_visible(self) -> None:
        """An empty value is shown as empty quotes."""
        assert ConsoleFormatter().format(_record(fields={"a": ""})).endswith(' a=""')

    @pytest.mark.parametrize("where", ["event", "value", "key", "logger", "nested"])
    def test_nothing_forges_a_line(self, where: str) -> None:
        """Whatever a record holds, it stays one line of printable ASCII without colour codes."""
        made = _record(
            event=HOSTILE if where == "event" else "event",
            fields={
                HOSTILE if where == "key" else "key": HOSTILE if where == "value" else "v",
                "list": [HOSTILE] if where == "nested" else [],
            },
        )
        made.name = HOSTILE if where == "logger" else "app"
        line = ConsoleFormatter().format(made)
        assert line.isprintable()
        assert len(line.splitlines()) == 1

    def test_traceback_is_indented(self) -> None:
        """Every line of a traceback, the exception's text included, is marked as one."""
        made = _record(error=_raised(ValueError(HOSTILE)))
        first, *rest = ConsoleFormatter().format(made).splitlines()
        assert first.endswith("module imported")
        assert rest
        assert all(line.startswith("    | ") for line in rest)

    def test_colours_are_dropped(self) -> None:
        """The colour codes of werkzeug's access lines do not reach the log."""
        assert ConsoleFormatter().format(_record("\x1b[33mGET /\x1b[0m")).endswith(" GET /")

    def test_long_values_are_cut(self) -> None:
        """A value of a megabyte costs the log a few kilobytes."""
        assert len(ConsoleFormatter().format(_record(fields={"a": "b" * 1_000_000}))) < 5000


class TestJson:
    """The format for machines."""

    def test_object(self) -> None:
        """A line is one JSON object with the fields beside the event."""
        line = json.loads(JsonFormatter().format(_record(fields={"module": "aiohttp"})))
        assert line.pop("pid") > 0
        assert line == {
            "time": "2023-11-14T22:13:20.250Z",
            "level": "WARNING",
            "logger": "app.x",
            "event": "module imported",
            "module": "aiohttp",
        }

    def test_nothing_forges_a_line(self) -> None:
        """A hostile event and value stay within one line and come back unchanged."""
        text = JsonFormatter().format(_record(HOSTILE, {"a": HOSTILE}))
        assert text.isascii()
        assert len(text.splitlines()) == 1
        assert json.loads(text)["a"] == HOSTILE

    def test_own_names_win(self) -> None:
        """A field cannot replace the level or the event."""
        line = json.loads(JsonFormatter().format(_record(fields={"level": "DEBUG"})))
        assert (line["level"], line["level_"]) == ("WARNING", "DEBUG")

    def test_any_value_is_carried(self) -> None:
        """Numbers that JSON lacks, sets, objects and endless nesting still make a line."""
        endless: list[object] = []
        endless.append(endless)
        fields = {"nan": float("nan"), "set": {1}, "object": ValueError, "endless": endless}
        line = json.loads(JsonFormatter().format(_record(fields=fields)))
        assert line["nan"] == "nan"
        assert line["set"] == [1]

    def test_traceback(self) -> None:
        """The traceback is a field of the same line."""
        text = JsonFormatter().format(_record(error=_raised(ValueError("boom"))))
        assert "ValueError: boom" in json.loads(text)["exception"]


class TestBound:
    """Fields that stand on every line of a context."""

    @pytest.fixture(autouse=True)
    def _bound(self) -> Iterator[None]:
        bind(request_id="abc", trace_id="def")
        yield
        bind()

    def _line(self, fields: Mapping[str, object] | None = None) -> dict[str, object]:
        line: dict[str, object] = json.loads(JsonFormatter().format(_record(fields=fields)))
        return line

    def test_on_every_line(self) -> None:
        """They stand behind a record's own fields, and on records without any."""
        line = ConsoleFormatter().format(_record(fields={"a": 1}))
        assert line.endswith("module imported a=1 request_id=abc trace_id=def")
        assert self._line()["request_id"] == "abc"

    def test_own_fields_win(self) -> None:
        """A record's field of the same name is the one that is shown."""
        assert self._line({"request_id": "own"})["request_id"] == "own"

    def test_they_replace(self) -> None:
        """What is bound next stands in the place of what was, and in the end there is nothing."""
        bind(more=1)
        assert self._line()["more"] == 1
        bind()
        assert {"more", "request_id"}.isdisjoint(self._line())

    def test_bounded_call_carries_them(self) -> None:
        """A call in a thread of its own logs under the ids of whoever began it."""
        assert BoundedCall(self._line, "test").wait(10)["request_id"] == "abc"

    def test_other_threads_do_not(self) -> None:
        """A thread that nobody's request has begun has no fields."""
        seen: list[dict[str, object]] = []
        thread = threading.Thread(target=lambda: seen.append(self._line()))
        thread.start()
        thread.join()
        assert "request_id" not in seen[0]

    def test_bound_elsewhere(self) -> None:
        """Binding in another context changes nothing here."""
        copy_context().run(bind, request_id="elsewhere")
        assert self._line()["request_id"] == "abc"


def test_time_goes_on() -> None:
    """Each line has its own time, within a second and after it."""
    formatter, made = JsonFormatter(), _record()
    times = []
    for made.created in (1.0, 1.25, 1.999, 2.0, 1.5):
        times.append(json.loads(formatter.format(made))["time"][-7:])
    assert times == ["01.000Z", "01.250Z", "01.999Z", "02.000Z", "01.500Z"]


def test_fields_of_another_kind_are_ignored() -> None:
    """A record whose ``fields`` is no mapping is still logged."""
    made = _record()
    made.fields = "not a mapping"
    assert ConsoleFormatter().format(made).endswith("module imported")


@pytest.mark.parametrize("log_format", ["console", "json"])
def test_configured_process(log_format: str) -> None:
    """It writes its records, gunicorn's and Python's warnings too, once each to standard error."""
    program = (
        "import logging, warnings, app.telemetry.logs as logs;"
        f"logs.configure_logging('WARNING', {log_format!r});"
        "logging.getLogger('app').info('too quiet');"
        "logging.getLogger('gunicorn.error').warning('from gunicorn');"
        "logging.getLogger('app.a').error('broken', extra={'fields': {'why': 'because'}});"
        "warnings.warn('of a package')"
    )
    done = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=True
    )
    lines = done.stderr.splitlines()
    assert [len(lines), done.stdout] == [3, ""]
    assert "from gunicorn" in lines[0]
    assert "because" in lines[1]
    assert "py.warnings" in lines[2]
    assert "of a package" in lines[2]


def test_dictionary_is_plain_data() -> None:
    """Two calls give equal dictionaries, and changing one leaves the other alone."""
    first = logging_dict("INFO", "json")
    first["root"]["level"] = "DEBUG"
    assert logging_dict("INFO", "json")["root"]["level"] == "INFO"


class TestGathering:
    """Lines that wait for others."""

    @pytest.fixture
    def stream(self) -> io.StringIO:
        """What is written to."""
        return io.StringIO()

    @pytest.fixture
    def handler(self, stream: io.StringIO) -> Iterator[GatheringHandler]:
        """A handler of a logger that lets some lines wait."""
        made = GatheringHandler(stream, ["t.busy"])
        logger = logging.getLogger("t")
        logger.addHandler(made)
        logger.setLevel(logging.INFO)
        yield made
        logger.removeHandler(made)
        logger.setLevel(logging.NOTSET)

    def test_until_the_flush(self, handler: GatheringHandler, stream: io.StringIO) -> None:
        """The lines of the loggers that are named wait for it."""
        for number in range(3):
            logging.getLogger("t.busy").info("line %d", number)
        assert stream.getvalue() == ""
        handler.flush()
        assert stream.getvalue() == "line 0\nline 1\nline 2\n"

    @pytest.mark.parametrize(("name", "level"), [("t", "INFO"), ("t.busy", "ERROR")])
    def test_others_are_written_at_once(
        self, handler: GatheringHandler, stream: io.StringIO, name: str, level: str
    ) -> None:
        """Another logger's line, and whatever is above INFO; those before it come before it."""
        logging.getLogger("t.busy").info("first")
        logging.getLogger(name).log(logging.getLevelNamesMapping()[level], "second")
        assert stream.getvalue() == "first\nsecond\n"
        assert handler.level == logging.NOTSET

    def test_so_many_wait(self, handler: GatheringHandler, stream: io.StringIO) -> None:
        """Memory stays bounded when nobody flushes."""
        for _ in range(MOST_LINES):
            logging.getLogger("t.busy").info("x")
        assert stream.getvalue() == "x\n" * MOST_LINES
        assert handler.stream is stream

    def test_a_record_that_cannot_be_formatted(
        self, handler: GatheringHandler, stream: io.StringIO, capsys: pytest.CaptureFixture[str]
    ) -> None:
        """It costs its own line, and says so as logging does."""
        logging.getLogger("t.busy").info("first")
        # To this handler alone: the test runner's own would raise.
        handler.handle(logging.LogRecord("t", logging.INFO, "", 0, "second %d", ("no",), None))
        logging.getLogger("t").info("third")
        assert stream.getvalue() == "first\nthird\n"
        assert "Logging error" in capsys.readouterr().err
        assert handler.stream is stream

    def test_a_stream_that_is_closed(self, handler: GatheringHandler, stream: io.StringIO) -> None:
        """Nobody who logs gets an error for it."""
        logging.getLogger("t.busy").info("first")
        stream.close()
        handler.flush()
        logging.getLogger("t").info("second")

    def test_the_end_of_the_process(self) -> None:
        """What still waits is written."""
        code = (
            "import logging; from app.telemetry import logs;"
            "logs.configure_logging('INFO', 'json');"
            "logging.getLogger(logs.ACCESS).info('last words')"
        )
        done = subprocess.run(
            [sys.executable, "-c", code], check=True, stderr=subprocess.PIPE, text=True, timeout=60
        )
        assert json.loads(done.stderr)["event"] == "last words"
