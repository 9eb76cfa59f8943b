"""Variables are found in their sources, checked, followed, and put in force."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from app.healing.kind import Fault
from app.kinds.environment.kind import MEANINGS, Cause, EnvironmentKind
from app.kinds.environment.variables import READER, TABLE
from app.manifest import parse
from app.settings.declarations import adopt
from app.settings.sources import ENV_FILE, ENVIRONMENT_FOLLOWED, ENVIRONMENT_REPLACED
from app.settings.variable import Variable

#: Looks like nothing that a fault says otherwise.
CANARY = "c4n4ry-of-the-shop"


@dataclass
class Process:
    """The environment of a process, with the files that its variables can come from."""

    root: Path
    environ: dict[str, str] = field(default_factory=dict)
    declared: Mapping[str, Variable[str | None]] = field(default_factory=dict)

    @property
    def secrets(self) -> Path:
        """The directory of mounted secrets."""
        return self.root / "secrets"

    @property
    def env_file(self) -> Path:
        """The ``.env`` file."""
        return self.root / "shop.env"

    @property
    def example(self) -> Path:
        """The example beside the ``.env`` file."""
        return self.root / "shop.env.example"

    def declare(self, manifest: str) -> None:
        """Declare the variables of a manifest."""
        found = parse(manifest, {TABLE: READER})
        assert found.faults == ()
        self.declared = found.tables[TABLE]

    def kind(self, *needed: str) -> EnvironmentKind:
        """The kind as a process has it that begins now, with blueprints that need these."""
        made = EnvironmentKind(lambda: self.declared, self.environ, self.secrets)
        made.needs = dict.fromkeys(needed, ("shop.orders",))
        return made


@pytest.fixture
def process(tmp_path: Path) -> Process:
    """A process with one variable declared, which no source has."""
    made = Process(tmp_path)
    made.secrets.mkdir()
    made.env_file.touch()
    made.environ[ENV_FILE] = str(made.env_file)
    adopt(made.environ)
    made.declare('[variable.SHOP_KEY]\nhelp = "Token of the shop."\n')
    return made


def only(kind: EnvironmentKind) -> Fault:
    """The one fault that there is."""
    (fault,) = kind.faults()
    return fault


def write(path: Path, text: str | bytes) -> None:
    """Put a file in place by a rename, as editors and Kubernetes do."""
    fresh = path.with_name(f".{path.name}.new")
    fresh.write_bytes(text if isinstance(text, bytes) else text.encode())
    fresh.replace(path)


class TestSources:
    """The first source that has a value wins."""

    def test_the_order(self, process: Process) -> None:
        """The environment, the named file, the mounted secret, .env, the default."""
        process.declare('[variable.SHOP_KEY]\ndefault = "of the manifest"\n')
        named = process.root / "named"
        named.write_text("of the named file\n")
        write(process.secrets / "SHOP_KEY", "of the secret\n")
        process.env_file.write_text("SHOP_KEY='of the .env file'\n")

        def found(**environ: str) -> str:
            process.environ |= environ
            process.kind("SHOP_KEY").adopt()
            value = process.environ.pop("SHOP_KEY")
            for name in environ:
                process.environ.pop(name, None)
            return value

        assert found(SHOP_KEY="of the process") == "of the process"
        assert found(SHOP_KEY_FILE=str(named)) == "of the named file"
        assert found() == "of the secret"
        (process.secrets / "SHOP_KEY").unlink()
        assert found() == "of the .env file"
        process.env_file.write_text("")
        assert found() == "of the manifest"

    @pytest.mark.parametrize("blank", ["", "  ", "\n"])
    def test_blank_is_unset(self, process: Process, blank: str) -> None:
        """Nobody means a blank value, wherever it stands."""
        process.environ["SHOP_KEY"] = blank
        write(process.secrets / "SHOP_KEY", blank)
        assert only(process.kind("SHOP_KEY")).cause == Cause.MISSING

    def test_only_declared_ones(self, process: Process) -> None:
        """A secret that nothing declares sets nothing."""
        write(process.secrets / "LD_PRELOAD", "/tmp/evil.so")  # noqa: S108 - never opened
        process.kind("SHOP_KEY").adopt()
        assert "LD_PRELOAD" not in process.environ

    def test_a_value_that_was_given_stays(self, process: Process) -> None:
        """No file ever overrules the process's own environment."""
        process.environ["SHOP_KEY"] = "given"
        kind = process.kind("SHOP_KEY")
        write(process.secrets / "SHOP_KEY", "mounted")
        kind.adopt()
        assert process.environ["SHOP_KEY"] == "given"

    def test_a_process_that_begins_later(self, process: Process) -> None:
        """What came from a file is followed there too, although it stands in its environment."""
        write(process.secrets / "SHOP_KEY", "first")
        process.kind("SHOP_KEY").adopt()
        assert "SHOP_KEY" in process.environ[ENVIRONMENT_FOLLOWED].split()
        later = Process(process.root, dict(process.environ), process.declared)
        kind = later.kind("SHOP_KEY")
        write(process.secrets / "SHOP_KEY", "second")
        assert kind.adopt()
        assert later.environ["SHOP_KEY"] == "second"


