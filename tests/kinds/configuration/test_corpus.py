"""A declared file that is broken in any way: what it costs, what is told, and what mends it."""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from pathlib import Path

import pytest

from app.kinds.configuration.causes import Cause
from app.kinds.configuration.declaration import File
from app.kinds.configuration.formats import Format
from app.kinds.configuration.kind import LAST_GOOD, ConfigurationKind
from app.kinds.configuration.last_good import LastGoods
from tests.kinds.configuration.corpus import CANARY, GOOD, SCHEMA, texts, wrong_contents

#: What may stand in the place of a file.
PLACES: dict[str, tuple[Cause, Callable[[Path], object]]] = {
    "nothing": (Cause.MISSING, lambda _: None),
    "dangling link": (Cause.MISSING, lambda path: path.symlink_to("nowhere")),
    "circle of links": (Cause.UNREADABLE, lambda path: path.symlink_to(path)),
    "directory": (Cause.UNREADABLE, Path.mkdir),
    "pipe": (Cause.UNREADABLE, os.mkfifo),
    "device": (Cause.UNREADABLE, lambda path: path.symlink_to("/dev/zero")),
    "gigabyte": (Cause.TOO_LARGE, lambda path: _sparse(path, 1 << 30)),
}


class House:
    """A process with one declared file in each format."""

    def __init__(self, root: Path) -> None:
        (root / "shop.schema.json").write_text(json.dumps(SCHEMA))
        self.paths = {one: root / f"shop.{one}" for one in GOOD}
        files = {one.value: _declared(one, path) for one, path in self.paths.items()}
        self.kind = ConfigurationKind(lambda: files, {}, root, LastGoods(root / "home"))
        self.put({one: good.encode() for one, good in GOOD.items()})

    def put(self, contents: dict[Format, bytes]) -> None:
        """Replace files by a rename, and look at them."""
        for written_in, content in contents.items():
            fresh = self.paths[written_in].with_name("new")
            fresh.write_bytes(content)
            _remove(self.paths[written_in])
            fresh.replace(self.paths[written_in])
        self.kind.adopt()

    def faults(self) -> dict[str, tuple[str, str]]:
        """The cause and the advice of each subject; no advice has anything of a value."""
        found = {one.subject: (one.cause, one.advice) for one in self.kind.faults()}
        assert CANARY not in str(found)
        return found


def _declared(written_in: Format, path: Path) -> File:
    schema = "" if written_in in {Format.INI, Format.ENV} else "shop.schema.json"
    return File(written_in.value, str(path), written_in, schema)


def _sparse(path: Path, size: int) -> None:
    with path.open("wb") as file:
        file.truncate(size)


def _remove(path: Path) -> None:
    if path.is_dir() and not path.is_symlink():
        path.rmdir()
    else:
        path.unlink(missing_ok=True)


@pytest.fixture
def house(tmp_path: Path) -> House:
    """A process in which every file is good."""
    made = House(tmp_path)
    assert made.faults() == {}
    return made


def test_texts(house: House) -> None:
    """Whatever is wrong with a text is told with its cause and line, and costs that file alone.

    What it last said is served meanwhile, and the corrected file is live at the next look.
    """
    # One of each format and cause: that each case has its cause is tested without the looks.
    cases = {(one.written_in, one.cause): one for one in (*texts(), *wrong_contents())}
    for case in cases.values():
        name = case.written_in.value
        before = house.kind.files[name].value
        house.put({case.written_in: case.content})
        assert set(house.faults()) == {name}, case.name
        cause, advice = house.faults()[name]
        assert (cause, advice.partition(",")[0]) == (case.cause, f"line {case.line}"), case.name
        assert house.kind.unmet(name) is None
        assert house.kind.files[name].value == before
        house.put({case.written_in: GOOD[case.written_in].encode()})
        assert house.faults() == {}, case.name


@pytest.mark.parametrize("what", PLACES)
def test_places(house: House, what: str) -> None:
    """Whatever stands in the place of files is waited for by nobody, and told with its cause."""
    cause, put = PLACES[what]
    for path in house.paths.values():
        _remove(path)
        put(path)
    house.kind.adopt()
    assert {subject: found for subject, (found, _) in house.faults().items()} == dict.fromkeys(
        [one.value for one in GOOD], cause
    )
    assert {one.refusal for one in house.kind.faults()} == {LAST_GOOD}
    house.put({one: good.encode() for one, good in GOOD.items()})
    assert house.faults() == {}
