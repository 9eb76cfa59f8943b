"""orchestrator.toml: whatever is in it, what can be used is, and each fault has its line."""

from __future__ import annotations

import logging
import os
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from app.kinds.configuration.last_good import LastGood, LastGoods, Version
from app.kinds.configuration.manifest_file import ManifestFile
from app.manifest import (
    CORE,
    CORE_NAMES,
    FILE,
    MAX_BYTES,
    Table,
    Unusable,
    parse,
    read,
)
from app.settings.declarations import DEFAULT_MANIFEST
from tests.support.processes import wait_until


def entry(_: str, value: Any) -> Any:  # noqa: ANN401 - whatever a file holds
    """An entry of a kind's table, as it stands."""
    if not isinstance(value, dict):
        raise Unusable("has to be a table")
    return value


TABLES = {"variable": Table("environment", entry), "file": Table("files", entry)}
EXAMPLE = """\
# what is served
[packages]
redis = "redis>=5.0"  # a cache
PIL = "pillow>=10; python_version >= '3.11'"

[blueprint.orders]
import = "shop.orders:bp"
prefix = "/api/orders"
critical = true
packages = ["redis"]
optional = ["PIL"]
environment = ["SHOP_NAME"]

[variable.SHOP_NAME]
type = "text"
help = \"\"\"
The name of the shop, as in
[blueprint.no_table]
import = "no.module:bp"
\"\"\"

[file.pricing]
path = "config/pricing.toml"

[blueprint.pages]
import = "shop.pages:pages_bp"
paths = [
    "/about",
    "/terms",
]
files = ["pricing"]
"""
ORDERS = '[blueprint.orders]\nimport = "shop.orders:bp"\n'


def names(text: str) -> list[str]:
    """The blueprints of a manifest that can be used."""
    return [blueprint.name for blueprint in parse(text, TABLES).blueprints]


def faults(text: str) -> list[str]:
    """What is wrong with a manifest, each with its line."""
    return [f"{fault.line} {fault.message}" for fault in parse(text, TABLES).faults]


def _make_directory(path: Path) -> None:
    path.unlink()
    path.mkdir()


def _make_pipe(path: Path) -> None:
    path.unlink()
    os.mkfifo(path)


class TestExample:
    """A manifest without faults."""

    def test_all_of_it_is_read(self) -> None:
        """Every table and every key counts."""
        found = parse(EXAMPLE, TABLES)
        assert found.faults == ()
        assert found.packages == {
            "redis": "redis>=5.0",
            "PIL": "pillow>=10; python_version >= '3.11'",
        }
        orders, pages = found.blueprints
        assert (orders.name, orders.module, orders.attribute) == ("orders", "shop.orders", "bp")
        assert (orders.prefix, orders.paths, orders.critical) == ("/api/orders", (), True)
        assert (orders.packages, orders.optional) == (("redis",), ("PIL",))
        assert orders.needs["environment"] == ("SHOP_NAME",)
        assert (pages.prefix, pages.paths, pages.critical) == (None, ("/about", "/terms"), False)
        assert (pages.packages, pages.needs) == ((), {"files": ("pricing",)})
        assert found.tables["file"] == {"pricing": {"path": "config/pricing.toml"}}
        lines = EXAMPLE.split("\n")
        assert [lines[blueprint.line - 1] for blueprint in found.blueprints] == [
            "[blueprint.orders]",
            "[blueprint.pages]",
        ]

    def test_the_projects_own(self) -> None:
        """What this service ships has no fault, and its core is in no table."""
        found = read(DEFAULT_MANIFEST)
        assert found.faults == ()
        assert {blueprint.name for blueprint in found.blueprints}.isdisjoint(CORE_NAMES)
        assert {blueprint.name for blueprint in CORE} == {"health", "auto_fix"}

    @pytest.mark.parametrize("change", [str, lambda text: text.replace("\n", "\r\n")])
    @pytest.mark.parametrize("mark", [b"", b"\xef\xbb\xbf"])
    def test_line_ends_and_byte_order_mark(
        self, tmp_path: Path, change: Callable[[str], str], mark: bytes
    ) -> None:
        """Editors of other systems write the same manifest."""
        (tmp_path / FILE).write_bytes(mark + change(EXAMPLE).encode())
        assert read(tmp_path / FILE, TABLES) == parse(EXAMPLE, TABLES)

    def test_nothing(self) -> None:
        """An empty manifest is no fault."""
        assert parse("", TABLES).faults == ()