class TestFollowed:
    """Files that change while the process runs."""

    def test_a_secret_is_mounted(self, process: Process) -> None:
        """It ends the fault and is in force; nothing has to be restarted."""
        kind = process.kind("SHOP_KEY")
        assert kind.unmet("SHOP_KEY") == only(kind)
        assert not kind.adopt()
        write(process.secrets / "SHOP_KEY", "value\n")
        assert kind.adopt()
        assert (kind.faults(), kind.unmet("SHOP_KEY")) == ((), None)
        assert process.environ["SHOP_KEY"] == "value"
        assert not kind.adopt()

    def test_a_directory_that_comes_later(self, process: Process) -> None:
        """It may be mounted after the start."""
        process.secrets.rmdir()
        kind = process.kind("SHOP_KEY")
        assert only(kind).cause == Cause.MISSING
        process.secrets.mkdir()
        write(process.secrets / "SHOP_KEY", "value")
        assert kind.adopt()
        assert process.environ["SHOP_KEY"] == "value"

    def test_kubernetes_swaps_a_link(self, process: Process) -> None:
        """A volume's files are links through ``..data``, which is swapped as a whole."""
        for version, value in (("..1", "first"), ("..2", "second")):
            (process.secrets / version).mkdir()
            (process.secrets / version / "SHOP_KEY").write_text(value)
        (process.secrets / "..data").symlink_to("..1")
        (process.secrets / "SHOP_KEY").symlink_to("..data/SHOP_KEY")
        kind = process.kind("SHOP_KEY")
        kind.adopt()
        assert process.environ["SHOP_KEY"] == "first"
        (process.secrets / "..next").symlink_to("..2")
        (process.secrets / "..next").replace(process.secrets / "..data")
        assert kind.adopt()
        assert process.environ["SHOP_KEY"] == "second"

    def test_written_over(self, process: Process) -> None:
        """Neither the same size nor the same time stamp hides a change."""
        place = process.secrets / "SHOP_KEY"
        place.write_text("first!")
        kind = process.kind("SHOP_KEY")
        kind.adopt()
        stamp = place.stat().st_mtime_ns
        place.write_text("second")
        os.utime(place, ns=(stamp, stamp))
        assert kind.adopt()
        assert process.environ["SHOP_KEY"] == "second"

    def test_the_env_file(self, process: Process) -> None:
        """It is followed like the others."""
        kind = process.kind("SHOP_KEY")
        kind.adopt()
        write(process.env_file, "SHOP_KEY=value\n")
        assert kind.adopt()
        assert process.environ["SHOP_KEY"] == "value"

    @pytest.mark.parametrize(
        "bad", ["changeme", "x" * 200_000, b"\xff\xfe", b"a\0b", None], ids=lambda bad: str(bad)[:9]
    )
    def test_a_worse_value(self, process: Process, bad: str | bytes | None) -> None:
        """One that cannot be used, or is gone, is a fault; what was in force stays so."""
        place = process.secrets / "SHOP_KEY"
        write(place, "good")
        kind = process.kind("SHOP_KEY")
        kind.adopt()
        if bad is None:
            place.unlink()
        else:
            write(place, bad)
        assert kind.adopt()
        assert only(kind).subject == "SHOP_KEY"
        assert (kind.unmet("SHOP_KEY"), process.environ["SHOP_KEY"]) == (None, "good")
        write(place, "better")
        assert kind.adopt()
        assert (kind.faults(), process.environ["SHOP_KEY"]) == ((), "better")

    def test_the_declaration(self, process: Process) -> None:
        """What the manifest says now counts."""
        process.environ["SHOP_KEY"] = "text"
        kind = process.kind("SHOP_KEY")
        assert kind.faults() == ()
        process.declare('[variable.SHOP_KEY]\ntype = "integer"\n')
        assert only(kind).cause == Cause.INVALID


