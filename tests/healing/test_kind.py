"""A kind of fault that nobody in ``app`` knows is detected, healed, refused, recorded and shown."""

from __future__ import annotations

import json
import logging
import sqlite3
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest
from flask.testing import FlaskClient

from app import create_app
from app.healing.budget import FIRST_PAUSE
from app.healing.claims import Mark, write_mark
from app.healing.engine import PlanChanged, UnknownFault
from app.healing.kind import Outcome
from app.manifest import CORE, Blueprint
from app.settings.declarations import Settings
from app.utils.auto_fix import AutoFixer
from tests.conftest import World
from tests.healing.counter import CounterKind
from tests.support.exposition import read
from tests.support.http import BEARER, TOKEN, Build, assert_problem
from tests.support.processes import ROOT, base_environ, wait_until


@pytest.fixture
def counters(tmp_path: Path) -> CounterKind:
    """Two counters that are well."""
    directory = tmp_path / "counters"
    directory.mkdir()
    for name in ("doors", "steps"):
        (directory / f"{name}.count").write_text("7")
    return CounterKind(directory, "doors", "steps")


@pytest.fixture
def fixer(world: World, counters: CounterKind) -> AutoFixer:
    """An engine with this kind beside that of packages."""
    engine = world.fixer()
    engine.add_kind(counters)
    return engine


def garble(counters: CounterKind, name: str = "doors") -> None:
    """Break a counter."""
    (counters.directory / f"{name}.count").write_text("many")


def run_command(world: World, *arguments: str) -> Any:  # noqa: ANN401 - a JSON document
    """What a command says of the world's home, as JSON."""
    done = subprocess.run(
        [sys.executable, "-m", "app.cli", *arguments, "--json"],
        cwd=ROOT,
        env=base_environ(
            AUTO_FIX_HOME=str(world.settings.home), AUTO_FIX_LOCK=str(world.settings.lock)
        ),
        capture_output=True,
        text=True,
        timeout=60,
        check=True,
    )
    return json.loads(done.stdout)


