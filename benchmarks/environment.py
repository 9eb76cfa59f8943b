"""Variables: how soon a corrected secret is served, and what following many of them costs."""

from __future__ import annotations

import time
from collections.abc import Iterator
from pathlib import Path
from tempfile import TemporaryDirectory

from app.kinds.environment.kind import EnvironmentKind
from app.kinds.environment.variables import READER, TABLE
from app.manifest import parse
from benchmarks.harness import Measurement
from benchmarks.served import house
from tests.isolation.shop import Shop, answers

ROUNDS = 5
VARIABLES, FILES, PASSES = 1000, 200, 500
CODE = """\
import os

from flask import Blueprint

bp = Blueprint("orders", __name__)
assert os.environ["SHOP_KEY"]


@bp.get("/")
def orders():
    return {}
"""


def measure() -> Iterator[Measurement]:
    """The targets of the environment."""
    yield _corrected()
    yield _idle()


def _corrected() -> Measurement:
    """From a secret's file that holds a placeholder to the blueprint in both workers."""
    seconds = []
    for _ in range(ROUNDS):
        with house() as here:
            shop = Shop(here.world)
            shop.code("orders", CODE)
            table = 'prefix = "/orders"\nenvironment = ["SHOP_KEY"]'
            shop.manifest.write_text(
                f"{shop.text('orders', orders=table)}\n[variable.SHOP_KEY]\nsecret = true\n"
            )
            secrets = here.world.root / "secrets"
            secrets.mkdir()
            (secrets / "SHOP_KEY").write_text("changeme")
            with shop.serve(SECRETS_DIR=str(secrets)) as server:
                answers(server, {"/orders/": {503}}, within=30)
                (secrets / "SHOP_KEY").write_text("well")
                began = time.monotonic()
                answers(server, {"/orders/": {200}}, within=30)
                seconds.append(time.monotonic() - began)
    return Measurement(
        what="a corrected secret file, to served by all workers",
        rule="at most",
        target=2.0,
        measured=max(seconds),
        unit="s",
        details={"seconds": sorted(seconds)},
    )


def _idle() -> Measurement:
    """The mean of looks that find nothing new, as this thread's processor time."""
    text = "".join(f"[{TABLE}.SHOP_{number}]\n" for number in range(VARIABLES))
    declared = parse(text, {TABLE: READER}).tables[TABLE]
    with TemporaryDirectory() as place:
        for number in range(FILES):
            Path(place, f"SHOP_{number}").write_text("well")
        kind = EnvironmentKind(lambda: declared, {}, Path(place))
        kind.needs = dict.fromkeys(declared, ())
        kind.adopt()
        began = time.thread_time()
        for _ in range(PASSES):
            assert not kind.adopt()
            assert len(tuple(kind.faults())) == VARIABLES - FILES
        took = (time.thread_time() - began) / PASSES
    return Measurement(
        what=f"a look at {VARIABLES} variables and {FILES} files with nothing to do",
        rule="at most",
        target=2.0,
        measured=took * 1000,
        unit="ms",
    )
