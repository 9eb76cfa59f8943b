"""The registry file: what it may hold, what is wrong with it, and how changes are noticed."""

from __future__ import annotations

import json
import logging
import os
from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path

import pytest

from app.edge.client import EdgeClient
from app.edge.errors import RegistryError
from app.edge.functions import EdgeFunction, EdgeRegistry, Priority
from app.edge.registry import FILE, RegistryFile, read_registry
from app.kinds.configuration.causes import Broken
from app.kinds.configuration.last_good import LastGood, LastGoods, Version
from app.routes.bodies import edge_functions as bodies
from app.web.json_bodies import encode

ROOT = Path(__file__).resolve().parents[2]


def _read(text: str, environ: Mapping[str, str] = {}) -> EdgeRegistry:
    """What a text registers where nothing was before."""
    content = read_registry(environ, text.encode())
    assert content.problems == ()
    return content.build({n: f for n, f in content.entries.items() if n not in content.broken})


def _faults(text: str) -> list[tuple[int | None, str]]:
    """All that is wrong with a text, of which nothing is registered."""
    try:
        content = read_registry({}, text.encode())
    except Broken as broken:
        return [(broken.problem.line, broken.problem.message)]
    if content.problems:
        return [(problem.line, problem.message) for problem in content.problems]
    error = content.build({}).error
    assert error is not None
    return [(fault.line, fault.message) for fault in error.faults]


def _table(**values: object) -> str:
    """A table that is right but for the given values, its keys on lines 2 and following."""
    merged = {"name": "orders", "url": "https://orders.example.com", **values}
    return "[[function]]\n" + "".join(
        f"{key} = {json.dumps(value)}\n" for key, value in merged.items()
    )


