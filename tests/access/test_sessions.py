"""Sessions of the pages: they count on every worker, and no longer than their token."""

from __future__ import annotations

import os
import time
from pathlib import Path

import pytest

from app.access.sessions import LASTS, Sessions
from app.access.tokens import Tokens
from tests.support.processes import wait_until

TOKENS = (("default", "alpha"), ("night.shift", "beta"))


@pytest.fixture
def sessions(tmp_path: Path) -> Sessions:
    """Those of one worker."""
    return Sessions(tmp_path / "home", Tokens(TOKENS))


def begun(sessions: Sessions, name: str = "default") -> str:
    """The cookie of a session that could be begun."""
    cookie = sessions.begin(name)
    assert cookie
    return cookie


def test_it_counts_on_every_worker(sessions: Sessions, tmp_path: Path) -> None:
    """Another process of the host, or the next one, knows whose it is; names may have dots."""
    other = Sessions(tmp_path / "home", Tokens(TOKENS))
    for name, _ in TOKENS:
        assert other.name_of(begun(sessions, name)) == name
    assert begun(sessions) != begun(sessions)


def test_the_key_is_nobody_elses(sessions: Sessions, tmp_path: Path) -> None:
    """Its file can be read by this user alone."""
    begun(sessions)
    assert (tmp_path / "home" / "session.key").stat().st_mode & 0o777 == 0o600


def test_what_was_changed_does_not_count(sessions: Sessions) -> None:
    """Every character of a cookie is signed, its name too."""
    cookie = begun(sessions)
    for at in range(len(cookie)):
        other = "A" if cookie[at] != "A" else "B"
        # The last character of base64 has bits that stand for nothing.
        if at < len(cookie) - 1:
            assert sessions.name_of(cookie[:at] + other + cookie[at + 1 :]) is None
    for odd in ("", ".", "..", "a.b.c.d", "é", "x" * 100_000, cookie.replace("default", "other")):
        assert sessions.name_of(odd) is None


def test_it_ends_with_its_token(tmp_path: Path) -> None:
    """A token that is replaced in its file takes its sessions along."""
    file = tmp_path / "tokens"
    file.write_text("a:alpha\nb:beta\n")
    sessions = Sessions(tmp_path / "home", Tokens((), file))
    first, second = begun(sessions, "a"), begun(sessions, "b")
    file.write_text("a:gamma\nb:beta\n")
    wait_until(lambda: sessions.name_of(first) is None, timeout=10)
    assert sessions.name_of(second) == "b"


def test_it_ends_after_eight_hours(sessions: Sessions, monkeypatch: pytest.MonkeyPatch) -> None:
    """Its age is signed along."""
    cookie = begun(sessions)
    later = int(time.time()) + LASTS
    monkeypatch.setattr("itsdangerous.timed.time.time", lambda: later - 5)
    assert sessions.name_of(cookie) == "default"
    monkeypatch.setattr("itsdangerous.timed.time.time", lambda: later + 5)
    assert sessions.name_of(cookie) is None


def test_it_can_be_ended(sessions: Sessions, tmp_path: Path) -> None:
    """Its cookie counts no more on any worker, however it is spelt; that of another one does."""
    cookie, second = begun(sessions), begun(sessions)
    old = tmp_path / "home" / "ended-sessions" / "old"
    old.parent.mkdir(mode=0o700)
    old.touch()
    os.utime(old, (1, 1))
    sessions.end(cookie)
    other = Sessions(tmp_path / "home", Tokens(TOKENS))
    for last in "AEIMQUYcgkosw048BCD":
        assert other.name_of(cookie[:-1] + last) is None
    assert other.name_of(cookie) is None
    assert other.name_of(second) == "default"
    assert not old.exists()


@pytest.mark.parametrize("damage", [b"", b"short", b"x" * 1000])
def test_a_damaged_key(sessions: Sessions, tmp_path: Path, damage: bytes) -> None:
    """Its sessions end, and the next one begins with a new key."""
    cookie, key = begun(sessions), tmp_path / "home" / "session.key"
    key.write_bytes(damage)
    assert sessions.name_of(cookie) is None
    assert sessions.name_of(begun(sessions)) == "default"


def test_a_home_that_takes_no_key(tmp_path: Path) -> None:
    """No session begins that only this process would know."""
    (tmp_path / "home").write_text("a file")
    assert Sessions(tmp_path / "home", Tokens(TOKENS)).begin("default") is None
    assert [path.name for path in tmp_path.iterdir()] == ["home"]


def test_without_such_a_token(sessions: Sessions) -> None:
    """There is no session for a name that has no token."""
    assert sessions.begin("stranger") is None


def test_each_session_has_its_form_token(sessions: Sessions) -> None:
    """What one session's forms send does not do for another's."""
    first, second = begun(sessions), begun(sessions)
    assert sessions.form_token(first) == sessions.form_token(first) != sessions.form_token(second)