class TestTruncated:
    """A file that ends too early."""

    @pytest.mark.parametrize("end", range(len(EXAMPLE)))
    def test_everywhere(self, end: int) -> None:
        """What stands whole before the end is served, and no text of a string is a table."""
        text = EXAMPLE[:end]
        found = parse(text, TABLES)
        expected = []
        for name, following in (("orders", "[variable.SHOP_NAME]"), ("pages", None)):
            at = EXAMPLE.index(following) if following else len(EXAMPLE)
            if end >= at:
                expected.append(name)
        whole = [blueprint.name for blueprint in found.blueprints]
        assert [name for name in whole if name in expected] == expected
        assert set(whole) <= {"orders", "pages", "no_table"}
        assert all(0 <= fault.line <= text.count("\n") + 1 for fault in found.faults)
        if end >= EXAMPLE.index("\n[blueprint.orders]"):
            assert set(found.packages) == {"redis", "PIL"}

    def test_in_the_map(self) -> None:
        """A line that breaks off costs its own package, and no blueprint that needs it."""
        text = EXAMPLE.replace('redis = "redis>=5.0"  # a cache', 'redis = "redis>=5.0')
        found = parse(text, TABLES)
        assert set(found.packages) == {"PIL"}
        assert [blueprint.name for blueprint in found.blueprints] == ["orders", "pages"]
        (fault,) = found.faults
        assert (fault.line, fault.table) == (3, "packages")


