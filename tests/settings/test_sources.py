"""Where settings come from: the environment, files of secrets, a ``.env`` file, in that order."""

from __future__ import annotations

import os
import tempfile
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from app.settings.sources import MAX_ENV_FILE_BYTES, Environment
from app.settings.variable import MAX_SECRET_BYTES, SecretForm, Syntax, Variable, whole_number

SECRET = "hunter2-canary"  # noqa: S105 - a made-up one
NUMBER = Variable("NUMBER", 1, whole_number(0, 9), "a number")
KEY: Variable[str | None] = Variable(
    "KEY", None, Syntax(str, "a key"), "a secret", secret=True, form=SecretForm.FILE
)
NAMES = [NUMBER.names, KEY.names]


def _environment(root: Path, dotenv: str | None = None, **environ: str) -> Environment:
    if dotenv is not None:
        (root / ".env").write_text(dotenv)
    return Environment.with_file(environ, NAMES, root / ".env")


def _faults(environ: Environment) -> list[str]:
    readings = [variable.read(environ) for variable in (NUMBER, KEY)]
    return [str(fault) for fault in (*environ.faults, *(one.fault for one in readings)) if fault]


class TestFile:
    """The ``.env`` file itself."""

    def test_stands_behind_the_environment(self, tmp_path: Path) -> None:
        """What the environment has wins; the rest comes from the file, each with its source."""
        environ = _environment(tmp_path, "NUMBER=2\nOTHER=file\nMORE=file", NUMBER="3", OTHER="")
        assert dict(environ) == {"NUMBER": "3", "OTHER": "", "MORE": "file"}
        assert environ.added == {"MORE": "file"}
        assert environ.source("NUMBER") == "the environment"
        assert environ.source("MORE") == ".env line 3"

    def test_is_the_source_of_what_both_have_alike(self, tmp_path: Path) -> None:
        """Flask's program may have read it before us: a fault still names the line to mend."""
        (fault,) = _faults(_environment(tmp_path, "# ours\nNUMBER=x", NUMBER="x"))
        assert fault.startswith("NUMBER in .env line 2 is 'x'")

    def test_blank_is_unset_for_a_setting(self, tmp_path: Path) -> None:
        """Compose hands over empty what is not set; for other programs' variables empty counts."""
        environ = _environment(tmp_path, "NUMBER=2\nUV_X=2", NUMBER="  ", UV_X="")
        assert (environ["NUMBER"], environ["UV_X"]) == ("2", "")

    def test_may_be_missing(self, tmp_path: Path) -> None:
        """There is none by default; a directory of that name is a virtual environment."""
        assert _faults(_environment(tmp_path)) == []
        (tmp_path / ".env").mkdir()
        assert _faults(_environment(tmp_path)) == []

    def test_must_be_there_when_it_is_named(self, tmp_path: Path) -> None:
        """ENV_FILE takes the default's place, so a misspelled one must not pass unseen."""
        named = tmp_path / "prod.env"
        named.write_text("NUMBER=x")
        (fault,) = _faults(_environment(tmp_path, "NUMBER=2", ENV_FILE=str(named)))
        assert fault == "NUMBER in prod.env line 1 is 'x'; expected 0 to 9"
        named.unlink()
        (fault,) = _faults(_environment(tmp_path, ENV_FILE=str(named)))
        assert fault.startswith("ENV_FILE in the environment is ")

    @pytest.mark.parametrize("named", [False, True])
    def test_must_be_readable_where_it_is(self, tmp_path: Path, *, named: bool) -> None:
        """Too large, or a pipe: a fault, and never waited for."""
        place = tmp_path / ".env"
        environ = {"ENV_FILE": str(place)} if named else {}
        place.write_bytes(b"#" * (MAX_ENV_FILE_BYTES + 1))
        assert len(_faults(_environment(tmp_path, **environ))) == 1
        place.unlink()
        os.mkfifo(place)
        assert len(_faults(_environment(tmp_path, **environ))) == 1

    def test_can_be_turned_off(self, tmp_path: Path) -> None:
        """Named as the null device there is none, and the default's place is not looked at."""
        environ = _environment(tmp_path, "NUMBER=x", ENV_FILE=os.devnull)
        assert (_faults(environ), dict(environ.added)) == ([], {})

    def test_cannot_be_named_in_itself(self, tmp_path: Path) -> None:
        """Nobody would read the other file."""
        (fault,) = _faults(_environment(tmp_path, "ENV_FILE=other.env"))
        assert fault.startswith("ENV_FILE in .env line 1 is 'other.env'")

    def test_faults_of_lines_and_of_values_are_reported_together(self, tmp_path: Path) -> None:
        """Each with its line."""
        line, value = _faults(_environment(tmp_path, f"{SECRET}\nNUMBER=ten"))
        assert line.startswith(".env line 1 cannot be used")
        assert value == "NUMBER in .env line 2 is 'ten'; expected 0 to 9"
        assert SECRET not in line

    def test_a_name_forges_no_line(self, tmp_path: Path) -> None:
        """The file's name stands in the message on one line."""
        named = tmp_path / "a\nroot: all is well"
        named.write_text("nonsense")
        (fault,) = _faults(_environment(tmp_path, ENV_FILE=str(named)))
        assert fault.isprintable()


