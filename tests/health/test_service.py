"""Health is looked at beside the requests, and read without waiting."""

from __future__ import annotations

import logging
import math
import os
import threading
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import replace
from datetime import UTC, datetime
from functools import partial

import pytest

from app.healing.kind import Fix
from app.healing.report import Check, HealthReport, Status
from app.health import Group, HealthCheck, HealthService
from app.health.checks import (
    DuplicateCheck,
    HealthConfigurationError,
    InvalidDuration,
)
from tests.support.clock import Clock
from tests.support.processes import wait_until

WAIT = 10
READY = (Group.READY,)
SECRET = "/secret/path"  # noqa: S105 - what must not get out


class Look:
    """A look that counts how often it began; it can be held up at a gate, and made to fail."""

    def __init__(self, *results: Check) -> None:
        self.results = results
        self.begun = self.at_once = self.most_at_once = 0
        self.entered = threading.Event()
        self.gate = threading.Event()
        self.gate.set()
        self.error: BaseException | None = None
        self._lock = threading.Lock()

    def __call__(self) -> Iterable[Check]:
        """What it is made to find, one result after the other."""
        with self._lock:
            self.begun += 1
            self.at_once += 1
            self.most_at_once = max(self.most_at_once, self.at_once)
        self.entered.set()
        assert self.gate.wait(WAIT)
        with self._lock:
            self.at_once -= 1
        yield from self.results
        if self.error is not None:
            raise self.error

    @contextmanager
    def held(self) -> Iterator[None]:
        """Hold every run up until the block ends."""
        self.entered.clear()
        self.gate.clear()
        try:
            yield
        finally:
            self.gate.set()


def _result(name: str = "a", *, ok: bool = True, critical: bool = False) -> Check:
    return Check(
        name=name, kind="test", subject=name, ok=ok, critical=critical,
        reason=None if ok else "broken",
    )  # fmt: skip


def _check(
    run: Callable[[], Iterable[Check]],
    name: str = "a",
    *,
    groups: tuple[Group, ...] = (),
    critical: bool = False,
    interval: float = 5.0,
    timeout: float = 5.0,
) -> HealthCheck:
    return HealthCheck(
        name=name,
        kind="test",
        run=run,
        groups=groups,
        critical=critical,
        interval=interval,
        timeout=timeout,
    )


def _reasons(service: HealthService) -> dict[str, str | None]:
    return {check.name: check.reason for check in service.peek().report.checks}


@pytest.fixture
def clock() -> Clock:
    """A clock under the test's control."""
    return Clock()


@pytest.fixture
def look() -> Look:
    """A counting look that finds one good result."""
    return Look(_result())


@pytest.fixture
def service(look: Look, clock: Clock) -> HealthService:
    """A service of one check."""
    return HealthService([_check(look)], clock=clock)


