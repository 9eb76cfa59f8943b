"""Who may change things and see details, and who has to wait."""

from __future__ import annotations

import json
import logging
import os
import signal
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest
from flask.testing import FlaskClient
from werkzeug.test import TestResponse

from app import create_app
from app.access.guessing import ALLOWED, FIRST_PAUSE, FailedAttempts
from tests.conftest import World
from tests.serving.house import House, statuses, workers
from tests.support.clock import Clock
from tests.support.exposition import Exposition, read, scrape
from tests.support.http import BEARER, TOKEN, Build
from tests.support.processes import (
    ROOT,
    Response,
    Server,
    base_environ,
    http_request,
    serve,
    wait_until,
)

WRONG = {"Authorization": "Bearer wrong-battery"}
FIX = "/api/auto-fix/fix"
STATUS = "/api/auto-fix/status"


@pytest.fixture
def clock() -> Clock:
    """What the pauses after failed attempts go by: it stands still."""
    return Clock()


@pytest.fixture
def guarded(build: Build, clock: Clock) -> FlaskClient:
    """A client of a service with a token; it sends none by itself."""
    app = build(token=TOKEN)
    services = app.extensions["services"]
    access = replace(services.access, attempts=FailedAttempts(clock=clock))
    app.extensions.update(services=replace(services, access=access), access=access)
    return app.test_client()


def _fix(client: FlaskClient, headers: dict[str, str], address: str = "192.0.2.1") -> TestResponse:
    """Ask for a change that changes nothing."""
    return client.post(
        FIX, json={"module": "json"}, headers=headers, environ_base={"REMOTE_ADDR": address}
    )


def _code(response: TestResponse) -> tuple[int, object]:
    return response.status_code, json.loads(response.data).get("code")


def _fields(caplog: pytest.LogCaptureFixture, event: str) -> list[dict[str, object]]:
    return [record.__dict__["fields"] for record in caplog.records if record.getMessage() == event]


class TestTokens:
    """Several tokens, each with its name."""

    def test_named_in_the_log(self, build: Build, caplog: pytest.LogCaptureFixture) -> None:
        """Each token may change things; the log has whose it was, and never the token."""
        client = build(token=TOKEN, tokens=(("ci", "of-the-ci"),)).test_client()
        with caplog.at_level(logging.DEBUG):
            for token in (TOKEN, "of-the-ci"):
                assert _fix(client, {"Authorization": f"Bearer {token}"}).status_code == 200
        logged = _fields(caplog, "change allowed")
        assert [fields["token"] for fields in logged] == ["default", "ci"]
        assert {fields["path"] for fields in logged} == {FIX}
        assert all(t not in str(r.__dict__) for r in caplog.records for t in (TOKEN, "of-the-ci"))

    def test_refusals(self, guarded: FlaskClient, caplog: pytest.LogCaptureFixture) -> None:
        """Without a token, or with a wrong one, nothing is allowed."""
        with caplog.at_level(logging.DEBUG):
            for headers in ({}, WRONG, {"Authorization": f"Basic {TOKEN}"}):
                response = _fix(guarded, headers)
                assert _code(response) == (401, "token_required")
                assert response.headers["WWW-Authenticate"].startswith("Bearer")
        assert _fields(caplog, "change allowed") == []

    def test_scheme_in_any_case(self, guarded: FlaskClient) -> None:
        """The scheme's name has no case (RFC 9110)."""
        assert _fix(guarded, {"Authorization": f"bEaReR  {TOKEN} "}).status_code == 200

    def test_details_with_any_of_them(self, build: Build) -> None:
        """Details are for every token, and for nobody who has none."""
        client = build(tokens=(("a", "alpha"), ("b", "beta"))).test_client()
        for token, shown in (("alpha", True), ("beta", True), ("gamma", False)):
            body = client.get(STATUS, headers={"Authorization": f"Bearer {token}"}).get_json()
            assert ("recent_attempts" in body) == shown
        assert "recent_attempts" not in client.get(STATUS).get_json()

    def test_file_without_tokens(self, build: Build, tmp_path: Path) -> None:
        """A token file that is missing closes the service; it does not open the details."""
        client = build(token_file=tmp_path / "absent").test_client()
        assert "recent_attempts" not in client.get(STATUS).get_json()
        assert _code(_fix(client, BEARER)) == (401, "token_required")