class TestCauses:
    """What is wrong, and what its advice says."""

    def test_missing(self, process: Process) -> None:
        """The advice has what was expected, the help, and where was looked."""
        fault = only(process.kind("SHOP_KEY"))
        assert (fault.kind, fault.cause, fault.refusal) == (
            *("environment", "environment_missing"),
            "not_fixable",
        )
        assert fault.advice == (
            "SHOP_KEY is not set: set text (Token of the shop); looked at the environment,"
            " SHOP_KEY_FILE, the mounted secrets, .env"
        )

    def test_nobody_needs_it(self, process: Process) -> None:
        """A variable that no blueprint needs may be missing, and may not be wrong."""
        process.declare('[variable.SHOP_SIZE]\ntype = "integer"\n')
        assert process.kind().faults() == ()
        process.environ["SHOP_SIZE"] = "large"
        assert only(process.kind()).cause == Cause.INVALID

    def test_a_need_that_nothing_declares(self, process: Process) -> None:
        """It has to be set all the same, to whatever text."""
        assert only(process.kind("SHOP_NAME")).subject == "SHOP_NAME"
        process.environ["SHOP_NAME"] = "x"
        assert process.kind("SHOP_NAME").faults() == ()

    @pytest.mark.parametrize("other", ["SHOP_KYE", "SHOPKEY", "SHOP_KEYS"])
    def test_misspelt(self, process: Process, other: str) -> None:
        """A variable of nearly the same name that nothing declares is named."""
        process.environ[other] = CANARY
        fault = only(process.kind("SHOP_KEY"))
        assert fault.cause == Cause.MISSPELT
        assert fault.advice == (
            f"SHOP_KEY is not set, and {other} is, which nothing declares: rename it"
        )

    @pytest.mark.parametrize("other", ["SHOP_TOKEN", "SHOP_KEY_FILE_2", "KEY", "shop_key"])
    def test_is_no_slip(self, process: Process, other: str) -> None:
        """A name that is less alike is another variable."""
        process.environ[other] = CANARY
        assert only(process.kind("SHOP_KEY")).cause == Cause.MISSING

    def test_what_the_platform_sets(self, process: Process) -> None:
        """Kubernetes' own variables of a service are nobody's slip."""
        process.declare("[variable.ORDERS_SERVICE_HOTS]\n")
        process.environ["ORDERS_SERVICE_HOST"] = "10.0.0.1"
        assert only(process.kind("ORDERS_SERVICE_HOTS")).cause == Cause.MISSING

    def test_another_declared_one(self, process: Process) -> None:
        """A variable that is declared itself is no slip for another."""
        process.declare("[variable.SHOP_KEY]\n[variable.SHOP_KEY2]\n")
        process.environ["SHOP_KEY2"] = "x"
        assert only(process.kind("SHOP_KEY")).cause == Cause.MISSING

    @pytest.mark.parametrize(
        "value",
        [
            *("changeme", "CHANGE_ME", "change-this!", "your-key-here", "your_api_key", "<token>"),
            *("xxx", "XXXXXXXX", "***", "...", "TODO", "put it here-here", "placeholder"),
            *("replace-me", "fill in"),
        ],
    )
    def test_placeholder(self, process: Process, value: str) -> None:
        """What an example holds in the place of a value is no value."""
        process.environ["SHOP_KEY"] = value
        fault = only(process.kind("SHOP_KEY"))
        assert fault.cause == Cause.PLACEHOLDER
        assert fault.advice == (
            "SHOP_KEY in the environment is a placeholder: set text (Token of the shop)"
        )

    @pytest.mark.parametrize("written_as", ["text", "url", 'pattern"\npattern = ".*'])
    def test_the_examples_own_value(self, process: Process, written_as: str) -> None:
        """A value that stands in ``.env.example`` is no value; the example is followed too."""
        process.declare(f'[variable.SHOP_KEY]\ntype = "{written_as}"\nhelp = "Token"\n')
        process.environ["SHOP_KEY"] = "https://example.com/shp_0123"
        kind = process.kind("SHOP_KEY")
        assert kind.faults() == ()
        write(process.example, "# Token\nSHOP_KEY='https://example.com/shp_0123'\n")
        assert kind.adopt()
        assert only(kind).cause == Cause.PLACEHOLDER
        write(process.example, "SHOP_KEY=\n")
        assert kind.adopt()
        assert kind.faults() == ()

    @pytest.mark.parametrize(
        ("lines", "value"),
        [
            ('default = "3"', "3"),
            ('type = "integer"', "3"),
            ('type = "flag"', "on"),
            ('type = "one_of"\nchoices = ["eu", "us"]', "eu"),
        ],
    )
    def test_as_good_as_any(self, process: Process, lines: str, value: str) -> None:
        """The default, a number, a flag or a choice may be what the example has."""
        process.declare(f"[variable.SHOP_KEY]\n{lines}\n")
        process.environ["SHOP_KEY"] = value
        write(process.example, f"SHOP_KEY={value}\n")
        assert process.kind("SHOP_KEY").faults() == ()

    @pytest.mark.parametrize("value", ["xx", "yourself", "exchange", "a<b>c", "todos", "there"])
    def test_is_no_placeholder(self, process: Process, value: str) -> None:
        """Values that only look a little like one count."""
        process.environ["SHOP_KEY"] = value
        assert process.kind("SHOP_KEY").faults() == ()

    def test_contradiction(self, process: Process) -> None:
        """Two ways at once say two things."""
        process.environ |= {"SHOP_KEY": CANARY, "SHOP_KEY_FILE": str(process.env_file)}
        fault = only(process.kind("SHOP_KEY"))
        assert fault.cause == Cause.CONTRADICTION
        assert fault.advice == "both SHOP_KEY and SHOP_KEY_FILE are set: remove one"

    @pytest.mark.parametrize("make", [Path.mkdir, os.mkfifo, lambda path: path.symlink_to("gone")])
    def test_unreadable(self, process: Process, make: Callable[[Path], object]) -> None:
        """No regular file is no secret; nothing waits for a pipe, and no path is shown."""
        named = process.root / CANARY
        make(named)
        process.environ["SHOP_KEY_FILE"] = str(named)
        fault = only(process.kind("SHOP_KEY"))
        assert fault.cause == Cause.UNREADABLE_FILE
        assert CANARY not in fault.advice

    def test_no_value_is_shown(self, process: Process) -> None:
        """Neither the advice nor the text of anything has the value."""
        process.declare('[variable.SHOP_KEY]\ntype = "integer"\nsecret = true\n')
        process.environ["SHOP_KEY"] = CANARY
        kind = process.kind("SHOP_KEY")
        fault = only(kind)
        assert fault.advice == "SHOP_KEY in the environment is not a whole number"
        assert CANARY not in f"{fault!r} {kind!r}"

    def test_every_cause_has_a_meaning(self) -> None:
        """Somebody who asked for a page reads what each means."""
        assert set(MEANINGS) == set(Cause)

    @pytest.mark.parametrize("name", ["é", "A B", "a=b", "\udcff", "A" * 5000])
    def test_odd_names_around_it(self, process: Process, name: str) -> None:
        """What else the environment holds does not matter."""
        process.environ[name] = "\udcff"
        assert only(process.kind("SHOP_KEY")).cause == Cause.MISSING


