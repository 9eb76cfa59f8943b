"""Health is computed once and read often."""

from __future__ import annotations

import logging
import threading
from collections.abc import Iterable
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime

import pytest

from app.healing.report import Check, HealthReport, Status
from app.health import BlueprintState, HealthService, blueprint_checks

WAIT = 10


class Clock:
    """A clock that stands until it is moved."""

    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        """The time it stands at."""
        return self.now


class Source:
    """An engine that counts its reports; it can be held up at a gate."""

    def __init__(self) -> None:
        self.computed = 0
        self.entered = threading.Event()
        self.gate = threading.Event()
        self.gate.set()

    def __call__(self) -> HealthReport:
        """A report without checks."""
        self.computed += 1
        self.entered.set()
        assert self.gate.wait(WAIT)
        return HealthReport(timestamp=datetime.now(UTC), checks=())


def _check(name: str = "a", *, ok: bool = True, critical: bool = False) -> Check:
    return Check(name=name, kind="test", subject=name, ok=ok, critical=critical)


@pytest.fixture
def clock() -> Clock:
    """A clock under the test's control."""
    return Clock()


@pytest.fixture
def source() -> Source:
    """A counting engine."""
    return Source()


@pytest.fixture
def service(source: Source, clock: Clock) -> HealthService:
    """The service over both."""
    return HealthService(source, clock=clock)


class TestCache:
    """Reading and computing are two things."""

    def test_nothing_is_computed_until_read(self, source: Source, service: HealthService) -> None:
        """Making the service and adding providers computes nothing."""
        service.add(lambda: [_check()])
        assert source.computed == 0

    def test_fresh_for_ten_seconds(
        self, source: Source, service: HealthService, clock: Clock
    ) -> None:
        """A second reading within ten seconds is the first one, older."""
        first = service.read()
        clock.now += 9.5
        second = service.read()
        assert second.report is first.report
        assert (source.computed, second.age_seconds, second.stale) == (1, 9.5, False)

    def test_computed_anew_when_stale(
        self, source: Source, service: HealthService, clock: Clock
    ) -> None:
        """The first reader after ten seconds computes, and gets, a new reading."""
        service.read()
        clock.now += 10
        reading = service.read()
        assert (source.computed, reading.age_seconds, reading.stale) == (2, 0.0, False)

    def test_force_computes_now(self, source: Source, service: HealthService) -> None:
        """A forced reading is computed although a fresh one exists, and is then the cached one."""
        service.read()
        forced = service.force()
        assert source.computed == 2
        assert service.read().report is forced.report

    def test_refresh_fills_the_cache(self, source: Source, service: HealthService) -> None:
        """A refresh is there for the next reader."""
        service.refresh()
        service.read()
        assert source.computed == 1


class TestSingleFlight:
    """One computation at a time."""

    def test_concurrent_callers_share_one(self, source: Source, service: HealthService) -> None:
        """Fifty callers of a slow computation cause it once and get the same report."""
        source.gate.clear()
        with ThreadPoolExecutor(50) as pool:
            first = pool.submit(service.force)
            assert source.entered.wait(WAIT)
            others = [pool.submit(service.force) for _ in range(24)]
            others += [pool.submit(service.read) for _ in range(25)]
            source.gate.set()
            reports = {id(call.result(WAIT).report) for call in [first, *others]}
        # A caller that its thread started late may cause a second one, after the first.
        assert source.computed <= 2
        assert len(reports) == source.computed

    def test_stale_reading_while_computing(
        self, source: Source, service: HealthService, clock: Clock
    ) -> None:
        """While a new reading is computed, others get the stale one at once, marked."""
        old = service.read()
        clock.now += 30
        source.gate.clear()
        source.entered.clear()
        with ThreadPoolExecutor(1) as pool:
            coming = pool.submit(service.read)
            assert source.entered.wait(WAIT)
            meanwhile = service.read()
            source.gate.set()
            assert coming.result(WAIT).report is not old.report
        assert meanwhile.report is old.report
        assert (meanwhile.age_seconds, meanwhile.stale) == (30.0, True)

    def test_too_old_is_not_shown(
        self, source: Source, service: HealthService, clock: Clock
    ) -> None:
        """After sixty seconds readers wait for the computation rather than show the old one."""
        old = service.read()
        clock.now += 60
        source.gate.clear()
        source.entered.clear()
        with ThreadPoolExecutor(2) as pool:
            calls = [pool.submit(service.read)]
            assert source.entered.wait(WAIT)
            calls.append(pool.submit(service.read))
            source.gate.set()
            assert all(call.result(WAIT).report is not old.report for call in calls)


class TestProviders:
    """What is added to the engine's report."""

    def test_checks_are_merged(self, service: HealthService) -> None:
        """Every provider's checks are in the report and count for the status."""
        service.add(lambda: [_check("a")])
        service.add(lambda: [_check("b", ok=False)])
        report = service.read().report
        assert [check.name for check in report.checks] == ["a", "b"]
        assert report.overall_status is Status.DEGRADED

    def test_raising_provider_is_a_failed_check(
        self, service: HealthService, caplog: pytest.LogCaptureFixture
    ) -> None:
        """A provider that raises costs a check; the log has the traceback, the report no text."""

        def broken() -> Iterable[Check]:
            yield _check("never")
            message = "/secret/path"
            raise RuntimeError(message)

        service.add(broken)
        service.add(lambda: [_check("b")])
        with caplog.at_level(logging.ERROR):
            report = service.read().report
        failed, other = report.checks
        assert (failed.ok, failed.reason, other.ok) == (False, "check_failed", True)
        assert "/secret/path" in caplog.text
        assert "/secret/path" not in str(report.to_dict())
        assert report.overall_status is Status.DEGRADED

    def test_raising_engine_is_a_failed_check(self, clock: Clock) -> None:
        """An engine that cannot report leaves the other checks readable."""

        def broken() -> HealthReport:
            message = "/secret/path"
            raise RuntimeError(message)

        service = HealthService(broken, clock=clock)
        service.add(lambda: [_check("b")])
        report = service.read().report
        assert [check.ok for check in report.checks] == [False, True]


class TestBlueprintChecks:
    """What blueprints add."""

    def _state(self, *, active: bool, reason: str | None) -> BlueprintState:
        return BlueprintState(
            name="edge",
            path="app.routes.edge",
            url_prefix="/api/edge",
            critical=True,
            active=active,
            reason=reason,
        )

    def test_active(self) -> None:
        """A blueprint that serves adds nothing."""
        assert blueprint_checks([self._state(active=True, reason=None)]) == []

    def test_failed_import(self) -> None:
        """A failed import is the engine's to report."""
        state = self._state(active=False, reason="missing_distribution")
        assert blueprint_checks([state]) == []

    def test_failed_registration(self) -> None:
        """A blueprint that was imported and does not serve is a failed check."""
        (check,) = blueprint_checks([self._state(active=False, reason="registration_failed")])
        assert (check.name, check.ok, check.critical) == ("blueprint_edge", False, True)
        assert check.reason == "registration_failed"