class TestFailedAttempts:
    """Who presents wrong tokens has to wait."""

    def test_pause(
        self, guarded: FlaskClient, clock: Clock, caplog: pytest.LogCaptureFixture
    ) -> None:
        """After five wrong tokens nothing is looked at for a while, the right one neither."""
        assert [_fix(guarded, WRONG).status_code for _ in range(ALLOWED)] == [401] * ALLOWED
        for headers in (WRONG, BEARER):
            response = _fix(guarded, headers)
            assert _code(response) == (429, "too_many_attempts")
            assert response.headers["Retry-After"] == "1"
        (logged,) = _fields(caplog, "wrong tokens, none is looked at for a while")
        assert logged == {"origin": "192.0.2.1", "seconds": 1.0}
        clock.pass_by(FIRST_PAUSE)
        assert _fix(guarded, BEARER).status_code == 200

    def test_others_need_not_wait(self, guarded: FlaskClient) -> None:
        """Another address may change things meanwhile."""
        for _ in range(ALLOWED + 1):
            _fix(guarded, WRONG)
        assert _fix(guarded, BEARER, "192.0.2.2").status_code == 200

    def test_one_network(self, guarded: FlaskClient) -> None:
        """Addresses of one IPv6 network are one guesser."""
        for number in range(ALLOWED):
            _fix(guarded, WRONG, f"2001:db8::{number}")
        assert _fix(guarded, WRONG, "2001:db8::ffff").status_code == 429
        assert _fix(guarded, WRONG, "2001:db8:0:1::").status_code == 401

    @pytest.mark.parametrize("headers", [{}, {"Authorization": "Bearer "}])
    def test_no_token_is_no_attempt(self, guarded: FlaskClient, headers: dict[str, str]) -> None:
        """Who presents no token guesses nothing."""
        for _ in range(3 * ALLOWED):
            assert _fix(guarded, headers).status_code == 401
        assert _fix(guarded, BEARER).status_code == 200

    def test_reads_count(self, guarded: FlaskClient) -> None:
        """A wrong token for details counts once a request; the read is answered without them."""
        reads = {"environ_base": {"REMOTE_ADDR": "192.0.2.1"}}
        for _ in range(ALLOWED - 1):
            assert guarded.get(STATUS, headers=WRONG, **reads).status_code == 200
        assert _fix(guarded, WRONG).status_code == 401
        assert _fix(guarded, WRONG).status_code == 429
        response = guarded.get(STATUS, headers=BEARER, **reads)
        assert response.status_code == 200
        assert "recent_attempts" not in response.get_json()
        assert guarded.get("/livez", headers=BEARER, **reads).status_code == 200

    def test_over_a_swap(self, guarded: FlaskClient) -> None:
        """A new application knows of the failures that the old one met."""
        for _ in range(ALLOWED):
            _fix(guarded, WRONG)
        swapped = create_app({"SERVICES": guarded.application.extensions["services"]})
        assert _fix(swapped.test_client(), BEARER).status_code == 429


