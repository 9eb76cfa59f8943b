"""A blueprint whose file cannot be used waits for it alone, and comes back without a restart."""

from __future__ import annotations

import json

from app.kinds.configuration.formats import Format
from tests.conftest import World
from tests.isolation.shop import Shop, answers
from tests.kinds.configuration.corpus import CANARY, GOOD, SCHEMA
from tests.serving.house import all_workers, status, working

#: For each format how it is broken, and the code and the line that have to be told.
BROKEN = {
    Format.TOML: (GOOD[Format.TOML].replace("timeout = 5", "timeuot = 5"), "unknown_key", 7),
    Format.JSON: (GOOD[Format.JSON].replace(": true", ": true,"), "syntax", 8),
    Format.YAML: (f"x: 1\na: &a [*a, {CANARY}]\n", "alias_bomb", 2),
    Format.INI: (GOOD[Format.INI].replace("= 5", "= soon"), "wrong_type", 7),
}
#: Texts are read as numbers by the type that is declared for INI.
TYPES = """\
from typing import TypedDict


class Sections(TypedDict, total=False):
    shop: dict[str, str]
    orders: "Orders"
    stock: "Orders"


class Orders(TypedDict):
    url: str
    timeout: float
"""


def test_files_of_every_format_are_broken_at_the_start(world: World) -> None:
    """The service starts and serves the rest; each is told with its line, and live once mended."""
    shop = Shop(world)
    names = [f"by_{written_in}" for written_in in BROKEN]
    for name in ("apples", *names):
        shop.code(name, working(name))
    (shop.directory / "shop" / "types.py").write_text(TYPES)
    (shop.directory / "shop.schema.json").write_text(json.dumps(SCHEMA))
    tables, needs = [], {}
    for written_in, (content, _, _) in BROKEN.items():
        schema = "shop.types:Sections" if written_in is Format.INI else "shop.schema.json"
        tables.append(f'[file.{written_in}]\npath = "shop.{written_in}"\nschema = "{schema}"\n')
        needs[f"by_{written_in}"] = f'prefix = "/by_{written_in}"\nfiles = ["{written_in}"]'
        (shop.directory / f"shop.{written_in}").write_text(content)
    shop.manifest.write_text("\n".join([shop.text("apples", *names, **needs), *tables]))
    with shop.serve() as server:
        before = set(all_workers(server, 2))
        answers(server, {"/apples": {200}, **{f"/{name}": {503} for name in names}})
        faults = {one["subject"]: one for one in status(server)["faults"]}
        for written_in, (_, cause, line) in BROKEN.items():
            assert server.get(f"/by_{written_in}").json()["code"] == f"configuration_{cause}"
            assert faults[written_in]["advice"].startswith(f"line {line}, "), faults[written_in]
        for page in ("/api/auto-fix/status", "/api/auto-fix/force-health-check", "/by_toml"):
            assert CANARY not in server.get(page).text
        for written_in in BROKEN:
            (shop.directory / f"shop.{written_in}").write_text(GOOD[written_in])
        answers(server, {"/apples": {200}, **{f"/{name}": {200} for name in names}})
        assert set(all_workers(server, 2)) == before
    assert CANARY not in (shop.world.root / "log").read_text()
