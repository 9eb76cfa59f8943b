"""The transcripts in the documentation are what the commands print."""

from __future__ import annotations

import os
import shlex
import socket
import sys
from pathlib import Path

import pytest

from tests.cli.support import Checkout
from tests.support.processes import ROOT
from tests.support.transcripts import comparable, places, recorded

DOCUMENTS = (ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md")))
#: Set by ``make transcripts``: then they are written anew.
RECORD = "RECORD_TRANSCRIPTS"


@pytest.fixture
def faulty(checkout: Checkout) -> Checkout:
    """The project as it is, but for a requirement that somebody forgot."""
    checkout.drop("aiohttp")
    return checkout


@pytest.fixture
def shop(small: Checkout) -> Checkout:
    """A host that lacks the approved redis, with an index that has it."""
    return small


@pytest.mark.parametrize(
    ("document", "place"),
    [
        pytest.param(document, place, id=f"{document.name}-{place}")
        for document in DOCUMENTS
        for place in sorted(places(document.read_text()))
    ],
)
def test_transcripts_are_what_the_commands_print(
    document: Path, place: str, request: pytest.FixtureRequest
) -> None:
    """Line by line; where this fails for a change that is meant, ``make transcripts`` helps."""
    checkout: Checkout = request.getfixturevalue(place)

    def run(line: str) -> str:
        program, *arguments = shlex.split(line)
        assert Path(program).name == "flask"
        home = str(checkout.root / "instance" / "auto-fix")
        command = [sys.executable, "-m", "flask", *arguments]
        out = checkout.command(command, AUTO_FIX_HOME=home).out
        return out.replace(str(checkout.root), "/app").replace(socket.gethostname(), "web-1")

    text = document.read_text()
    fresh = recorded(text, place, run)
    if os.environ.get(RECORD) and comparable(fresh) != comparable(text):
        document.write_text(fresh)
    else:
        assert comparable(fresh) == comparable(text)


def test_only_what_is_volatile_may_differ() -> None:
    """A moment may, and how long something took; a line number or a word may not."""
    text = "<!-- transcript: shop -->\n```console\n$ flask x\nold\n```\nrest\n"
    assert "old" not in recorded(text, "shop", lambda _: "new\n")
    assert recorded(text, "elsewhere", lambda _: "new\n") == text
    lines = {
        "2026-11-28T16:29:08.572+00:00  0.3  web-1  7": "2026-01-01T00:00:00.000Z  12.2 web-1 9",
        "app/x.py:12": "app/x.py:12",
    }
    assert [comparable(one) for one in lines] == [comparable(one) for one in lines.values()]
    for changed in ("app/x.py:13", "app/y.py:12"):
        assert comparable(changed) != comparable("app/x.py:12")