class TestHealing:
    """The life of a fault, whatever its kind."""

    def test_nothing_is_wrong(self, fixer: AutoFixer) -> None:
        """Subjects that are well have passing checks and no attempts."""
        assert fixer.faults() == ()
        checks = {check.name: check.ok for check in fixer.health_report().checks}
        assert checks == {"counter_doors": True, "counter_steps": True}

    def test_heals(
        self, fixer: AutoFixer, counters: CounterKind, caplog: pytest.LogCaptureFixture
    ) -> None:
        """A fault is repaired once, recorded with its kind, and its fix is in force."""
        caplog.set_level(logging.INFO)
        garble(counters)
        (fault,) = fixer.faults()
        assert (fault.kind, fault.subject, fault.fixable) == ("counter", "doors", True)
        assert fixer.heal(fault).healed
        assert fixer.heal(fault).healed
        assert (counters.repairs, fixer.faults()) == (1, ())
        (row,) = fixer.history()
        assert (row.kind, row.subject, row.cause, row.outcome) == (
            *("counter", "doors", "garbled"),
            "healed",
        )
        assert fixer.fix_attempts == {"counter:doors": 1}
        (fix,) = fixer.fixes()
        assert (fix.kind, fix.requirement, fix.attempt) == ("counter", "count = 7", row.attempt)
        healed = [record for record in caplog.records if record.message == "fault healed"]
        assert [record.fields["kind"] for record in healed] == ["counter"]  # type: ignore[attr-defined]

    def test_refused(
        self, fixer: AutoFixer, counters: CounterKind, caplog: pytest.LogCaptureFixture
    ) -> None:
        """What nobody approves is never tried, costs no budget; the log has once what is wrong."""
        garble(counters)
        (counters.directory / "doors.sealed").touch()
        (fault,) = fixer.faults()
        assert [fixer.heal_in_background(fault) for _ in range(3)] == [None] * 3
        assert fixer.heal(fault).outcome == Outcome.NOT_APPROVED
        assert (counters.repairs, fixer.history()) == (0, ())
        (logged,) = [one for one in caplog.records if one.message == "fault is not healed"]
        assert logged.fields["advice"] == fault.advice  # type: ignore[attr-defined]
        (opened,) = fixer.open_faults()
        assert (opened.outcome, opened.budget.attempts_left) == ("not_approved", 3)
        (counters.directory / "doors.sealed").unlink()
        assert fixer.heal(fixer.faults()[0]).healed

    def test_fails_with_an_outcome_of_its_own(
        self, fixer: AutoFixer, counters: CounterKind
    ) -> None:
        """Three attempts use the budget up; its outcome and its words are shown."""
        garble(counters)
        counters.jammed = True
        outcomes = [fixer.heal(fixer.faults()[0]).outcome for _ in range(4)]
        assert outcomes == ["jammed", "jammed", "jammed", Outcome.BUDGET]
        (opened,) = fixer.open_faults()
        assert (opened.outcome, opened.reason) == ("jammed", "turn the counter by hand")
        assert (opened.budget.attempts_left, opened.budget.retry_after > 0) == (0, True)
        checks = {check.name: check for check in fixer.health_report().checks}
        assert checks["counter_doors"].outcome == "jammed"
        assert "turn the counter by hand" in str(checks["counter_doors"].advice)
        assert fixer.reset_budget("counter", "doors")
        assert fixer.budget_of("counter", "doors").attempts_left == 3

    def test_the_disk_refuses(self, fixer: AutoFixer, counters: CounterKind) -> None:
        """A home that does not do its part costs an attempt, not the service."""
        garble(counters)
        (counters.directory / "doors.new").mkdir()
        repair = fixer.heal(fixer.faults()[0])
        assert (repair.outcome, repair.error_class) == (Outcome.PERMISSION, "IsADirectoryError")
        assert [row.outcome for row in fixer.history()] == ["permission"]

    def test_a_plan_that_was_approved(self, fixer: AutoFixer, counters: CounterKind) -> None:
        """Only the plan that was shown is carried out; what is well has none."""
        garble(counters)
        with pytest.raises(PlanChanged):
            fixer.fix_fault("counter", "doors", plan="another")
        assert fixer.fix_fault("counter", "doors", plan="doors").healed
        with pytest.raises(UnknownFault):
            fixer.fix_fault("counter", "doors")

    def test_another_process_has_healed_it(
        self, world: World, fixer: AutoFixer, counters: CounterKind
    ) -> None:
        """Its fix is adopted, once."""
        assert not fixer.adopt()
        other = world.fixer()
        other.add_kind(CounterKind(counters.directory, *counters.names))
        garble(counters)
        assert other.heal(other.faults()[0]).healed
        assert fixer.adopt()
        assert not fixer.adopt()

    @pytest.mark.parametrize("committed", [False, True])
    def test_a_holder_that_died(
        self, world: World, fixer: AutoFixer, counters: CounterKind, *, committed: bool
    ) -> None:
        """The next boot removes what it left, and records its attempt as what it came to."""
        fixer.prepare()
        with fixer.claims.hold("counter", "doors", 1) as claim:
            write_mark(claim, Mark("counter", "doors", "lost", "garbled", counters.basis()))
        (counters.directory / "doors.new").write_text("7")
        if committed:
            (counters.directory / "doors.committed").write_text("lost")
        heir = world.fixer()
        heir.add_kind(counters)
        heir.prepare()
        (row,) = heir.history()
        expected = Outcome.HEALED if committed else Outcome.INTERRUPTED
        assert (row.attempt, row.kind, row.outcome) == ("lost", "counter", expected)
        assert not (counters.directory / "doors.new").exists()
        assert heir.claims.marks() == []


