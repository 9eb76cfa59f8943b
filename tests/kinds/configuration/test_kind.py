"""Declared files are followed, checked, and served as they were last good."""

from __future__ import annotations

import json
import logging
import os
import sys
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from app.healing.kind import Fault, Outcome
from app.kinds.configuration.causes import MEANINGS, Cause
from app.kinds.configuration.declaration import READER, TABLE, File
from app.kinds.configuration.kind import LAST_GOOD, ConfigurationKind
from app.kinds.configuration.last_good import LastGood, LastGoods
from app.kinds.configuration.served import PROVEN_SECONDS, FileUnusable
from app.manifest import parse
from tests.support.clock import Clock
from tests.support.processes import wait_until

#: Looks like nothing that a fault says otherwise.
CANARY = "c4n4ry-of-the-shop"
SCHEMA = {
    "type": "object",
    "required": ["currency"],
    "properties": {
        "currency": {"type": "string"},
        "prices": {"type": "object", "additionalProperties": {"type": "integer", "minimum": 0}},
    },
}
PRICING = """\
[file.pricing]
path = "pricing.toml"
schema = "pricing.schema.json"
entries = "/prices"
help = "Prices of the shop."
"""
GOOD = 'currency = "EUR"\n[prices]\ntea = 3\nrum = 9\n'


@dataclass
class Pricing:
    """The file as a type."""

    currency: str
    prices: dict[str, int]


@dataclass
class Process:
    """What the processes of a host have in common, and the kind of one of them."""

    root: Path
    clock: Clock = field(default_factory=Clock)
    environ: dict[str, str] = field(default_factory=dict)
    declared: Mapping[str, File] = field(default_factory=dict)
    healed: list[str] = field(default_factory=list)

    @property
    def file(self) -> Path:
        """The file that most tests are about."""
        return self.root / "pricing.toml"

    def declare(self, manifest: str) -> None:
        """Declare the files of a manifest."""
        found = parse(manifest, {TABLE: READER})
        assert found.faults == ()
        self.declared = found.tables[TABLE]

    def kind(self, *needed: str, writes: bool = True) -> ConfigurationKind:
        """The kind as a process has it that begins now, with blueprints that need these."""
        made = ConfigurationKind(
            lambda: self.declared,
            self.environ,
            self.root,
            LastGoods(self.root / "home"),
            install=self.healed.append,
            clock=self.clock,
        )
        made.needs = dict.fromkeys(needed, ("shop.orders",))
        if writes:
            made.prepare()
        made.adopt()
        return made

    def served(self, kind: ConfigurationKind) -> None:
        """Let a process serve what there is for as long as it takes to count as good."""
        kind.adopt()
        self.clock.pass_by(PROVEN_SECONDS)
        kind.adopt()


@pytest.fixture
def process(tmp_path: Path) -> Process:
    """A process with one file declared, which is good."""
    made = Process(tmp_path)
    made.declare(PRICING)
    (tmp_path / "pricing.schema.json").write_text(json.dumps(SCHEMA))
    write(made.file, GOOD)
    return made


def only(kind: ConfigurationKind) -> Fault:
    """The one fault that there is."""
    (fault,) = kind.faults()
    return fault


def prices(kind: ConfigurationKind) -> Any:  # noqa: ANN401 - of a file
    """The prices that are served."""
    return kind.files["pricing"].value["prices"]


def write(path: Path, text: str | bytes) -> None:
    """Put a file in place by a rename, as editors and Kubernetes do."""
    fresh = path.with_name(f".{path.name}.new")
    fresh.write_bytes(text if isinstance(text, bytes) else text.encode())
    fresh.replace(path)


def instead(make: Callable[[Path], object]) -> Callable[[Path], None]:
    """Makes something else in the place of a file."""

    def harm(path: Path) -> None:
        path.unlink()
        make(path)

    return harm


