"""The transcripts in the documentation are what the commands print."""

from __future__ import annotations

import contextlib
import os
import shlex
import socket
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from urllib.parse import urlsplit

import pytest

from tests.cli.support import Checkout
from tests.support.processes import ROOT, Server, serve
from tests.support.transcripts import ELSEWHERE, RECORD, comparable, places, recorded

DOCUMENTS = (ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md")))


@pytest.fixture
def faulty(checkout: Checkout) -> Checkout:
    """The project as it is, but for a requirement that somebody forgot."""
    checkout.drop("aiohttp")
    return checkout


@pytest.fixture
def shop(small: Checkout) -> Checkout:
    """A host that lacks the approved redis, with an index that has it."""
    return small


@pytest.fixture
def legacy(checkout: Checkout) -> Checkout:
    """The project, and beside it the module of the document; mended, it has no hook for all."""
    text = (ROOT / "docs" / "ADOPT.md").read_text().split("```python\n")[1].split("```")[0]
    hook = text.partition("@orders.before_app_request")[2].partition("def cache")[0]
    for name, content in {
        "shop.py": text,
        "mended/shop.py": text.replace(f"@orders.before_app_request{hook}", ""),
    }.items():
        path = checkout.root.parent / "legacy" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(content)
    return Checkout(checkout.root, {"SHOP_NAME": "Royal Equips", "AUTO_FIX_MODE": "report"})


@pytest.fixture
def corrected(checkout: Checkout) -> Checkout:
    """The project with a declared file in which a key is misspelt."""
    manifest = checkout.read("orchestrator.toml")
    table = '[file.pricing]\npath = "config/pricing.toml"\nschema = "config/pricing.schema.json"\n'
    checkout.write("orchestrator.toml", f"{manifest}\n{table}")
    (checkout.root / "config").mkdir()
    keys = '{"currency": {"type": "string"}, "timeout": {"type": "integer"}}'
    schema = f'{{"properties": {keys}, "additionalProperties": false}}'
    checkout.write("config/pricing.schema.json", schema)
    text = 'currency = "EUR"   # as the bank has it\ntimeuot = "5"      # seconds\n'
    checkout.write("config/pricing.toml", text)
    return Checkout(checkout.root, {"AUTO_FIX_CONFIRM_SECONDS": "2"})


@pytest.fixture
def fetch(checkout: Checkout) -> Iterator[Callable[[str], str]]:
    """Gets an address of the service, which starts in the checkout when it is first asked."""
    with contextlib.ExitStack() as until_the_end:
        servers: list[Server] = []

        def get(address: str) -> str:
            if not servers:
                environ = {
                    "SHOP_NAME": "Royal Equips",
                    "AUTO_FIX_MODE": "report",
                    "AUTO_FIX_HOME": str(checkout.root / "instance" / "auto-fix"),
                    "WEB_CONCURRENCY": "1",
                }
                log = checkout.root.parent / "server.log"
                server = serve(log, environ, directory=checkout.root, ready="/readyz")
                servers.append(until_the_end.enter_context(server))
            return servers[0].get(urlsplit(address).path).text

        yield get


@pytest.mark.parametrize(
    ("document", "place"),
    [
        pytest.param(document, place, id=f"{document.name}-{place}")
        for document in DOCUMENTS
        for place in sorted(places(document.read_text()) - ELSEWHERE)
    ],
)
def test_transcripts_are_what_the_commands_print(
    document: Path, place: str, request: pytest.FixtureRequest, fetch: Callable[[str], str]
) -> None:
    """Line by line; where this fails for a change that is meant, ``make transcripts`` helps."""
    checkout: Checkout = request.getfixturevalue(place)

    def run(line: str) -> str:
        program, *arguments = shlex.split(line)
        if program == "curl":
            return fetch(arguments[-1])
        if program in {"cat", "sleep"}:
            return checkout.command([program, *arguments]).out
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