class TestReading:
    """Reading and looking are two things."""

    def test_nothing_is_looked_at_until_read(self, look: Look, service: HealthService) -> None:
        """Making the service, peeking and adding a check look at nothing."""
        service.add(_check(look, "b"))
        reading = service.peek()
        assert (reading.report.checks, reading.pending) == ((), ("a", "b"))
        assert look.begun == 0

    def test_the_first_reading_has_everything(self, look: Look, service: HealthService) -> None:
        """What was never looked at is waited for."""
        reading = service.read()
        assert [check.name for check in reading.report.checks] == ["a"]
        assert (reading.report.overall_status, reading.pending) == (Status.HEALTHY, ())
        assert look.begun == 1

    def test_the_same_object_while_nothing_is_new(
        self, service: HealthService, clock: Clock
    ) -> None:
        """Readings are one object, that only grows older, until there is something new."""
        first = service.read()
        clock.now += 4.9
        assert service.read() is first
        assert first.age_seconds == pytest.approx(4.9)
        assert not first.stale

    def test_due_checks_are_begun_and_not_waited_for(
        self, look: Look, service: HealthService, clock: Clock
    ) -> None:
        """A reading after the interval is the old one; the new one is on its way."""
        old = service.read()
        clock.now += 5
        with look.held():
            assert service.read() is old
            assert look.entered.wait(WAIT)
        wait_until(lambda: service.peek() is not old)
        assert (look.begun, service.peek().age_seconds) == (2, 0.0)

    def test_stale_after_ten_seconds(
        self, look: Look, service: HealthService, clock: Clock
    ) -> None:
        """A result of ten seconds is shown and marked, one of sixty is not known any more."""
        fresh = service.read()
        clock.now += 9.9
        assert service.peek() is fresh
        clock.now += 0.1
        stale = service.peek()
        assert (stale.stale, stale.checks[0].stale, stale.age_seconds) == (True, True, 10.0)
        assert service.peek() is stale
        clock.now += 49.9
        assert service.peek() is stale
        clock.now += 0.1
        unknown = service.peek()
        assert [check.reason for check in unknown.report.checks] == ["unknown"]
        assert unknown.report.overall_status is Status.DEGRADED
        assert look.begun == 1

    def test_what_is_unknown_is_waited_for(self, service: HealthService, clock: Clock) -> None:
        """Without the background thread, a reading after a long silence is a new one."""
        service.read()
        clock.now += 1000
        reading = service.read()
        assert [check.reason for check in reading.report.checks] == [None]
        assert not reading.stale

    def test_a_seldom_check_is_fresh_for_longer(self, look: Look, clock: Clock) -> None:
        """Results count until the next run can be there."""
        service = HealthService([_check(look, interval=60, timeout=5)], clock=clock)
        service.read()
        clock.now += 64
        assert not service.peek().stale
        clock.now += 1
        assert service.peek().stale
        clock.now += 64
        assert _reasons(service) == {"a": None}
        clock.now += 1
        assert _reasons(service) == {"a": "unknown"}

    @pytest.mark.parametrize(
        ("critical", "status"), [(True, Status.UNHEALTHY), (False, Status.HEALTHY)]
    )
    def test_never_looked_at(self, clock: Clock, status: Status, *, critical: bool) -> None:
        """What the service cannot do without fails until it was looked at once."""
        service = HealthService([_check(Look(), critical=critical)], clock=clock)
        assert service.peek().report.overall_status is status

    def test_results_have_their_time(self, service: HealthService) -> None:
        """Each result says when it was found, and the report has the time of the newest."""
        before = datetime.now(UTC)
        reading = service.read()
        (dated,) = reading.checks
        assert dated.checked_at is not None
        assert before <= dated.checked_at == reading.report.timestamp <= datetime.now(UTC)

    def test_one_check_may_give_a_whole_report(self, clock: Clock) -> None:
        """Fixes and counters of a check count too, and outlive its results."""
        fix = Fix(kind="dependency", subject="x", requirement="x", installed=(), at="")
        report = HealthReport(
            timestamp=datetime.now(UTC),
            checks=(_result("a"), _result("b", ok=False)),
            fixes=(fix,),
            auto_fixer={"max_retries": 3},
        )
        check = HealthCheck(name="engine", kind="engine", run=lambda: report)
        service = HealthService([check, _check(Look(_result("c")), "c")], clock=clock)
        found = service.read().report
        assert [check.name for check in found.checks] == ["a", "b", "c"]
        assert (found.fixes, found.auto_fixer) == ((fix,), {"max_retries": 3})
        assert found.overall_status is Status.DEGRADED
        clock.now += 1000
        assert service.peek().report.auto_fixer == {"max_retries": 3}


class TestForcing:
    """Looking now."""

    def test_looks_although_fresh(self, look: Look, service: HealthService) -> None:
        """A forced reading is a new one, and is then read by all."""
        service.read()
        forced = service.force()
        assert look.begun == 2
        assert service.read() is forced

    def test_callers_share_a_run(self, look: Look, service: HealthService) -> None:
        """Fifty callers of a slow check cause it once and get the same reading."""
        with ThreadPoolExecutor(50) as pool:
            with look.held():
                calls = [pool.submit(service.force, WAIT) for _ in range(50)]
                assert look.entered.wait(WAIT)
                wait_until(lambda: all(call.running() for call in calls))
            readings = [call.result(WAIT) for call in calls]
        # Callers whose threads came late may have begun others, one after another.
        assert look.most_at_once == 1
        assert look.begun < 10
        assert len({id(reading) for reading in readings}) <= look.begun

    def test_few_wait(self, clock: Clock) -> None:
        """Who comes when as many wait as may is answered at once; later there is room again."""
        look = Look()
        service = HealthService([_check(look)], clock=clock, waiters=1)
        with ThreadPoolExecutor(1) as pool, look.held():
            first = pool.submit(service.force, WAIT)
            assert look.entered.wait(WAIT)
            for _ in range(20):
                service.force(WAIT)
            assert not first.done()
        assert first.result(WAIT).report.overall_status is Status.HEALTHY
        with look.held():
            service.force(0.01)
        assert service.force(WAIT).report.overall_status is Status.HEALTHY

    def test_a_hung_check_is_shown_as_it_is(self, look: Look, service: HealthService) -> None:
        """What does not end in time is left to go on; the others are new."""
        hung = Look()
        service.add(_check(hung, "hung"))
        with hung.held():
            reading = service.force(0.01)
            assert look.entered.wait(WAIT)
            assert hung.entered.wait(WAIT)
            assert look.begun == 1
            assert [c.name for c in reading.report.checks if c.name == "hung"] == []
            service.force(0.01)
            assert hung.begun == 1

    def test_refresh_takes_no_older_run_for_an_answer(
        self, look: Look, service: HealthService
    ) -> None:
        """After a change a run that began before it is followed by another, once."""
        with look.held():
            service.force(0)
            assert look.entered.wait(WAIT)
            look.results = (_result(ok=False),)
            for _ in range(5):
                service.refresh()
        reading = service.refresh(wait=WAIT)
        assert reading.report.overall_status is Status.DEGRADED
        assert look.begun <= 3
        assert look.most_at_once == 1

    def test_refresh_of_a_group(self, look: Look, service: HealthService) -> None:
        """The others are not looked at, and a group without checks has none."""
        other = Look(_result("b"))
        service.add(_check(other, "b", groups=READY))
        service.refresh(Group.READY, wait=WAIT)
        service.refresh(Group.LIVE, wait=WAIT)
        assert (look.begun, other.begun) == (0, 1)