def test_explains_what_code_fails_for(process: Process, monkeypatch: pytest.MonkeyPatch) -> None:
    """A variable that code missed is named, declared or not; one that is set is not."""
    for name in ("SHOP_KEY", "SHOP_STRANGER"):
        monkeypatch.delenv(name, raising=False)
        with pytest.raises(KeyError) as caught:
            os.environ[name]
        fault = process.kind().explain(caught.value)
        assert fault is not None
        assert (fault.subject, fault.cause) == (name, Cause.MISSING)
        process.environ[name] = "set meanwhile"
        assert process.kind().explain(caught.value) is None


@pytest.mark.parametrize("named", [True, False])
def test_explains_that_a_declaration_is_missing(
    process: Process, monkeypatch: pytest.MonkeyPatch, *, named: bool
) -> None:
    """A variable that only a file sets counts once it is declared, which its fault says."""
    name = "SHOP_STRANGER"
    monkeypatch.delenv(name, raising=False)
    with pytest.raises(KeyError) as caught:
        os.environ[name]
    file = (process.root if named else process.secrets) / name
    write(file, CANARY)
    if named:
        process.environ[f"{name}_FILE"] = str(file)
    kind = process.kind()
    fault = kind.explain(caught.value)
    assert fault is not None
    assert (fault.subject, fault.cause) == (name, Cause.UNDECLARED)
    assert "orchestrator.toml" in fault.advice
    assert CANARY not in fault.advice
    assert name not in process.environ
    process.declare(f"[variable.{name}]\n")
    assert kind.adopt()
    assert process.environ[name] == CANARY
    assert kind.explain(caught.value) is None


def test_a_default_that_was_put_in_place_of_a_setting(process: Process) -> None:
    """Who began this process says of which settings the value given could not be used."""
    process.environ |= {"WEB_CONCURRENCY": "2", ENVIRONMENT_REPLACED: "WEB_CONCURRENCY"}
    fault = only(process.kind())
    assert (fault.subject, fault.cause, fault.refusal) == (
        *("WEB_CONCURRENCY", "environment_invalid"),
        "fallback",
    )
    assert fault.advice == "WEB_CONCURRENCY has to be 1 to 256; the default, 2, is used"


def test_a_setting_under_another_name(process: Process) -> None:
    """What is nearly a setting's name leaves that one's default in force, which is a fault."""
    process.environ["AUTO_FIX_MOED"] = CANARY
    fault = only(process.kind())
    assert (fault.subject, fault.cause, fault.refusal) == (
        *("AUTO_FIX_MODE", "environment_misspelt"),
        "fallback",
    )
    assert fault.advice == (
        "'AUTO_FIX_MOED' in the environment is not a setting; AUTO_FIX_MODE is: rename it"
    )