class TestFailuresCounted:
    """``http_authentication_failures_total``."""

    def test_by_what_became_of_them(self, guarded: FlaskClient, clock: Clock) -> None:
        """A wrong token is one, and so is each that a pause refuses, the right one included."""
        for _ in range(ALLOWED):
            _fix(guarded, WRONG)
        assert _failures(_scraped(guarded)) == (ALLOWED, 0)
        for headers in (WRONG, BEARER, WRONG):
            _fix(guarded, headers)
        assert _failures(_scraped(guarded)) == (ALLOWED, 3)
        clock.pass_by(FIRST_PAUSE)
        _fix(guarded, BEARER)
        assert _failures(_scraped(guarded)) == (ALLOWED, 3)

    def test_reads(self, guarded: FlaskClient) -> None:
        """A read that is answered without its details counts, once however often it asks."""
        guarded.get("/", headers=WRONG)
        guarded.get(STATUS, headers=WRONG)
        assert _failures(_scraped(guarded)) == (2, 0)

    @pytest.mark.parametrize(
        "headers", [{}, BEARER, {"Authorization": "Bearer "}, {"Authorization": f"Basic {TOKEN}"}]
    )
    def test_no_wrong_token(self, guarded: FlaskClient, headers: dict[str, str]) -> None:
        """No token, the right one, and what is no bearer token count for nothing."""
        _fix(guarded, headers)
        guarded.get(STATUS, headers=headers)
        assert _failures(_scraped(guarded)) == (0, 0)

    def test_without_tokens(self, build: Build) -> None:
        """A service without a token has none that could be wrong."""
        client = build().test_client()
        _fix(client, WRONG)
        client.get(STATUS, headers=WRONG)
        assert _failures(_scraped(client)) == (0, 0)

    def test_says_nothing_of_whom(self, guarded: FlaskClient) -> None:
        """Whatever is guessed and from wherever: two series, without token and address."""
        for number in range(2 * ALLOWED):
            for guess in ("a", "b"):
                guessed = {"Authorization": f"Bearer {guess}{number}-battery"}
                _fix(guarded, guessed, f"192.0.2.{number % 2}")
        found = _scraped(guarded)
        assert sum(_failures(found)) == 4 * ALLOWED
        assert len(found.find("http_authentication_failures_total")) == 2
        text = guarded.get("/metrics").text
        assert "battery" not in text
        assert "192.0.2." not in text


def _scraped(client: FlaskClient) -> Exposition:
    return read(client.get("/metrics").text)


def _failures(found: Exposition) -> tuple[float, float]:
    """Tokens that were wrong, and those that a pause kept from being looked at."""
    name = "http_authentication_failures_total"
    return found.total(name, outcome="wrong"), found.total(name, outcome="paused")