class TestHanging:
    """A check that does not end."""

    def test_fails_from_its_timeout_on(self, look: Look, clock: Clock) -> None:
        """Its last results are shown beside that while they count; it is not begun again."""
        service = HealthService([_check(look, "slow", timeout=3)], clock=clock)
        service.read()
        clock.now += 5
        with look.held():
            service.read()
            assert look.entered.wait(WAIT)
            clock.now += 2.9
            assert _reasons(service) == {"a": None}
            clock.now += 0.1
            hung = service.peek()
            assert _reasons(service) == {"a": None, "slow": "timeout"}
            assert hung.report.overall_status is Status.DEGRADED
            assert service.peek() is hung
            clock.now += 100
            service.read()
            assert _reasons(service) == {"slow": "timeout"}
            assert look.begun == 2
        wait_until(lambda: _reasons(service) == {"a": None})

    def test_never_known(self, clock: Clock) -> None:
        """One that hung from the beginning fails too, and only the first reading waits for it."""
        look = Look(_result())
        service = HealthService([_check(look, timeout=3)], clock=clock)
        with look.held():
            assert service.read().report.checks == ()
            clock.now += 3
            assert _reasons(service) == {"a": "timeout"}
            (dated,) = service.peek().checks
            assert (dated.checked_at, dated.stale) == (None, True)

    def test_a_critical_one(self, clock: Clock) -> None:
        """Without what the service cannot do without it is unhealthy."""
        look = Look()
        service = HealthService([_check(look, critical=True)], clock=clock)
        with look.held():
            service.force(0)
            clock.now += 5
            assert service.peek().report.overall_status is Status.UNHEALTHY

    def test_the_others_go_on(self, look: Look, service: HealthService, clock: Clock) -> None:
        """It delays no other check."""
        hung = Look()
        service.add(_check(hung, "hung"))
        with hung.held():
            service.force(0.01)
            for _ in range(3):
                before = look.begun
                clock.now += 5
                wait_until(partial(_begins_another, service, look, before))
            assert hung.begun == 1

    def test_readers_never_wait(self, look: Look, service: HealthService, clock: Clock) -> None:
        """A hundred readers of a hung check all get the last reading."""
        service.read()
        with look.held(), ThreadPoolExecutor(100) as pool:
            clock.now += 5
            readings = [pool.submit(service.read) for _ in range(100)]
            assert {r.result(WAIT).report.checks[0].ok for r in readings} == {True}
            assert look.entered.wait(WAIT)
            assert look.begun == 2


def _begins_another(service: HealthService, look: Look, before: int) -> bool:
    service.read()
    return look.begun > before


class TestFailing:
    """A check whose own code fails."""

    @pytest.mark.parametrize("error", [RuntimeError(SECRET), SystemExit(SECRET), OSError(SECRET)])
    def test_is_a_failed_result(
        self, look: Look, service: HealthService, error: BaseException,
        caplog: pytest.LogCaptureFixture,
    ) -> None:  # fmt: skip
        """The log has the trace, once; the report has no text of it, and recovers."""
        look.error = error
        service.force()
        service.force()
        reading = service.force()
        (check,) = reading.report.checks
        assert (check.name, check.ok, check.reason) == ("a", False, "check_failed")
        assert SECRET not in str(reading.report.to_dict())
        assert caplog.text.count(SECRET) == 1
        assert reading.report.overall_status is Status.DEGRADED
        look.error = None
        assert service.force().report.overall_status is Status.HEALTHY

    def test_stops_no_other(self, look: Look, service: HealthService) -> None:
        """The other checks are there."""
        look.error = RuntimeError(SECRET)
        service.add(_check(Look(_result("b")), "b"))
        assert [check.ok for check in service.read().report.checks] == [False, True]