class TestWrong:
    """Tables that cannot be used, one at a time."""

    @pytest.mark.parametrize(
        ("key", "fitting"),
        [
            ("import", str),
            ("prefix", str),
            ("paths", list),
            ("critical", bool),
            ("gate", bool),
            ("packages", list),
            ("environment", list),
            ("files", list),
        ],
    )
    @pytest.mark.parametrize(
        "value",
        ["1", "1.5", "true", '"text"', "[]", "[1]", '[["a"]]', "{}", '{ a = "b" }', "2026-11-28"],
    )
    def test_types(self, key: str, fitting: type, value: str) -> None:
        """A value of another type costs its blueprint, and names the key and its line."""
        lines = {"import": 'import = "a.b:c"', key: f"{key} = {value}"}
        text = "\n".join(["[blueprint.bad]", *lines.values(), ORDERS])
        found = parse(text, TABLES)
        usable = (fitting is list and value == "[]") or (fitting is bool and value == "true")
        assert [each.name for each in found.blueprints] == ["bad", "orders"][not usable :]
        if not usable:
            (fault,) = found.faults
            assert text.split("\n")[fault.line - 1] == f"{key} = {value}"
            assert f"blueprint.bad.{key}" in fault.message

    @pytest.mark.parametrize("value", ["1", "[]", "{}", "true", '""', '"a b"', '"x @ file:///x"'])
    def test_packages(self, value: str) -> None:
        """What is no requirement is approved for nothing; the other lines are."""
        text = f'[packages]\ngood = "good"\nbad = {value}\n{ORDERS}'
        found = parse(text)
        assert (found.packages, [fault.line for fault in found.faults]) == ({"good": "good"}, [3])
        assert names(text) == ["orders"]

    @pytest.mark.parametrize("table", ["packages", "blueprint", "variable", "file"])
    @pytest.mark.parametrize("value", ["1", '"x"', "[]", "[{}]", "true"])
    def test_no_table(self, table: str, value: str) -> None:
        """A key in a table's place is a fault of its line."""
        found = parse(f"\n{table} = {value}\n", TABLES)
        assert [(fault.line, fault.table) for fault in found.faults] == [(2, table)]

    @pytest.mark.parametrize("value", ["1", '"x"', "[]", "true"])
    @pytest.mark.parametrize("table", ["blueprint", "variable", "file"])
    def test_no_entry(self, table: str, value: str) -> None:
        """An entry that is no table costs itself."""
        text = f"[{table}]\nx = {value}\n{ORDERS}"
        assert [fault.line for fault in parse(text, TABLES).faults] == [2]
        assert names(text) == ["orders"]

    def test_unknown_keys_and_tables(self) -> None:
        """They are faults that say what there is instead."""
        text = f'[blueprint.bad]\nimport = "a:b"\nurl = "/x"\n\n[blue.x]\n\n{ORDERS}'
        assert names(text) == ["orders"]
        first, second = faults(text)
        assert first.startswith("3 blueprint.bad.url is no key of a blueprint; there are import,")
        assert second.startswith("5 'blue' is no table of the manifest; there are packages,")

    @pytest.mark.parametrize(
        "path",
        [
            "",
            "shop",
            "shop:",
            ":bp",
            "shop.bp",
            "../shop:bp",
            "a:b:c",
            "shöp:bp",
            "a b:c",
        ],
    )
    def test_import_paths(self, path: str) -> None:
        """What is no import path is a fault of its line."""
        text = f'[blueprint.bad]\nimport = "{path}"\n{ORDERS}'
        assert names(text) == ["orders"]
        assert faults(text) == ['2 blueprint.bad.import has to be "package.module:attribute"']

    @pytest.mark.parametrize("address", ["", "orders", "http://x/", "/a b", "/ä", "/a\\n"])
    def test_addresses(self, address: str) -> None:
        """A prefix and the paths are addresses of this service."""
        for line in (f'prefix = "{address}"', f'paths = ["/ok", "{address}"]'):
            text = f'[blueprint.bad]\nimport = "a:b"\n{line}\n{ORDERS}'
            assert names(text) == ["orders"]
            assert [fault.partition(" ")[0] for fault in faults(text)] == ["3"]

    def test_needs_that_nothing_describes(self) -> None:
        """They are faults of their line; whether the blueprint is isolated shows at its import."""
        text = f'[blueprint.bad]\nimport = "a:b"\npackages = ["absent"]\n{ORDERS}'
        assert names(text) == ["bad", "orders"]
        assert faults(text) == [
            "3 blueprint.bad.packages names 'absent', which no table describes",
        ]

    def test_needs_whose_table_is_wrong(self) -> None:
        """A package that cannot be approved costs no blueprint that needs it."""
        text = '[packages]\nx = "no requirement"\n[blueprint.a]\nimport = "a:b"\npackages = ["x"]\n'
        assert names(text) == ["a"]
        assert [fault.partition(" ")[0] for fault in faults(text)] == ["2"]

    def test_two_of_one_name(self) -> None:
        """The first one counts, and the fault has the line of the second."""
        text = (
            f'{ORDERS}\n[blueprint.orders]\nimport = "other:bp"\n\n[blueprint.z]\nimport = "z:z"\n'
        )
        assert names(text) == ["orders", "z"]
        assert parse(text).blueprints[0].module == "shop.orders"
        assert [fault.line for fault in parse(text).faults] == [4]

    @pytest.mark.parametrize("name", sorted(CORE_NAMES))
    def test_names_of_the_core(self, name: str) -> None:
        """No table can stand in for one of the service's own."""
        text = f'[blueprint.{name}]\nimport = "evil:bp"\n{ORDERS}'
        assert names(text) == ["orders"]
        assert [fault.line for fault in parse(text).faults] == [1]

    @pytest.mark.parametrize(
        "broken",
        [
            "import = ",
            "import = shop",
            'import = "shop',
            "x = [1,",
            "= 1",
            "a\0b = 1",
            "x = " + "[" * 5000,
            'x = "\\q"',
            "]",
        ],
    )
    def test_no_toml(self, broken: str) -> None:
        """A table that is no TOML is left out alone, and its own line is named."""
        text = f"{EXAMPLE}\n[blueprint.bad]\n{broken}\n\n{ORDERS.replace('orders', 'more')}"
        found = parse(text, TABLES)
        assert [each.name for each in found.blueprints] == ["orders", "pages", "more"]
        assert set(found.packages) == {"redis", "PIL"}
        (fault,) = found.faults
        begins = text.split("\n").index("[blueprint.bad]") + 1
        assert begins < fault.line <= begins + 3
        assert fault.table == "blueprint.bad"

    def test_headers_in_strings(self) -> None:
        """A string of several lines holds no tables, in a broken file neither."""
        for quotes in ('"""', "'''"):
            inside = "[blueprint.evil]\nimport = 'a:b'"
            text = f"[file.x]\npath = {quotes}\n{inside}\n{quotes}\n\n{ORDERS}"
            assert names(text) == ["orders"]
            assert names(f"{text}\n[blueprint.bad]\nimport =\n") == ["orders"]

    def test_quoted_and_inline(self) -> None:
        """However a table is spelled, its faults have their lines."""
        text = '[ "blueprint" . \'bad\' ]\n"import" = 1\n[blueprint]\ninline = { import = 2 }\n'
        assert [fault.partition(" ")[0] for fault in faults(text)] == ["2", "4"]


class TestMany:
    """A manifest of 500 blueprints."""

    def test_read_in_a_moment(self) -> None:
        """Every one of them, whether the file is well or not."""
        tables = [
            f'[blueprint.b{n}]\nimport = "shop.b{n}:bp"\nprefix = "/b{n}"\n' for n in range(500)
        ]
        for broken in ("", "[blueprint.bad]\nimport =\n"):
            began = time.process_time()
            found = parse("\n".join([broken, *tables]))
            assert time.process_time() - began < 1
            assert len(found.blueprints) == 500
            assert len(found.faults) == bool(broken)

    def test_faults_without_end(self) -> None:
        """The first are shown in full, and of the others the lines."""
        text = "".join(f"[blueprint.b{n}]\nimport = {n}\n" for n in range(500))
        found = parse(text)
        assert len(found.faults) == 500
        advice = found.advice()
        assert advice.startswith(f"{FILE} line 2: blueprint.b0.import has to be")
        assert advice.endswith(", 998, 1000")
        assert len(advice) < 6000