class TestRegistry:
    """The file that says what may be called."""

    def test_the_example_is_valid(self) -> None:
        """The shipped example registers functions, and only under reserved names."""
        environ = {"ORDERS_TOKEN": "x"}
        registry = RegistryFile(ROOT / "edge-functions.example.toml", environ).current()
        assert registry.error is None
        assert registry.functions
        assert all(".example.com" in function.url for function in registry.functions)

    def test_everything_given(self) -> None:
        """Every key of a table reaches its field."""
        given = {
            "name": "orders",
            "url": "https://orders.example.com/v1",
            "category": "commerce",
            "priority": "high",
            "description": "Takes orders.",
            "health_path": "/alive",
            "timeout": 2,
            "health_status": [200, 404],
            "method": "PUT",
            "retries": 2,
            "tags": ["eu", "v1"],
            "concurrency": 3,
            "max_request": 5,
            "max_response": 7,
            "stream": True,
        }
        (function,) = _read(_table(**given)).functions
        assert json.loads(json.dumps(asdict(function))) == {**given, "headers": []}
        assert function.priority is Priority.HIGH

    def test_defaults(self) -> None:
        """A name and a URL are enough; a closing slash of the URL is dropped."""
        (function,) = _read(_table(url="http://127.0.0.1:8787/")).functions
        assert function == EdgeFunction(name="orders", url="http://127.0.0.1:8787")

    def test_no_file_named(self) -> None:
        """With no file configured there are no functions and nothing is wrong."""
        assert RegistryFile(None).current() == EdgeRegistry()

    def test_empty_file(self) -> None:
        """An empty file registers nothing and is right."""
        assert _read("") == EdgeRegistry(configured=True)

    @pytest.mark.parametrize(
        "value",
        [
            "ftp://orders.example.com",
            "orders.example.com",
            "https://",
            "https://user:canary@orders.example.com",
            "https://orders.example.com?key=canary",
            "https://orders.example.com#x",
            "https://orders.example.com/../admin",
            "https://orders.example.com/a b",
            "https://orders.example.com:99999",
            "https://orders.example.com:0",
            "https://[::1",
            "https://ord\\ers.example.com",
            "https://orders.example.com\nX-Forged: 1",
            "file:///etc/passwd",
            7,
            ["https://orders.example.com"],
        ],
    )
    def test_wrong_url(self, value: object) -> None:
        """A URL that is not plain http or https is named by line, and is not shown."""
        ((line, message),) = _faults(_table(url=value))
        assert line == 3
        assert message.startswith('function "orders": url must be an http or https URL')
        assert "canary" not in message

    @pytest.mark.parametrize(
        ("key", "value"),
        [
            ("name", ""),
            ("name", "a/b"),
            ("name", "-x"),
            ("name", "x" * 65),
            ("name", "nämé"),
            ("name", "a\nb"),
            ("name", 1),
            ("priority", "urgent"),
            ("priority", ["high"]),
            ("timeout", 0),
            ("timeout", -1),
            ("timeout", 121),
            ("timeout", True),
            ("timeout", "5"),
            ("health_path", "health"),
            ("health_path", "/a/../b"),
            ("health_path", "/a b"),
            ("description", "x" * 1001),
            ("description", "a\x00b"),
            ("category", 3),
            ("tags", "eu"),
            ("tags", ["a b"]),
            ("tags", ["a"] * 21),
            ("method", "TRACE"),
            ("method", "get"),
            ("method", ["GET"]),
            ("retries", -1),
            ("retries", 6),
            ("retries", 1.5),
            ("retries", True),
            ("concurrency", 0),
            ("concurrency", "4"),
            ("health_status", 99),
            ("health_status", []),
            ("health_status", ["200"]),
            ("max_request", -1),
            ("max_response", 1073741825),
            ("stream", 1),
            ("headers", "x"),
        ],
    )
    def test_wrong_value(self, key: str, value: object) -> None:
        """A wrong value is named with its key, its line, and what was expected."""
        text = _table(**{key: value})
        ((line, message),) = _faults(text)
        assert text.splitlines()[(line or 0) - 1].startswith(key)
        assert f"{key} must be " in message
        assert message.isprintable()

    @pytest.mark.parametrize("value", ["nan", "inf", "1e400"])
    def test_timeout_that_is_no_time(self, value: str) -> None:
        """TOML's special floats are no timeouts."""
        ((line, _),) = _faults(_table() + f"timeout = {value}\n")
        assert line == 4

    def test_all_faults_at_once(self) -> None:
        """Every fault of every table is reported, each with its own line."""
        text = (
            "# our functions\n"
            "\n"
            "[[function]]\n"
            "name = 'a'\n"
            "url = 'ftp://a.example.com'\n"
            "\n"
            "[[function]]\n"
            "description = '''\n"
            'url = "not a key but text"\n'
            "[[function]]\n"
            "'''\n"
            "name = 'b'\n"
            "\n"
            "[[function]]  # the third\n"
            "name = 'a'\n"
            "url = 'https://c.example.com'\n"
            "tiemout = 3\n"
        )
        assert [line for line, _ in _faults(text)] == [5, 7, 15, 17]

    def test_duplicate_names_both_lines(self) -> None:
        """A name that is taken is reported with the line of the one that has it."""
        ((line, message),) = _faults(_table() + _table())
        assert line == 5
        assert message == 'the name "orders" is taken by the function 1'

    def test_unknown_top_level_key(self) -> None:
        """A misspelt table is a fault, not silence."""
        ((line, message),) = _faults("\n[[functions]]\nname = 'a'\n")
        assert (line, message) == (2, 'unknown key "functions"')

    @pytest.mark.parametrize("text", ["function = 3", "[function]\nname = 'a'", "function = [1]"])
    def test_not_an_array_of_tables(self, text: str) -> None:
        """Another shape than an array of tables is reported with its line."""
        ((line, _),) = _faults(text)
        assert line == 1

    @pytest.mark.parametrize(
        ("text", "line"),
        [
            ("[[function]]\nname = \n", 2),
            ("[[function]]\nname = 'a'\nname = 'b'\n", 3),
            ("[[function]]\n\nname = 'a", 3),
            ("[[function\n", 1),
        ],
    )
    def test_broken_syntax(self, text: str, line: int) -> None:
        """What is not TOML is reported with its line."""
        ((found, message),) = _faults(text)
        assert found == line
        assert message.startswith("this is not valid TOML")

    def test_nested_too_deeply(self) -> None:
        """A text that would exhaust the parser is a fault like another."""
        ((_, message),) = _faults("a = " + "[" * 100_000)
        assert "TOML" in message

    def test_long_key_is_cut(self) -> None:
        """A key of ten kilobytes makes a short sentence."""
        ((_, message),) = _faults(_table() + f"{'k' * 10_000} = 1\n")
        assert len(message) < 200

    def test_many_faults_are_cut(self) -> None:
        """A thousand faults are reported as the first twenty and a number."""
        faults = _faults("[[function]]\n" * 1000)
        assert len(faults) == 21
        assert "more faults" in faults[-1][1]

    def test_two_thousand_functions(self) -> None:
        """A large registry is read in file order."""
        text = "".join(_table(name=f"f{n}") for n in range(2000))
        assert [function.name for function in _read(text).functions][1999] == "f1999"


