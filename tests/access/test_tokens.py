"""Tokens: who has one, how their file is followed, and what keeps the service from starting."""

from __future__ import annotations

import logging
import os
import threading
from collections.abc import Callable
from pathlib import Path

import pytest

from app.access.tokens import MAX_FILE, Tokens, check_token_file
from app.settings.declarations import Settings
from app.settings.errors import SettingsError
from app.settings.files import LOOK_SECONDS
from tests.support.clock import Clock

SECRET = "s3cret-canary"  # noqa: S105 - what must not get out
WAIT = 20


@pytest.fixture
def clock() -> Clock:
    """A clock that stands still."""
    return Clock()


def _replace(file: Path, text: str) -> None:
    fresh = file.with_suffix(".fresh")
    fresh.write_text(text)
    fresh.rename(file)


def _make_pipe(file: Path) -> None:
    file.unlink()
    os.mkfifo(file)


class TestWho:
    """Whose token it is."""

    def test_each_has_its_name(self) -> None:
        """Every token is found, wherever it stands, and nothing that only resembles one."""
        tokens = Tokens((("a", "alpha"), ("b", "beta"), ("c", "gamma")))
        assert [tokens.name_of(t) for t in ("alpha", "beta", "gamma")] == ["a", "b", "c"]
        for near in ("", "alph", "alphaa", "ALPHA", "alpha ", "alpha,beta", "a:alpha", "alph\xe4"):
            assert tokens.name_of(near) is None

    def test_what_no_header_can_carry(self) -> None:
        """Text that cannot be encoded is nobody's token, not an error and not a question mark."""
        assert Tokens((("a", "a?b"),)).name_of("a\udcffb") is None

    def test_none(self) -> None:
        """Without tokens nobody has one."""
        tokens = Tokens()
        assert not tokens.configured
        assert tokens.name_of("") is None

    def test_all_settings(self, tmp_path: Path) -> None:
        """The single token, the list and the file count together."""
        file = tmp_path / "tokens"
        file.write_text("third:three\n")
        settings = Settings(token="one", tokens=(("second", "two"),), token_file=file)  # noqa: S106
        tokens = Tokens.from_settings(settings)
        assert tokens.configured
        names = [tokens.name_of(given) for given in ("one", "two", "three")]
        assert names == ["default", "second", "third"]

    def test_not_stored(self) -> None:
        """No token can be read from what is stored."""
        assert SECRET not in repr(vars(Tokens((("a", SECRET),))))