class TestServed:
    """The same through gunicorn."""

    @pytest.mark.parametrize(
        ("trusted", "origin", "encrypted"), [("", "127.0.0.1", False), ("1", "203.0.113.9", True)]
    )
    def test_proxies(self, tmp_path: Path, trusted: str, origin: str, *, encrypted: bool) -> None:
        """Unless a proxy is configured, not even one on this host is believed."""
        environ = _environ(tmp_path, TRUSTED_PROXIES=trusted, WEB_CONCURRENCY="1")
        forwarded = {"X-Forwarded-For": "203.0.113.9", "X-Forwarded-Proto": "https"}
        with serve(tmp_path / "log", environ) as server:
            for _ in range(ALLOWED):
                answer = _change(server, "wrong", **forwarded)
                assert answer.status == 401
                assert ("Strict-Transport-Security" in answer.headers) == encrypted
            (logged,) = [json.loads(line) for line in _lines(server, "wrong tokens")]
            assert logged["origin"] == origin

    def test_failures_are_counted_together(self, tmp_path: Path) -> None:
        """Whichever worker was given a wrong token, each of them reports all."""
        with serve(tmp_path / "log", _environ(tmp_path, WEB_CONCURRENCY="2")) as server:
            answers = [_change(server, "wrong").status for _ in range(3 * ALLOWED)]
            wrong, paused = answers.count(401), answers.count(429)
            assert (wrong + paused, paused > 0) == (3 * ALLOWED, True)
            for _ in range(4):
                assert _failures(scrape(server)) == (wrong, paused)

    def test_rotation(self, tmp_path: Path) -> None:
        """Every worker takes the new token within seconds, the old one as long as it stands."""
        file = tmp_path / "tokens"
        file.write_text("old:first-token\n")
        environ = _environ(tmp_path, AUTO_FIX_TOKEN="", AUTO_FIX_TOKEN_FILE=str(file))
        with serve(tmp_path / "log", environ) as server:
            assert _accepts(server, "first-token")
            assert _change(server, "first-token").status == 200
            _put(file, "old:first-token\nnew:second-token\n")
            wait_until(lambda: _accepts(server, "second-token"), timeout=20)
            # The wrong tokens of this address may have begun a pause in either worker.
            wait_until(lambda: _accepts(server, "first-token"), timeout=20)
            _put(file, "new:second-token\n")
            wait_until(lambda: not _accepted(server, "first-token"), timeout=20)
            wait_until(lambda: _change(server, "second-token").status == 200, timeout=20)
            names = {json.loads(line)["token"] for line in _lines(server, "change allowed")}
            assert names == {"old", "new"}
            assert "first-token" not in server.log_text
            assert "second-token" not in server.log_text

    def test_a_worker_that_begins_without_the_file(self, house: House, tmp_path: Path) -> None:
        """It serves, refuses changes, and takes the token when the file is back."""
        file = tmp_path / "tokens"
        file.write_text("the-token\n")
        with house.serve(workers=1, AUTO_FIX_TOKEN_FILE=str(file)) as server:
            (before,) = wait_until(lambda: workers(server))
            file.rename(tmp_path / "elsewhere")
            os.kill(before, signal.SIGKILL)
            wait_until(lambda: set(workers(server)) - {before}, timeout=30)
            assert statuses(server, "/livez") == {200}
            assert not _accepted(server, "the-token")
            (tmp_path / "elsewhere").rename(file)
            wait_until(lambda: _accepts(server, "the-token"), timeout=20)

    def test_no_token_in_the_file(self, tmp_path: Path) -> None:
        """The service does not start with a token file that has no token, and says why."""
        file = tmp_path / "canary-in-the-name"
        file.write_text("# canary in the file\n")
        environ = _environ(tmp_path, AUTO_FIX_TOKEN="", AUTO_FIX_TOKEN_FILE=str(file))
        done = subprocess.run(
            [sys.executable, "-m", "deploy.serve"], cwd=ROOT, env=base_environ(**environ),
            check=False, capture_output=True, text=True, timeout=60,
        )  # fmt: skip
        assert done.returncode == 78
        assert "AUTO_FIX_TOKEN_FILE" in done.stderr
        assert "canary" not in done.stderr


@pytest.fixture
def house(tmp_path: Path, world: World) -> House:
    """A directory to serve, with a package index of its own."""
    return House(tmp_path, world)


def _environ(tmp_path: Path, **more: str) -> dict[str, str]:
    home = str(tmp_path / "home")
    fixed = {"AUTO_FIX_HOME": home, "AUTO_FIX_MODE": "report", "LOG_FORMAT": "json"}
    return {**fixed, "AUTO_FIX_TOKEN": TOKEN, **more}


def _change(server: Server, token: str, **headers: str) -> Response:
    given = {"Authorization": f"Bearer {token}", "Content-Type": "application/json", **headers}
    return http_request(server.url + FIX, method="POST", headers=given, body=b'{"module": "json"}')


def _accepted(server: Server, token: str) -> bool:
    """Whether a worker shows the details for this token."""
    headers = {"Authorization": f"Bearer {token}"}
    return "recent_attempts" in http_request(server.url + STATUS, headers=headers).json()


def _accepts(server: Server, token: str) -> bool:
    """Whether several requests in a row are trusted, by whichever workers."""
    return all(_accepted(server, token) for _ in range(8))


def _put(file: Path, text: str) -> None:
    fresh = file.with_suffix(".fresh")
    fresh.write_text(text)
    fresh.rename(file)


def _lines(server: Server, event: str) -> list[str]:
    return [line for line in server.log_text.splitlines() if f'"event": "{event}' in line]