class TestLog:
    """What the log says of outcomes."""

    FAILS, PASSES = "check fails", "check passes again"

    @pytest.fixture
    def logged(
        self, caplog: pytest.LogCaptureFixture
    ) -> Callable[[], list[tuple[str, str, object]]]:
        """What was logged since it was last asked for: level, event and the check's reason."""
        caplog.set_level(logging.INFO, "app.health.runner")

        def new() -> list[tuple[str, str, object]]:
            found = [r for r in caplog.records if r.message in {self.FAILS, self.PASSES}]
            caplog.clear()
            return [(r.levelname, r.message, vars(r)["fields"]["reason"]) for r in found]

        return new

    def test_fields(
        self, look: Look, service: HealthService, caplog: pytest.LogCaptureFixture
    ) -> None:
        """It is logged by its name, subject and reason; advice, which is free text, is not."""
        look.results = (replace(_result(ok=False), subject="s", advice=SECRET),)
        service.force()
        (record,) = caplog.records
        assert vars(record)["fields"] == {
            "name": "a",
            "subject": "s",
            "reason": "broken",
            "critical": False,
        }

    @pytest.mark.parametrize(("level", "critical"), [("WARNING", False), ("ERROR", True)])
    def test_changes(
        self, look: Look, service: HealthService, logged: Callable[[], object], level: str,
        *, critical: bool,
    ) -> None:  # fmt: skip
        """The beginning and the end of a failure are a line each, however often it is looked at."""
        good, bad = _result(critical=critical), _result(ok=False, critical=critical)
        for results, lines in (
            ((good,), []),
            ((bad,), [(level, self.FAILS, "broken")]),
            ((replace(bad, reason="otherwise"),), []),
            ((good,), [("INFO", self.PASSES, "otherwise")]),
            ((bad,), [(level, self.FAILS, "broken")]),
        ):
            look.results = results
            for _ in range(3):
                service.force()
            assert logged() == lines

    def test_failing_from_the_beginning(
        self, look: Look, service: HealthService, logged: Callable[[], object]
    ) -> None:
        """What fails at the first look is logged, beside what does not and is not."""
        look.results = (_result(), _result("b", ok=False))
        service.force()
        assert logged() == [("WARNING", self.FAILS, "broken")]

    def test_there_only_while_it_fails(
        self, look: Look, service: HealthService, logged: Callable[[], object]
    ) -> None:
        """A result that is not given any more has passed: many are only given when they fail."""
        look.results = (_result("b", ok=False),)
        service.force()
        look.results = ()
        service.force()
        assert logged() == [("WARNING", self.FAILS, "broken"), ("INFO", self.PASSES, "broken")]

    def test_a_look_that_fails(
        self, look: Look, service: HealthService, logged: Callable[[], object]
    ) -> None:
        """It is logged in the check's name, and says nothing of what it did not find."""
        look.results = (_result("b", ok=False),)
        service.force()
        look.error = RuntimeError(SECRET)
        service.force()
        assert logged() == [
            ("WARNING", self.FAILS, "broken"),
            ("WARNING", self.FAILS, "check_failed"),
        ]
        look.error = None
        service.force()
        assert logged() == [("INFO", self.PASSES, "check_failed")]

    def test_a_hung_one(
        self, logged: Callable[[], object], caplog: pytest.LogCaptureFixture
    ) -> None:
        """Its beginning is logged as a hang, and its end as that of any failure."""
        look = Look(_result())
        service = HealthService([_check(look, timeout=0.02)])
        with look.held():
            service.start()
            wait_until(lambda: "health check hangs" in caplog.text)
        wait_until(lambda: self.PASSES in caplog.text)
        service.stop()
        assert logged() == [("INFO", self.PASSES, "timeout")]

    def test_a_fork_logs_nothing_again(
        self, look: Look, service: HealthService, logged: Callable[[], list[object]]
    ) -> None:
        """What a parent logged, a child does not log once more."""
        look.results = (_result(ok=False),)
        service.force()
        assert len(logged()) == 1
        pid = os.fork()
        if pid == 0:
            service.start()
            service.force()
            os._exit(len(logged()) if look.begun > 1 else 100)
        assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 0