class TestSecrets:
    """A secret in a file that NAME_FILE names."""

    @pytest.mark.parametrize("end", ["", "\n", "\r\n"])
    def test_one_line_break_is_dropped(self, tmp_path: Path, end: str) -> None:
        """Editors add one; everything else is the secret."""
        (tmp_path / "key").write_bytes(f" {SECRET}\n{end}".encode())
        reading = KEY.read(_environment(tmp_path, KEY_FILE=str(tmp_path / "key")))
        assert reading.value == f" {SECRET}\n".removesuffix("" if end else "\n")
        assert reading.source == "the file that KEY_FILE names"
        assert SECRET not in repr(reading)

    def test_both_ways_are_a_fault(self, tmp_path: Path) -> None:
        """Nobody could tell which one is meant."""
        (tmp_path / "key").write_text("other")
        environ = {"KEY": SECRET, "KEY_FILE": str(tmp_path / "key")}
        for found in (
            _environment(tmp_path, **environ),
            _environment(tmp_path, "".join(f"{name}={text}\n" for name, text in environ.items())),
        ):
            (fault,) = _faults(found)
            assert "expected KEY or KEY_FILE, not both" in fault
            assert SECRET not in fault

    def test_one_way_in_the_environment_hides_the_other_in_the_file(self, tmp_path: Path) -> None:
        """So what a developer keeps in .env can be overridden either way."""
        (tmp_path / "key").write_text("from the file")
        file = str(tmp_path / "key")
        assert KEY.read(_environment(tmp_path, f"KEY_FILE={file}", KEY=SECRET)).value == SECRET
        found = KEY.read(_environment(tmp_path, f"KEY={SECRET}", KEY_FILE=file))
        assert found.value == "from the file"

    @pytest.mark.parametrize("content", [None, b"", b"\n", b"\xff", b"x" * (MAX_SECRET_BYTES + 1)])
    def test_a_file_that_holds_none_is_a_fault(self, tmp_path: Path, content: bytes | None) -> None:
        """Missing, empty, no text or too large; the name is not shown, it may be the secret."""
        place = tmp_path / SECRET
        if content is not None:
            place.write_bytes(content)
        environ = _environment(tmp_path, KEY_FILE=str(place))
        (fault,) = _faults(environ)
        assert fault.startswith("KEY_FILE in the environment cannot be used, and is not shown")
        assert SECRET not in f"{fault}{environ!r}{KEY.read(environ)!r}"

    def test_a_pipe_is_not_waited_for(self, tmp_path: Path) -> None:
        """Nor is anything else that is no file."""
        os.mkfifo(tmp_path / "pipe")
        assert len(_faults(_environment(tmp_path, KEY_FILE=str(tmp_path / "pipe")))) == 1
        assert len(_faults(_environment(tmp_path, KEY_FILE=str(tmp_path)))) == 1
        assert len(_faults(Environment({"KEY_FILE": "a\0b"}))) == 1


class TestMisspellings:
    """Names that are nearly a setting's."""

    KNOWN = ("AUTO_FIX_TOKEN", "AUTO_FIX_MODE", "PORT")

    @pytest.mark.parametrize(
        ("name", "meant"),
        [
            ("AUTO_FIX_TOKNE", "AUTO_FIX_TOKEN"),
            ("AUTO_FIX_MODES", "AUTO_FIX_MODE"),
            ("auto_fix_mode", "AUTO_FIX_MODE"),
            ("AUTO_FIX_SOMETHING_NEW", None),
            ("AUTO_FIX_", None),
            ("AUTO_FIX_MODE", None),
            ("PROT", None),
        ],
    )
    def test_only_what_looks_like_one_of_ours(
        self, tmp_path: Path, name: str, meant: str | None
    ) -> None:
        """Other programs' variables are theirs, and a newer version's setting is none of ours."""
        found = _environment(tmp_path, f"{name}={SECRET}").misspellings(self.KNOWN)
        assert [one.meant for one in found] == ([meant] if meant else [])
        assert all(f"'{name}' in .env line 1 is not a setting" in str(one) for one in found)
        assert SECRET not in f"{found}"


TEXTS = st.sampled_from(["", " ", "1", "2", "x"])
PLACES = st.dictionaries(st.sampled_from(["NUMBER", "KEY", "KEY_FILE", "OTHER"]), TEXTS)


@given(environ=PLACES, dotenv=PLACES, in_file=st.sampled_from(["", "secret", None]))
def test_precedence(environ: dict[str, str], dotenv: dict[str, str], in_file: str | None) -> None:
    """Whatever is set where, the first value in the documented order counts, or is a fault."""
    with tempfile.TemporaryDirectory() as directory:
        root = Path(directory)
        if in_file is not None:
            (root / "key").write_text(in_file)
        places = [
            {**one, "KEY_FILE": str(root / "key")} if one.get("KEY_FILE", "").strip() else one
            for one in (environ, dotenv)
        ]
        text = "".join(f"{name}='{value}'\n" for name, value in places[1].items())
        found = _environment(root, text, **places[0])
        number, key = NUMBER.read(found), KEY.read(found)
    numbers = [one["NUMBER"].strip() for one in places if one.get("NUMBER", "").strip()]
    expected = numbers[0] if numbers else "1"
    assert (number.fault is not None) == (expected == "x")
    assert number.value == (1 if expected == "x" else int(expected))
    _check_key(places, in_file, key.value, wrong=key.fault is not None)


def _check_key(
    places: list[dict[str, str]], in_file: str | None, value: str | None, *, wrong: bool
) -> None:
    """The first place that sets the secret in either way decides alone."""
    for one in places:
        plain, filed = one.get("KEY", "").strip(), one.get("KEY_FILE", "")
        if plain or filed.strip():
            assert wrong == bool(filed.strip() and (plain or not in_file))
            assert value == (None if wrong else plain or in_file)
            return
    assert (value, wrong) == (None, False)