class TestFollowed:
    """A change is served at the next pass, however it was made."""

    def test_good_again(self, process: Process) -> None:
        """What is broken is told with its line, and what comes after it is served."""
        kind = process.kind()
        assert list(kind.faults()) == []
        assert prices(kind) == {"tea": 3, "rum": 9}
        write(process.file, f'currency = "{CANARY}\n')
        assert kind.adopt()
        fault = only(kind)
        assert (fault.subject, fault.cause, fault.refusal) == ("pricing", Cause.SYNTAX, LAST_GOOD)
        assert fault.advice.startswith("line 1, column ")
        assert CANARY not in fault.advice
        assert prices(kind) == {"tea": 3, "rum": 9}
        write(process.file, GOOD.replace("3", "4"))
        assert kind.adopt()
        assert list(kind.faults()) == []
        assert prices(kind)["tea"] == 4
        assert not kind.adopt()

    def test_how_large_it_may_be(self, process: Process) -> None:
        """YAML, which is slow to read, may have a MiB, and every other format eight."""
        for format_, causes in (("yaml", [Cause.TOO_LARGE]), ("toml", [])):
            file = process.root / f"large.{format_}"
            file.write_text(
                f"{'# much' * (1 << 18)}\n" + ("a: 1" if format_ == "yaml" else "a = 1")
            )
            process.declare(f'[file.large]\npath = "{file.name}"')
            assert [fault.cause for fault in process.kind().faults()] == causes

    @pytest.mark.parametrize("how", ["in place", "rename", "link", "directory"])
    def test_same_size_and_time(self, process: Process, how: str) -> None:
        """Content of the same length and with the same time stamp is seen, too."""
        real = process.file
        if how in {"link", "directory"}:
            (process.root / "one").mkdir()
            real = real.rename(process.root / "one" / "pricing.toml")
            process.file.symlink_to(
                real if how == "link" else process.root / "data" / "pricing.toml"
            )
            (process.root / "data").symlink_to(process.root / "one")
        kind = process.kind()
        stamp = real.stat().st_mtime_ns
        changed = GOOD.replace("3", "4")
        if how == "in place":
            real.write_text(changed)
        elif how == "rename":
            write(real, changed)
        else:
            (process.root / "two").mkdir()
            real = process.root / "two" / "pricing.toml"
            real.write_text(changed)
            fresh = process.root / "fresh"
            fresh.symlink_to(real if how == "link" else real.parent)
            fresh.replace(process.file if how == "link" else process.root / "data")
        os.utime(real, ns=(stamp, stamp))
        assert kind.adopt()
        assert prices(kind)["tea"] == 4

    def test_many_times_within_a_tick(self, process: Process) -> None:
        """Of changes that the file system's clock does not tell apart the last one is served."""
        kind = process.kind()
        for price in [*range(10), *range(10)]:
            process.file.write_text(GOOD.replace("3", str(price)))
            kind.adopt()
            assert prices(kind)["tea"] == price

    def test_variable_of_its_path(self, process: Process) -> None:
        """The file is another one when the variable is, and none while it is not set."""
        process.declare('[file.pricing]\npath = "${SHOP}/pricing.json"\n')
        kind = process.kind("pricing")
        assert only(kind).cause == Cause.MISSING
        assert kind.unmet("pricing") == only(kind)
        for shop in ("one", "two"):
            (process.root / shop).mkdir()
            (process.root / shop / "pricing.json").write_text(json.dumps({"prices": shop}))
            process.environ["SHOP"] = shop
            assert kind.adopt()
            assert prices(kind) == shop
        assert kind.unmet("pricing") is None

    def test_other_declarations(self, process: Process) -> None:
        """A file that is declared, changed or removed is followed, or is not."""
        kind = process.kind()
        process.declare('[file.more]\npath = "more.json"\n')
        (process.root / "more.json").write_text("{}")
        assert kind.adopt()
        assert list(kind.subjects()) == ["more"]
        process.declare(PRICING.replace('entries = "/prices"', ""))
        assert kind.adopt()
        write(process.file, GOOD.replace("3", '"three"'))
        assert kind.adopt()
        assert only(kind).subject == "pricing"

    def test_schema_that_comes_later(self, process: Process) -> None:
        """A file is served when what checks it can be used, without a change of its own."""
        schema = process.root / "pricing.schema.json"
        schema.rename(process.root / "away")
        kind = process.kind("pricing")
        assert only(kind).cause == Cause.SCHEMA_INVALID
        (process.root / "away").rename(schema)
        process.clock.pass_by(PROVEN_SECONDS)
        assert kind.adopt()
        assert kind.unmet("pricing") is None

    def test_package_that_is_missing(
        self, process: Process, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """What checks a file is healed, and the file is served then."""
        monkeypatch.setitem(sys.modules, "jsonschema.validators", None)
        kind = process.kind("pricing")
        assert only(kind).cause == Cause.NO_PARSER
        wait_until(lambda: process.healed)
        assert process.healed == ["jsonschema"]
        monkeypatch.undo()
        process.clock.pass_by(PROVEN_SECONDS)
        assert kind.adopt()
        assert kind.unmet("pricing") is None

    def test_typed(self, process: Process) -> None:
        """Code gets the type that is declared, with the entries that count."""
        process.declare(PRICING.replace("pricing.schema.json", f"{__name__}:Pricing"))
        process.served(process.kind())
        write(process.file, GOOD.replace("3", '"c4n4ry"').replace("9", "8"))
        kind = process.kind()
        assert kind.files["pricing"].value == Pricing("EUR", {"tea": 3, "rum": 8})
        assert (only(kind).subject, only(kind).cause) == ("pricing#tea", Cause.WRONG_TYPE)

    def test_callbacks(self, process: Process, caplog: pytest.LogCaptureFixture) -> None:
        """Each new value is handed over once; one that fails costs the others nothing."""
        kind, seen = process.kind(), list[object]()

        def fails(_: object) -> None:
            raise ValueError(CANARY)

        def asks(_: object) -> None:
            seen.append(kind.files["pricing"].value)

        kind.files["pricing"].on_change(fails)
        kind.files["pricing"].on_change(asks)
        # What is declared otherwise is taken over in the midst of it.
        process.declared = {**process.declared}
        write(process.file, GOOD.replace("3", "4"))
        kind.adopt()
        write(process.file, "nonsense")
        kind.adopt()
        kind.adopt()
        assert [value["prices"]["tea"] for value in seen] == [4]  # type: ignore[index]
        assert [r.levelno for r in caplog.records] == [logging.ERROR, logging.WARNING]


class TestLastGood:
    """What could be used once is served while what is there cannot be."""

    def test_restart(self, process: Process) -> None:
        """The whole file, with since when, in every process that begins later."""
        process.served(process.kind())
        write(process.file, "nonsense")
        first = process.kind("pricing")
        assert prices(first) == {"tea": 3, "rum": 9}
        assert first.unmet("pricing") is None
        since = first.files["pricing"].state.stale[""]
        assert only(first).refusal == LAST_GOOD
        second = process.kind()
        assert second.files["pricing"].state.stale == {"": since}
        assert only(second).advice == only(first).advice

    def test_too_young(self, process: Process) -> None:
        """What was not served for long enough is not good."""
        kind = process.kind()
        process.clock.pass_by(PROVEN_SECONDS / 2)
        kind.adopt()
        write(process.file, "nonsense")
        unmet = process.kind("pricing").unmet("pricing")
        assert unmet is not None
        assert (unmet.cause, unmet.refusal) == (Cause.SYNTAX, Outcome.NOT_FIXABLE)

    def test_commands_write_nothing(self, process: Process) -> None:
        """A process that may not heal leaves the home as it is."""
        process.served(process.kind(writes=False))
        assert not (process.root / "home").exists()

    def test_entry_by_entry(self, process: Process) -> None:
        """A broken entry is served as it was, its siblings as they are."""
        process.served(process.kind())
        write(process.file, GOOD.replace("3", '"c4n4ry"').replace("9", "8") + "gin = 7\n")
        kind = process.kind()
        assert prices(kind) == {"tea": 3, "rum": 8, "gin": 7}
        fault = only(kind)
        assert (fault.subject, fault.cause) == ("pricing#tea", Cause.WRONG_TYPE)
        assert fault.advice.startswith("line 3, column 1: ")
        assert "c4n4ry" not in fault.advice

    def test_entry_that_never_was(self, process: Process) -> None:
        """A broken entry of which nothing good is known is left out alone."""
        write(process.file, GOOD + "gin = -1\n")
        kind = process.kind("pricing")
        assert prices(kind) == {"tea": 3, "rum": 9}
        assert (only(kind).subject, only(kind).cause) == ("pricing#gin", Cause.OUT_OF_RANGE)
        assert kind.unmet("pricing") is None

    def test_many_broken_entries(self, process: Process) -> None:
        """The first ones are told, and how many there are; all that are good are served."""
        write(process.file, GOOD + "".join(f"gin{number} = -1\n" for number in range(500)))
        kind = process.kind("pricing")
        first, *others = kind.faults()
        assert (first.subject, len(others)) == ("pricing", 20)
        assert first.advice.startswith("500 entries cannot be used")
        assert prices(kind) == {"tea": 3, "rum": 9}

    def test_each_entry_has_its_own(self, process: Process) -> None:
        """A newer good entry is not replaced by an older one for its sibling's sake."""
        process.served(process.kind())
        kind = process.kind()
        write(process.file, GOOD.replace("3", "-1").replace("9", "8"))
        process.served(kind)
        write(process.file, GOOD.replace("3", "-1").replace("9", "-1"))
        assert prices(process.kind()) == {"tea": 3, "rum": 8}
        write(process.file, "nonsense")
        assert prices(process.kind()) == {"tea": 3, "rum": 8}

    @pytest.mark.parametrize("broken", ["nonsense", 'currency = "EUR"\n[prices]\ntea = -1\n'])
    @pytest.mark.parametrize("while_it_runs", [True, False])
    def test_removed(self, process: Process, broken: str, *, while_it_runs: bool) -> None:
        """An entry that the operator has removed is not brought back, however soon it breaks."""
        process.served(process.kind())
        kind = process.kind()
        without = 'currency = "EUR"\n[prices]\nrum = 9\n'
        if while_it_runs:
            write(process.file, without)
            kind.adopt()
        else:
            write(process.file, without)
            kind = process.kind()
        write(process.file, broken)
        kind.adopt()
        assert "tea" not in prices(kind)
        assert "tea" not in prices(process.kind())
        write(process.file, GOOD)
        kind.adopt()
        assert prices(kind) == {"tea": 3, "rum": 9}
        process.served(kind)
        write(process.file, "nonsense")
        assert prices(process.kind()) == {"tea": 3, "rum": 9}

    def test_put_back_by_hand(self, process: Process) -> None:
        """An entry that was removed and put back is one like any other, after a restart too."""
        process.served(process.kind())
        write(process.file, 'currency = "EUR"\n[prices]\nrum = 9\n')
        process.kind()
        write(process.file, GOOD)
        process.served(process.kind())
        write(process.file, "nonsense")
        assert prices(process.kind()) == {"tea": 3, "rum": 9}

    @pytest.mark.filterwarnings("ignore:.*fork:DeprecationWarning")
    def test_loaded_before_a_fork(self, process: Process) -> None:
        """What no worker has served is not good, however long ago it was loaded."""
        kind = process.kind()
        process.clock.pass_by(PROVEN_SECONDS)
        if (child := os.fork()) == 0:
            try:
                kind.adopt()
            finally:
                os._exit(0)
        os.waitpid(child, 0)
        assert LastGoods(process.root / "home").get("pricing") == LastGood()
        kind.adopt()
        assert LastGoods(process.root / "home").get("pricing").versions

    def test_revocable(self, process: Process) -> None:
        """Of a file whose content can be revoked nothing old is served, kept or left."""
        process.served(process.kind())
        process.declare(f"{PRICING}revocable = true\n")
        kind = process.kind("pricing")
        process.served(kind)
        assert LastGoods(process.root / "home").get("pricing") == LastGood()
        write(process.file, GOOD.replace("3", "-1"))
        kind.adopt()
        assert prices(kind) == {"rum": 9}
        write(process.file, "nonsense")
        kind.adopt()
        assert kind.unmet("pricing") is not None
        with pytest.raises(FileUnusable) as raised:
            _ = kind.files["pricing"].value
        assert kind.explain(raised.value) == kind.unmet("pricing")

    def test_older_never_replaces_newer(self, process: Process) -> None:
        """A process that comes late with what it served long ago does not write it down."""
        late = process.kind()
        write(process.file, GOOD.replace("3", "4"))
        process.served(process.kind())
        late.files["pricing"].settle()
        (kept,) = LastGoods(process.root / "home").get("pricing").versions
        assert b"tea = 4" in kept.content

    def test_taken_back_by_hand(self, process: Process) -> None:
        """An older version that the operator has put back is the newest one."""
        kind = process.kind()
        for price in ("4", "3"):
            process.file.write_text(GOOD.replace("3", price))
            process.served(kind)
        (kept,) = LastGoods(process.root / "home").get("pricing").versions
        assert kept.content == GOOD.encode()

    def test_no_longer_valid(self, process: Process) -> None:
        """What another schema would refuse is not served."""
        process.served(process.kind())
        schema = {**SCHEMA, "required": ["country"]}
        (process.root / "pricing.schema.json").write_text(json.dumps(schema))
        kind = process.kind("pricing")
        assert (only(kind).cause, kind.unmet("pricing")) == (Cause.MISSING_KEY, only(kind))

    def test_home_that_cannot_be_written(self, process: Process) -> None:
        """It costs the knowledge alone, until it can be."""
        home = process.root / "home"
        home.write_text("in the way")
        kind = process.kind()
        process.served(kind)
        assert prices(kind) == {"tea": 3, "rum": 9}
        home.unlink()
        process.served(kind)


class TestNeeds:
    """Blueprints wait for files."""

    @pytest.mark.parametrize(
        ("harm", "cause"),
        [
            (Path.unlink, Cause.MISSING),
            (lambda path: path.write_bytes(b"\xff"), Cause.ENCODING),
            (lambda path: path.write_text("prices = {}"), Cause.MISSING_KEY),
            (instead(Path.mkdir), Cause.UNREADABLE),
            (instead(os.mkfifo), Cause.UNREADABLE),
            (instead(lambda path: path.symlink_to(path)), Cause.UNREADABLE),
        ],
        ids=["missing", "encoding", "key", "directory", "pipe", "loop"],
    )
    def test_unmet(self, process: Process, harm: Callable[[Path], object], cause: Cause) -> None:
        """The cause is told, and it is met when the file is good."""
        harm(process.file)
        kind = process.kind("pricing")
        unmet = kind.unmet("pricing")
        assert unmet is not None
        assert unmet.cause == cause
        assert kind.recheck(unmet) == unmet
        if process.file.is_dir():
            process.file.rmdir()
        write(process.file, GOOD)
        assert kind.recheck(unmet) is None
        assert kind.unmet("pricing") is None

    def test_undeclared(self, process: Process) -> None:
        """What nothing declares is missing."""
        kind = process.kind("other")
        assert kind.unmet("other") == only(kind)
        assert only(kind).cause == Cause.MISSING

    def test_every_cause_has_a_meaning(self) -> None:
        """Visitors are told something for each."""
        assert set(MEANINGS) == set(Cause)


class TestDeclared:
    """What the manifest may say of a file."""

    @pytest.mark.parametrize(
        ("key", "value"),
        [
            ("path", "3"),
            ("path", '""'),
            ("path", '"pricing.txt"'),
            ("format", '"xml"'),
            ("entries", '"prices"'),
            ("revocable", '"yes"'),
            ("schema", "{}"),
            ("colour", '"red"'),
        ],
    )
    def test_wrong(self, key: str, value: str) -> None:
        """It is a fault of that table with the key's line, and the others count."""
        lines = {"path": '"a.toml"', key: value}
        table = "".join(f"{name} = {given}\n" for name, given in lines.items())
        found = parse(f'[file.a]\n{table}[file.b]\npath = "b.yml"\n', {TABLE: READER})
        assert list(found.tables[TABLE]) == ["b"]
        (fault,) = found.faults
        assert fault.message.startswith(("file.a.", "file.a "))
        assert f"{key} " in fault.message or key == "path"