class TestGroups:
    """Which checks answer whom."""

    def test_reports(self, clock: Clock) -> None:
        """Each group has its own checks, and the one for auto-fix all of them."""
        looks = {n: Look(_result(n, ok=n != "b", critical=True)) for n in "abc"}
        checks = [_check(look, n, groups=READY if n == "a" else ()) for n, look in looks.items()]
        reading = HealthService(checks, clock=clock).read()
        names = {g: [c.name for c in report.checks] for g, report in reading.groups.items()}
        assert names == {Group.LIVE: [], Group.READY: ["a"], Group.AUTO_FIX: ["a", "b", "c"]}
        assert reading.groups[Group.READY].overall_status is Status.HEALTHY
        assert reading.groups[Group.AUTO_FIX].overall_status is Status.UNHEALTHY

    def test_two_of_one_name(self, look: Look, service: HealthService) -> None:
        """Two checks of one name are refused, at the start and later."""
        with pytest.raises(DuplicateCheck, match="'a'"):
            HealthService([_check(look), _check(look)])
        with pytest.raises(DuplicateCheck, match="'a'"):
            service.add(_check(look))

    @pytest.mark.parametrize("value", [0, -1, math.nan, math.inf])
    @pytest.mark.parametrize("name", ["timeout", "interval"])
    def test_durations(self, look: Look, name: str, value: float) -> None:
        """A duration that is none is refused with its name and the check's."""
        with pytest.raises(InvalidDuration, match=f"{name} of health check 'a' is"):
            HealthCheck(
                name="a",
                kind="test",
                run=look,
                timeout=value if name == "timeout" else 1,
                interval=value if name == "interval" else 1,
            )
        assert issubclass(InvalidDuration, HealthConfigurationError)


class TestBackground:
    """The thread that looks beside the requests."""

    @pytest.fixture
    def running(self, look: Look) -> Iterator[HealthService]:
        """A started service whose check is due all the time."""
        service = HealthService([_check(look, interval=0.01)])
        service.start()
        yield service
        service.stop()

    def test_looks_without_being_read(self, look: Look, running: HealthService) -> None:
        """Checks run at their interval, and what they find is read."""
        wait_until(lambda: look.begun >= 3)
        look.results = (_result(ok=False),)
        wait_until(lambda: running.read().report.overall_status is Status.DEGRADED)

    def test_reading_begins_nothing(self, look: Look) -> None:
        """While the thread runs, readers leave the looking to it and never wait."""
        service = HealthService([_check(look, interval=3600)])
        with look.held():
            service.start()
            assert look.entered.wait(WAIT)
            service.add(_check(late := Look(), "late", interval=3600))
            assert service.read().report.checks == ()
        wait_until(lambda: late.begun)
        service.stop()
        assert (look.begun, late.begun) == (1, 1)

    def test_a_hung_check_is_logged_once(
        self, look: Look, caplog: pytest.LogCaptureFixture
    ) -> None:
        """The log names it, and every other check goes on."""
        hung = Look()
        service = HealthService(
            [_check(look, interval=0.01), _check(hung, "hung", interval=0.01, timeout=0.02)]
        )
        with hung.held():
            service.start()
            wait_until(lambda: "health check hangs" in caplog.text)
            before = look.begun
            wait_until(lambda: look.begun > before + 5)
            assert hung.begun == 1
            assert [r.message for r in caplog.records] == ["health check hangs"]
        wait_until(lambda: hung.begun > 1)
        service.stop()

    def test_stopping(self, look: Look, running: HealthService) -> None:
        """After it nothing is begun and no thread is left; it can be started again."""
        wait_until(lambda: look.begun)
        running.start()
        running.stop()
        running.stop()
        wait_until(lambda: not [t for t in threading.enumerate() if t.name.startswith("health")])
        before = look.begun
        running.start()
        wait_until(lambda: look.begun > before)

    def test_a_fork_forgets_runs_of_its_parent(self, look: Look) -> None:
        """A run whose thread is not in the child is begun anew there."""
        service = HealthService([_check(look, interval=3600)])
        with look.held():
            service.force(0)
            assert look.entered.wait(WAIT)
            pid = os.fork()
            if pid == 0:
                look.gate.set()
                service.start()
                os._exit(0 if _eventually_known(service) else 1)
            assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 0
        assert service.force(WAIT).report.checks


def _eventually_known(service: HealthService) -> bool:
    try:
        return wait_until(lambda: bool(service.read().report.checks))
    except TimeoutError:
        return False