class TestForeignMarks:
    """Claims whose files hold what no engine has written."""

    @pytest.mark.parametrize("name", ["dependency.prey", "dependency.other"])
    @pytest.mark.parametrize(
        "content",
        [
            *(b"null", b"5", b"{", b"\xff", b"\0" * 5000, b"[" * 100_000),
            *({"kind": ["a"]}, {"kind": "a/b"}, {"kind": "\0"}, {"kind": "unknown"}),
            *({"subject": 5}, {"subject": ""}, {"subject": "/etc"}, {"subject": "\ud800"}),
            *({"subject": "*"}, {"attempt": {}, "basis": None}),
        ],
    )
    def test_counts_for_nothing(
        self, world: World, name: str, content: bytes | dict[str, object]
    ) -> None:
        """The service boots, heals, and records its own attempt alone."""
        world.publish("prey")
        mark = dict.fromkeys(("attempt", "cause", "basis"), "x")
        mark |= {"kind": "dependency", "subject": "prey"}
        claims = world.settings.home / "claims"
        claims.mkdir(parents=True)
        text = content if isinstance(content, bytes) else json.dumps({**mark, **content}).encode()
        (claims / name).write_bytes(text)
        fixer = world.fixer()
        assert fixer.mode == "heal"
        assert fixer.safe_import("prey")[0]
        assert [row.outcome for row in fixer.history()] == ["healed"]

    def test_a_long_subject(self, fixer: AutoFixer) -> None:
        """The attempt of a dead holder is found however long the subject is."""
        subject = "\u00e9" * 2000
        mark = Mark("counter", subject, "lost", "garbled", "x")
        with fixer.claims.hold("counter", subject, 1) as claim:
            write_mark(claim, mark)
        assert fixer.claims.marks() == [mark]