class TestRead:
    """Files that cannot be read."""

    @pytest.mark.parametrize(
        ("make", "line"),
        [
            (lambda _: None, 0),
            (os.mkdir, 0),
            (os.mkfifo, 0),
            (lambda path: path.symlink_to(path), 0),
            (lambda path: path.write_bytes(b"#" * (MAX_BYTES + 1)), 0),
            (lambda path: path.write_bytes(EXAMPLE.encode("utf-16")), 1),
            (lambda path: path.write_bytes(b"# one\n# \xff two\n"), 2),
        ],
        ids=["missing", "directory", "pipe", "loop", "too large", "UTF-16", "Latin-1"],
    )
    def test_is_one_fault(self, tmp_path: Path, make: Callable[[Path], Any], line: int) -> None:
        """Nothing is raised and nothing is waited for."""
        make(tmp_path / FILE)
        found = read(tmp_path / FILE)
        assert [fault.line for fault in found.faults] == [line]
        assert (found.blueprints, found.packages) == ((), {})


class TestFollowed:
    """The file while it changes."""

    @pytest.fixture
    def file(self, tmp_path: Path) -> ManifestFile:
        """A manifest that has been read once."""
        (tmp_path / FILE).write_text(EXAMPLE)
        return ManifestFile(tmp_path / FILE, TABLES)

    def test_a_change(self, file: ManifestFile) -> None:
        """It is read anew; what has not changed is the same object."""
        first = file.current
        assert file.current is first
        file.path.write_text(ORDERS)
        wait_until(lambda: len(file.current.blueprints) == 1)

    @pytest.mark.parametrize(
        "harm",
        [
            Path.unlink,
            lambda path: path.write_text(""),
            lambda path: path.write_text("[blueprint.orders]\nimport = 1\n"),
            lambda path: path.write_bytes(b"\xff"),
            _make_directory,
            _make_pipe,
        ],
        ids=["removed", "emptied", "no blueprint", "no text", "directory", "pipe"],
    )
    def test_harm(
        self,
        file: ManifestFile,
        harm: Callable[[Path], object],
        caplog: pytest.LogCaptureFixture,
    ) -> None:
        """What was served goes on, with a fault that is logged once; mended, it is gone."""
        caplog.set_level(logging.INFO, logger="app.kinds.configuration.served")
        before = file.current
        harm(file.path)
        wait_until(lambda: file.current.faults)
        found = file.current
        assert (found.blueprints, found.packages) == (before.blueprints, before.packages)
        assert found.tables == before.tables
        assert found.faults[-1].message.endswith("what it last said counts")
        assert [r.message for r in caplog.records] == ["file cannot be used as it is"]
        fresh = file.path.with_name("fresh")
        fresh.write_text(ORDERS)
        if file.path.is_dir():
            file.path.rmdir()
        fresh.replace(file.path)
        wait_until(lambda: not file.current.faults)
        assert [each.name for each in file.current.blueprints] == ["orders"]

    def test_a_wrong_table(self, file: ManifestFile) -> None:
        """What it describes is served as it was; a process that begins then does not serve it."""
        file.path.write_text(EXAMPLE.replace('"shop.orders:bp"', "1"))
        wait_until(lambda: file.current.faults)
        assert [each.name for each in file.current.blueprints] == ["orders", "pages"]
        assert [fault.line for fault in file.current.faults] == [7]
        later = ManifestFile(file.path, TABLES)
        assert [each.name for each in later.current.blueprints] == ["pages"]

    def test_after_a_restart(self, file: ManifestFile) -> None:
        """What was last good counts, but for what has been removed since."""
        home, text = file.path.parent / "home", EXAMPLE.encode()
        LastGoods(home).update(FILE, lambda _: LastGood((Version(text, 1.0),)))
        for content in (b"", b"\xff", EXAMPLE.replace('"shop.orders:bp"', "1").encode()):
            file.path.write_bytes(content)
            found = ManifestFile(file.path, TABLES, home).current
            assert [each.name for each in found.blueprints] == ["orders", "pages"]
            assert found.packages == file.current.packages
            assert found.faults
        file.path.write_text(ORDERS)
        found = ManifestFile(file.path, TABLES, home).current
        assert ([each.name for each in found.blueprints], found.faults) == (["orders"], ())

    def test_what_is_no_toml(self, file: ManifestFile) -> None:
        """What can be read of it counts, and nothing is taken for removed."""
        file.path.write_text(f'{ORDERS}[blueprint.new]\nimport = "shop.new:bp"\n[blueprint.pages\n')
        wait_until(lambda: file.current.faults)
        assert {each.name for each in file.current.blueprints} == {"orders", "pages", "new"}