class TestRegistryFile:
    """Files that cannot be used never keep the service from booting."""

    @pytest.fixture
    def file(self, tmp_path: Path) -> Path:
        """Where the file is expected."""
        return tmp_path / "functions.toml"

    def _rejected(self, file: Path) -> RegistryError:
        registry = RegistryFile(file).current()
        assert registry.functions == ()
        assert registry.configured
        assert registry.error is not None
        return registry.error

    def test_missing(self, file: Path, caplog: pytest.LogCaptureFixture) -> None:
        """A missing file is reported at WARNING and in the result, which does not name its path."""
        error = self._rejected(file)
        assert "does not exist" in str(error)
        assert str(file) not in str(error)
        (record,) = caplog.records
        assert record.levelno == logging.WARNING

    def test_broken(self, file: Path, caplog: pytest.LogCaptureFixture) -> None:
        """A broken file is reported with its line, in the log as well."""
        file.write_text("[[function]]\nname = 'a'\nurl = 'nonsense'\n")
        assert str(self._rejected(file)).startswith("line 3: ")
        assert vars(caplog.records[0])["fields"]["why"].startswith("line 3, column 1: ")

    def test_directory(self, tmp_path: Path) -> None:
        """A directory is no registry."""
        assert "no regular file" in str(self._rejected(tmp_path))

    def test_endless_device(self) -> None:
        """A device that never ends is not read."""
        assert "no regular file" in str(self._rejected(Path(os.devnull).with_name("zero")))

    def test_not_utf8(self, file: Path) -> None:
        """Text in another encoding is reported with its line."""
        file.write_bytes(b"# fine\n# caf\xe9\n")
        assert str(self._rejected(file)) == "line 2: this is not valid TOML: is no UTF-8"

    def test_too_large(self, file: Path) -> None:
        """A file of nine megabytes is refused."""
        file.write_bytes(b"#" * (9 * 1024 * 1024))
        assert "is larger than" in str(self._rejected(file))

    def test_relative_path(self, file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        """A relative path counts from the directory that the service was started in."""
        file.write_text(_table())
        monkeypatch.chdir(file.parent)
        assert len(RegistryFile(Path(file.name)).current().functions) == 1


class TestHeaders:
    """Header fields that a function is called with, their values from the environment."""

    TEXT = """[[function]]
name = "orders"
url = "https://orders.example.com"
%s
"""

    def _read(self, line: str, **environ: str) -> EdgeFunction:
        (function,) = _read(self.TEXT % line, environ).functions
        return function

    def _fault(self, line: str, **environ: str) -> tuple[int | None, str]:
        try:
            error = _read(self.TEXT % line, environ).error
        except RegistryError as raised:
            error = raised
        assert error is not None
        (fault,) = error.faults
        return fault.line, fault.message

    def test_value_from_the_environment(self) -> None:
        """A variable's value is put in, and is shown nowhere."""
        line = 'headers = { Authorization = "Bearer ${VALUE}", X-Plain = "$5" }'
        function = self._read(line, VALUE="canary")
        assert function.headers == (("Authorization", "Bearer canary"), ("X-Plain", "$5"))
        shown = bodies.function(bodies.EdgeFunction, function, details=True)
        assert "canary" not in repr(function) + encode(shown)
        assert shown.headers == ["Authorization", "X-Plain"]

    @pytest.mark.parametrize("environ", [{}, {"VALUE": ""}])
    def test_unset_variable(self, environ: dict[str, str]) -> None:
        """A variable that is not set is named, with the line."""
        line, message = self._fault('headers = { A = "${VALUE}" }', **environ)
        assert line == 4
        assert message.endswith("the environment variable VALUE is not set")

    def test_unset_variable_costs_its_entry_alone(self, tmp_path: Path) -> None:
        """The others are registered, and so is this one as soon as its variable is set."""
        file, environ = tmp_path / "functions.toml", {"OTHER": "canary"}
        with_variable = self.TEXT % 'headers = { A = "${VALUE}", B = "${OTHER}" }'
        file.write_text(f'{with_variable}\n[[function]]\nname = "b"\nurl = "http://127.0.0.1"\n')
        source = RegistryFile(file, environ)
        registry = source.current()
        assert [function.name for function in registry.functions] == ["b"]
        assert registry.unset == {"orders": "VALUE"}
        assert 'function "orders"' in str(registry.error)
        assert "VALUE" in str(registry.error)
        assert "canary" not in str(registry.error)
        (check,) = EdgeClient(source.current, lambda _: None).checks()
        assert (check.ok, check.critical, check.reason) == (False, False, "variable_unset")
        environ["VALUE"] = "given"
        registry = source.current()
        assert [function.name for function in registry.functions] == ["orders", "b"]
        assert (registry.error, dict(registry.unset)) == (None, {})

    def test_unset_variable_of_a_new_version(self, tmp_path: Path) -> None:
        """An entry that was served before is served as it was."""
        file, now = tmp_path / "functions.toml", [0.0]
        file.write_text(self.TEXT % 'headers = { A = "plain" }')
        source = RegistryFile(file, {}, clock=lambda: now[0])
        file.write_text(self.TEXT % 'headers = { A = "${VALUE}" }')
        now[0] = 2.0
        (function,) = source.current().functions
        assert function.headers == (("A", "plain"),)
        assert source.current().unset == {"orders": "VALUE"}

    def test_subtable(self) -> None:
        """A table of their own is found by its line."""
        assert self._read('[function.headers]\nA = "b"').headers == (("A", "b"),)
        assert self._fault('\n[function.headers]\nA = "${VALUE}"')[0] == 5

    @pytest.mark.parametrize(
        "line",
        [
            'headers = { Host = "x" }',
            'headers = { connection = "x" }',
            'headers = { Content-Length = "1" }',
            'headers = { Transfer-Encoding = "chunked" }',
            'headers = { Traceparent = "x" }',
            'headers = { "a b" = "x" }',
            'headers = { "a\\r\\nb" = "x" }',
            "headers = { A = 1 }",
            'headers = { A = "x", a = "y" }',
            'headers = { A = "${VALUE}" }',
            'headers = { A = "" }',
            'headers = { A = "ü" }',
        ],
    )
    def test_what_may_not_be_set(self, line: str) -> None:
        """The connection's own fields, and what would be no field, are refused unseen."""
        found, message = self._fault(line, VALUE="canary\r\nX-Forged: 1")
        assert found == 4
        assert "headers must be a table" in message
        assert "canary" not in message


class TestFollowing:
    """The registry follows its file."""

    @pytest.fixture
    def now(self) -> list[float]:
        """The time that the registry sees."""
        return [0.0]

    def _write(self, file: Path, text: str, stamp: int) -> None:
        file.write_text(text)
        os.utime(file, ns=(stamp, stamp))

    def test_change(self, tmp_path: Path, now: list[float]) -> None:
        """A change is seen, though the file is looked at once a second at most."""
        file = tmp_path / "functions.toml"
        self._write(file, _table(name="a"), 1)
        source = RegistryFile(file, clock=lambda: now[0])
        self._write(file, _table(name="b"), 2)
        assert [f.name for f in source.current().functions] == ["a"]
        now[0] = 1.0
        assert [f.name for f in source.current().functions] == ["b"]
        assert source.current() is source.current()

    def test_break_and_mend(
        self, tmp_path: Path, now: list[float], caplog: pytest.LogCaptureFixture
    ) -> None:
        """While the file is broken or gone the last good one holds; the fault is logged once."""
        file = tmp_path / "functions.toml"
        self._write(file, _table(name="a"), 1)
        source = RegistryFile(file, clock=lambda: now[0])
        good = source.current().functions
        self._write(file, "nonsense", 2)
        for now[0] in (1.0, 2.0, 3.0):
            assert source.current().functions == good
            assert str(source.current().error).startswith("line 1: ")
        assert sum(r.levelno == logging.WARNING for r in caplog.records) == 1
        file.unlink()
        now[0] = 4.0
        assert source.current().functions == good
        assert "does not exist" in str(source.current().error)
        self._write(file, _table(name="c"), 3)
        now[0] = 5.0
        assert [f.name for f in source.current().functions] == ["c"]
        assert source.current().error is None

    def test_one_broken_function(self, tmp_path: Path, now: list[float]) -> None:
        """It is served as it was, its siblings as they are, also after a restart."""
        file, home = tmp_path / "functions.toml", tmp_path / "home"
        text = _table(name="a") + _table(name="b")
        LastGoods(home).update(FILE, lambda _: LastGood((Version(text.encode(), 1.0),)))
        file.write_text(
            _table(name="a", timeout=0) + _table(name="b", timeout=9) + _table(name="c")
        )
        registry = RegistryFile(file, {}, home, clock=lambda: now[0]).current()
        assert {f.name: f.timeout for f in registry.functions} == {"a": 5.0, "b": 9.0, "c": 5.0}
        assert "timeout must be" in str(registry.error)
        registry = RegistryFile(file, {}, clock=lambda: now[0]).current()
        assert [f.name for f in registry.functions] == ["b", "c"]

    def test_file_that_appears(self, tmp_path: Path, now: list[float]) -> None:
        """A file that is not there at the start is read when it comes."""
        file = tmp_path / "functions.toml"
        source = RegistryFile(file, clock=lambda: now[0])
        assert source.current().functions == ()
        file.write_text(_table())
        now[0] = 1.0
        assert len(source.current().functions) == 1

    def test_no_file(self) -> None:
        """Without a file nothing is read."""
        assert RegistryFile(None).current() == EdgeRegistry()