class TestTroubles:
    """What goes wrong around an attempt is told once, and costs what it should."""

    @pytest.fixture
    def later(self, world: World) -> Path:
        """A journal of a later release, which cannot be used."""
        world.settings.home.mkdir()
        path = world.settings.home / "journal.sqlite3"
        with closing(sqlite3.connect(path)) as journal:
            journal.execute("PRAGMA user_version=99")
        return path

    def test_a_claim_that_cannot_be_taken(
        self, fixer: AutoFixer, counters: CounterKind, caplog: pytest.LogCaptureFixture
    ) -> None:
        """Nothing is tried, and the log says so once."""
        garble(counters)
        assert fixer.mode == "heal"
        (fixer.claims.directory / "counter.doors").mkdir()
        (fault,) = fixer.faults()
        outcomes = {fixer.heal(fault).outcome for _ in range(3)}
        assert (outcomes, counters.repairs) == ({Outcome.PERMISSION}, 0)
        assert caplog.text.count("fault is not healed") == 1

    def test_a_kind_that_makes_a_mistake(
        self,
        fixer: AutoFixer,
        counters: CounterKind,
        monkeypatch: pytest.MonkeyPatch,
        caplog: pytest.LogCaptureFixture,
    ) -> None:
        """What it raises before anything is tried does not get out, and is told once."""
        garble(counters)
        (fault,) = fixer.faults()
        monkeypatch.setattr(counters, "recheck", lambda _: 1 // 0)
        outcomes = {fixer.heal(fault).outcome for _ in range(3)}
        assert outcomes == {Outcome.FAILED}
        assert caplog.text.count("fault is not healed") == 1

    @pytest.mark.usefixtures("later")
    def test_three_attempts_without_a_journal(
        self, fixer: AutoFixer, counters: CounterKind, caplog: pytest.LogCaptureFixture
    ) -> None:
        """An attempt that cannot be written counts once, and none is called interrupted."""
        garble(counters)
        counters.jammed = True
        (fault,) = fixer.faults()
        outcomes = [fixer.heal(fault).outcome for _ in range(9)]
        assert outcomes == ["jammed"] * 3 + [Outcome.BUDGET] * 6
        assert fixer.budget_of("counter", "doors").retry_after <= FIRST_PAUSE
        assert "interrupted" not in caplog.text

    @pytest.mark.usefixtures("later")
    def test_successes_without_a_journal(self, fixer: AutoFixer, counters: CounterKind) -> None:
        """They are no failures, and give the whole budget back."""
        counters.jammed = True
        garble(counters)
        assert not fixer.heal(fixer.faults()[0]).healed
        counters.jammed = False
        for _ in range(5):
            garble(counters)
            assert fixer.heal(fixer.faults()[0]).healed
            assert fixer.budget_of("counter", "doors").attempts_left == 3

    def test_a_journal_that_cannot_be_read(
        self,
        fixer: AutoFixer,
        counters: CounterKind,
        later: Path,
        caplog: pytest.LogCaptureFixture,
    ) -> None:
        """The log has it once, however often health and status are asked, and its end."""
        caplog.set_level(logging.INFO)
        garble(counters)
        for _ in range(5):
            fixer.health_report()
            fixer.status()
        assert caplog.text.count("the journal cannot be used") == 1
        later.unlink()
        assert fixer.heal(fixer.faults()[0]).healed
        fixer.status()
        assert caplog.text.count("the journal can be used again") == 1


class TestShown:
    """Where people and programs look."""

    @pytest.fixture
    def client(self, world: World, fixer: AutoFixer, counters: CounterKind) -> FlaskClient:
        """An application over the engine; one counter was healed, the other cannot be."""
        garble(counters)
        assert fixer.heal(fixer.faults()[0]).healed
        counters.jammed = True
        garble(counters, "steps")
        assert not fixer.heal(fixer.faults()[0]).healed
        settings = Settings(healing=world.settings)
        return create_app({"SETTINGS": settings, "AUTO_FIXER": fixer}).test_client()

    def test_health(self, client: FlaskClient) -> None:
        """The check has the kind, the subject, the cause, and how healing it ended."""
        body = client.get("/api/auto-fix/force-health-check").get_json()
        assert body["checks"]["counter_doors"]["ok"] is True
        failed = body["checks"]["counter_steps"]
        assert (failed["kind"], failed["subject"]) == ("counter", "steps")
        assert (failed["reason"], failed["outcome"]) == ("garbled", "jammed")
        assert "doors: installed 7" in body["fixes_applied"]

    def test_status(self, client: FlaskClient) -> None:
        """Counts have the kind before the subject; the open fault says what was tried."""
        body = client.get("/api/auto-fix/status").get_json()
        assert body["fix_attempts"] == {"counter:doors": 1, "counter:steps": 1}
        (fault,) = [each for each in body["faults"] if each["kind"] == "counter"]
        assert (fault["subject"], fault["outcome"]) == ("steps", "jammed")
        assert (fault["attempts_left"], fault["reason"]) == (2, "turn the counter by hand")

    def test_a_fix_that_fails(self, fixer: AutoFixer, build: Build) -> None:
        """Over HTTP it is a problem with the outcome of its kind."""
        counters = fixer.kinds["counter"]
        assert isinstance(counters, CounterKind)
        garble(counters)
        counters.jammed = True
        response = (
            build(token=TOKEN, AUTO_FIXER=fixer)
            .test_client()
            .post("/api/auto-fix/fix", json={"kind": "counter", "subject": "doors"}, headers=BEARER)
        )
        body = assert_problem(response, 409, "jammed")
        assert (body["kind"], body["subject"]) == ("counter", "doors")

    def test_drift(self, client: FlaskClient) -> None:
        """The line that makes the fix permanent is there."""
        assert "count = 7" in client.get("/api/auto-fix/drift").get_json()["requirements"]

    def test_metrics(self, client: FlaskClient) -> None:
        """Attempts and fixes have series with the kind."""
        exposed = read(client.get("/metrics").text)
        labels = {"kind": "counter", "module": "steps", "cause": "garbled", "outcome": "jammed"}
        assert exposed.find("auto_fix_attempts_total", **labels) == [1]
        assert exposed.find("auto_fix_fixes", kind="counter", module="doors") == [1]

    def test_commands(self, world: World, client: FlaskClient) -> None:
        """Another process, which does not know the kind, shows what was attempted."""
        assert client.get("/livez").status_code == 200
        rows = run_command(world, "history")
        assert [(row["kind"], row["module"]) for row in rows] == [
            ("counter", "doors"),
            ("counter", "steps"),
        ]
        status = run_command(world, "status")
        assert status["fix_attempts"] == {"counter:doors": 1, "counter:steps": 1}
        assert status["budgets"]["counter:steps"]["attempts_left"] == 2


class TestNeeds:
    """What blueprints need of a kind, and what their code fails for."""

    @pytest.fixture
    def serve(
        self, tmp_path: Path, world: World, fixer: AutoFixer, monkeypatch: pytest.MonkeyPatch
    ) -> Iterator[Callable[[str], FlaskClient]]:
        """Serves a blueprint that needs the counter ``doors`` and begins with the given code."""
        monkeypatch.syspath_prepend(str(tmp_path))

        def build(code: str = "") -> FlaskClient:
            view = "@bp.get('/')\ndef view():\n    return {}\n"
            source = f"import flask\n{code}\nbp = flask.Blueprint('gate', __name__)\n{view}"
            (tmp_path / "gate_of_doors.py").write_text(source)
            needs = {} if code else {"counters": ("doors",)}
            own = Blueprint("gate", "gate_of_doors", "bp", "/gate", needs=needs)
            settings = Settings(healing=world.settings)
            given = {"SETTINGS": settings, "AUTO_FIXER": fixer, "BLUEPRINTS": (*CORE, own)}
            return create_app(given).test_client()

        yield build
        sys.modules.pop("gate_of_doors", None)

    def test_is_met(self, serve: Callable[[str], FlaskClient]) -> None:
        """A blueprint whose needs are met is served."""
        assert serve("").get("/gate/").status_code == 200

    def test_is_healed_first(
        self, serve: Callable[[str], FlaskClient], counters: CounterKind
    ) -> None:
        """What it needs is mended before its import."""
        garble(counters)
        assert serve("").get("/gate/").status_code == 200
        assert counters.repairs == 1

    def test_is_not_met(self, serve: Callable[[str], FlaskClient], counters: CounterKind) -> None:
        """Without what it needs it is not imported, and answers with the cause."""
        garble(counters)
        (counters.directory / "doors.sealed").touch()
        client = serve("")
        assert_problem(client.get("/gate/"), 503, "garbled")
        assert "gate_of_doors" not in sys.modules
        status = client.get("/api/auto-fix/status").get_json()
        (fault,) = [each for each in status["faults"] if each["kind"] == "counter"]
        assert fault["needed_by"] == ["gate_of_doors"]
        assert fault["advice"] == "the counter doors is no number"

    def test_explains_an_import(
        self, serve: Callable[[str], FlaskClient], counters: CounterKind
    ) -> None:
        """Code that fails for a subject has that subject's fault, not one of its own."""
        garble(counters)
        client = serve("raise LookupError('doors')")
        assert_problem(client.get("/gate/"), 503, "garbled")
        status = client.get("/api/auto-fix/status").get_json()
        (fault,) = [each for each in status["faults"] if each["kind"] == "counter"]
        assert (fault["subject"], fault["needed_by"]) == ("doors", ["gate_of_doors"])


class TestFixAttempts:
    """``fix_attempts`` is a dictionary; callers of an older system assign to it."""

    def test_is_a_dictionary(self, fixer: AutoFixer) -> None:
        """It can be compared, copied and written as JSON."""
        assert fixer.fix_attempts == {}
        assert isinstance(fixer.fix_attempts, dict)
        assert json.dumps(fixer.fix_attempts) == "{}"

    def test_an_assignment_counts(self, world: World) -> None:
        """As many attempts count as made already; the journal's own come on top."""
        world.publish("prey")
        fixer = world.fixer()
        fixer.fix_attempts["prey"] = 3
        assert fixer.fix_attempts == {"prey": 3}
        result = fixer.import_module("prey").result
        assert result is not None
        assert result.outcome == Outcome.BUDGET
        fixer.fix_attempts["prey"] = 2
        assert fixer.budget("prey").attempts_left == 1
        assert fixer.safe_import("prey")[0]
        assert fixer.fix_attempts == {"prey": 3}

    def test_the_whole_is_assigned(self, world: World) -> None:
        """Names that are left out begin anew."""
        fixer = world.fixer()
        fixer.fix_attempts = {"prey": 3}
        fixer.fix_attempts.update(other=1)
        assert fixer.fix_attempts == {"prey": 3, "other": 1}
        fixer.fix_attempts = {}
        assert fixer.budget("prey").attempts_left == 3

    def test_a_pause_ends(self, world: World, monkeypatch: pytest.MonkeyPatch) -> None:
        """Attempts that use the budget up are followed by a pause, and then by one attempt."""
        fixer = world.fixer()
        fixer.fix_attempts["prey"] = 3
        assert not fixer.budget("prey").allows
        later = time.time() + FIRST_PAUSE
        monkeypatch.setattr(time, "time", lambda: later)
        assert fixer.budget("prey").allows

    def test_a_success_ends_it(self, fixer: AutoFixer, counters: CounterKind) -> None:
        """It gives the whole budget back; the count goes on."""
        garble(counters)
        fixer.fix_attempts["counter:doors"] = 2
        assert fixer.heal(fixer.faults()[0]).healed
        assert fixer.budget_of("counter", "doors").attempts_left == 3
        assert fixer.fix_attempts == {"counter:doors": 3}

    def test_is_popped(self, world: World) -> None:
        """What is taken out counts no longer."""
        fixer = world.fixer()
        fixer.fix_attempts["prey"] = 3
        assert fixer.fix_attempts.pop("nobody", None) is None
        assert fixer.fix_attempts.pop("prey") == 3
        assert fixer.budget("prey").attempts_left == 3

    @pytest.mark.parametrize("attempts", ["3", None, 1.5])
    def test_is_no_number(self, world: World, attempts: Any) -> None:  # noqa: ANN401 - wrong
        """Who assigns what is no whole number hears of it at once."""
        fixer = world.fixer()
        with pytest.raises(TypeError):
            fixer.fix_attempts["prey"] = attempts
        assert fixer.budget("prey").attempts_left == 3

    def test_a_reset_ends_it(self, world: World) -> None:
        """A reset by hand gives the whole budget back."""
        world.publish("prey")
        fixer = world.fixer()
        fixer.fix_attempts["prey"] = 3
        assert fixer.reset("prey")
        assert fixer.safe_import("prey")[0]


class TestMode:
    """The mode follows the home."""

    def test_a_home_that_becomes_writable(
        self, world: World, caplog: pytest.LogCaptureFixture
    ) -> None:
        """Report becomes heal again within a few seconds, and the log has both changes once."""
        caplog.set_level(logging.INFO)
        world.publish("prey")
        # Root may write anywhere, but not below a file.
        world.settings.home.write_text("in the way")
        fixer = world.fixer()
        assert (fixer.mode, fixer.mode_reason) == ("report", "home_unwritable")
        result = fixer.import_module("prey").result
        assert result is not None
        assert result.outcome == Outcome.MODE
        world.settings.home.unlink()
        wait_until(lambda: fixer.mode == "heal", timeout=5)
        assert fixer.mode_reason is None
        assert fixer.safe_import("prey")[0]
        assert caplog.text.count("nothing will be healed") == 1
        assert caplog.text.count("the auto-fix home can take fixes again") == 1


class TestNeedsRestart:
    """Another version of a dependency is here than the lock names."""

    def test_is_told_and_not_tried(
        self, world: World, tmp_path: Path, caplog: pytest.LogCaptureFixture
    ) -> None:
        """Health, status and one line of the log say so; nothing is begun over and over."""
        world.publish("helper", needed_by=["prey"], version="2.0")
        world.publish("prey", requires=["helper"])
        site = tmp_path / "base" / "helper-1.0.dist-info"
        site.mkdir(parents=True)
        (site / "METADATA").write_text("Metadata-Version: 2.1\nName: helper\nVersion: 1.0\n")
        sys.path.append(str(site.parent))
        fixer = world.fixer(required=["prey"])
        for _ in range(3):
            for fault in fixer.faults():
                assert fixer.heal_in_background(fault) is None
        assert caplog.text.count("fault is not healed") == 1
        (check,) = fixer.health_report().checks
        assert check.outcome == Outcome.NEEDS_RESTART
        assert "rebuild the image and restart" in str(check.advice)
        (opened,) = fixer.open_faults()
        assert (opened.outcome, opened.fault.fixable) == (Outcome.NEEDS_RESTART, False)
        assert world.index.requests == []