class TestFile:
    """A file of tokens, followed while the service runs."""

    @pytest.fixture
    def file(self, tmp_path: Path) -> Path:
        """A file with one token."""
        file = tmp_path / "tokens"
        file.write_text("old\n")
        return file

    def test_followed(self, file: Path, clock: Clock) -> None:
        """A new content counts from the next look on, which is within a second."""
        tokens = Tokens((), file, clock=clock)
        assert tokens.name_of("old") == "file"
        _replace(file, "a:old\nb:new\n")
        assert tokens.name_of("new") is None
        clock.pass_by(LOOK_SECONDS)
        assert (tokens.name_of("old"), tokens.name_of("new")) == ("a", "b")
        _replace(file, "b:new\n")
        clock.pass_by(LOOK_SECONDS)
        assert (tokens.name_of("old"), tokens.name_of("new")) == (None, "b")

    @pytest.mark.parametrize(
        "spoil",
        [
            lambda file: file.unlink(),
            lambda file: _replace(file, ""),
            lambda file: _replace(file, f"{SECRET} {SECRET}"),
            lambda file: _replace(file, f"fixed:{SECRET}"),
            lambda file: _replace(file, "x" * (MAX_FILE + 1)),
            lambda file: file.write_bytes(b"\xff\xfe"),
            lambda file: (file.unlink(), file.mkdir()),
            _make_pipe,
            lambda file: (file.unlink(), file.symlink_to("/dev/zero")),
            lambda file: (file.unlink(), file.symlink_to(file)),
        ],
        ids=[
            "missing", "empty", "no pairs", "name taken", "too large", "no text", "directory",
            "pipe", "device", "loop",
        ],
    )  # fmt: skip
    def test_broken(
        self,
        file: Path,
        clock: Clock,
        caplog: pytest.LogCaptureFixture,
        spoil: Callable[[Path], object],
    ) -> None:
        """The last good tokens hold, the log says so once and says nothing of the file."""
        tokens = Tokens((("fixed", "f"),), file, clock=clock)
        spoil(file)
        for _ in range(3):
            clock.pass_by(LOOK_SECONDS)
            assert (tokens.name_of("old"), tokens.name_of("f")) == ("file", "fixed")
        (record,) = [r for r in caplog.records if r.levelno >= logging.ERROR]
        logged = f"{record.getMessage()} {record.__dict__['fields']}"
        assert SECRET not in logged
        assert str(file) not in logged

    def test_back(self, file: Path, clock: Clock, caplog: pytest.LogCaptureFixture) -> None:
        """A file that is mended counts again, and one that breaks again is logged again."""
        tokens = Tokens((), file, clock=clock)
        for round_ in ("one", "two"):
            file.unlink()
            clock.pass_by(LOOK_SECONDS)
            tokens.name_of("x")
            file.write_text(round_)
            clock.pass_by(LOOK_SECONDS)
            assert tokens.name_of(round_) == "file"
        assert len([r for r in caplog.records if r.levelno >= logging.ERROR]) == 2

    def test_missing_from_the_beginning(self, tmp_path: Path, clock: Clock) -> None:
        """A worker that begins without the file refuses everybody until it is there."""
        file = tmp_path / "tokens"
        tokens = Tokens((), file, clock=clock)
        assert tokens.configured
        assert tokens.name_of("late") is None
        file.write_text("late")
        clock.pass_by(LOOK_SECONDS)
        assert tokens.name_of("late") == "file"

    def test_many_at_once(self, file: Path) -> None:
        """Threads that ask while the file is replaced get an answer each, and no mixture."""
        clock = Clock()
        tokens = Tokens((), file, clock=clock)
        go = threading.Barrier(9)
        seen: list[tuple[str | None, ...]] = []

        def ask() -> None:
            go.wait(WAIT)
            for _ in range(200):
                clock.pass_by(LOOK_SECONDS)
                seen.append((tokens.name_of("old"), tokens.name_of("newer")))

        threads = [threading.Thread(target=ask) for _ in range(8)]
        for thread in threads:
            thread.start()
        go.wait(WAIT)
        _replace(file, "a:newer\n")
        for thread in threads:
            thread.join(WAIT)
        clock.pass_by(LOOK_SECONDS)
        assert (tokens.name_of("old"), tokens.name_of("newer")) == (None, "a")
        assert len(seen) == 1600
        assert set(seen) <= {("file", None), (None, "a"), ("file", "a")}


class TestStart:
    """What keeps the service from starting."""

    def _faults(self, **settings: object) -> SettingsError:
        with pytest.raises(SettingsError) as caught:
            check_token_file(Settings(**settings))  # type: ignore[arg-type]
        assert SECRET not in str(caught.value)
        return caught.value

    def test_fine(self, tmp_path: Path) -> None:
        """Tokens with names of their own, with or without a file, may start."""
        file = tmp_path / "tokens"
        file.write_text("ci:abc")
        check_token_file(Settings())
        check_token_file(Settings(token="t", tokens=(("ops", "o"),), token_file=file))  # noqa: S106

    def test_no_file(self, tmp_path: Path) -> None:
        """A file that is not there names its setting; its path, which may be a token, is not."""
        (fault,) = self._faults(token_file=tmp_path / SECRET).faults
        assert fault.name == "AUTO_FIX_TOKEN_FILE"

    def test_no_token(self, tmp_path: Path) -> None:
        """A file with no token at all names its setting."""
        file = tmp_path / "tokens"
        file.write_text(f"# {SECRET}\n")
        (fault,) = self._faults(token_file=file).faults
        assert fault.name == "AUTO_FIX_TOKEN_FILE"

    def test_names_twice(self, tmp_path: Path) -> None:
        """A name that two settings give is a fault of the second one; all are reported at once."""
        file = tmp_path / "tokens"
        file.write_text(f"default:{SECRET}")
        error = self._faults(token=SECRET, tokens=(("default", SECRET),), token_file=file)
        assert [fault.name for fault in error.faults] == ["AUTO_FIX_TOKENS", "AUTO_FIX_TOKEN_FILE"]
