"""An edited manifest is what two workers of gunicorn serve, within a second and whatever it is."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from app.healing.kind import Outcome
from app.isolation.import_marks import ImportMarks
from app.isolation.importing import import_blueprints
from app.isolation.last_addresses import LastAddresses
from app.isolation.registration import register_blueprints
from app.manifest import FILE, Blueprint
from tests.conftest import World
from tests.isolation.shop import Shop, answers
from tests.serving.house import all_workers, reason, status, working
from tests.support.processes import Server, wait_until

#: What each worker logs once.
LOGGED = "file cannot be used as it is"


@pytest.fixture
def shop(world: World) -> Shop:
    """A shop of two blueprints that work."""
    made = Shop(world)
    for name in ("apples", "pears", "plums"):
        made.code(name)
    made.name("apples", "pears")
    return made


def manifest_check(server: Server) -> dict[str, object]:
    """What health says of the manifest; nothing is known of it just after the start."""
    checks = server.get("/api/auto-fix/health").json()["checks"].values()
    found = [check for check in checks if str(check["subject"]).startswith(FILE)]
    failed = [check for check in found if not check["ok"]]
    return {
        "ok": not failed if found else None,
        "critical": any(check["critical"] for check in failed),
        "reasons": {check["reason"] for check in failed},
        "advice": " ".join(str(check["advice"]) for check in failed),
    }


def failing(server: Server) -> dict[str, object]:
    """The check of a manifest that has faults; empty while it has none."""
    found = manifest_check(server)
    return found if found["ok"] is False else {}


def active(server: Server, *names: str) -> None:
    """Wait until both workers serve these blueprints and no other."""
    all_workers(server, 2, active=["health", "auto_fix", *names])


class TestEdited:
    """What an owner does to the file."""

    def test_added_moved_and_removed(self, shop: Shop) -> None:
        """Every worker follows, in the same process, and the rest is served all along."""
        with shop.serve() as server:
            before = set(all_workers(server, 2))
            answers(server, {"/apples": {200}, "/pears": {200}, "/plums": {404}})
            shop.name("apples", "pears", "plums")
            answers(server, {"/apples": {200}, "/pears": {200}, "/plums": {200}})
            shop.name("apples", "plums", plums='prefix = "/fruit/plums"')
            answers(server, {"/pears": {404}, "/plums": {404}, "/fruit/plums": {200}})
            active(server, "apples", "plums")
            assert set(all_workers(server, 2)) == before
            wait_until(lambda: manifest_check(server)["ok"])
            assert server.get("/readyz").status == 200

    def test_imports_that_fail(self, shop: Shop) -> None:
        """What cannot be used of an addition is isolated by itself, and healthy ones go live."""
        shop.code("broken", "1 / 0\n")
        shop.code("empty", "")
        shop.code("number", "bp = 1\n")
        shop.code("hanging", "import threading\nthreading.Event().wait()\n")
        names = ("hanging", "broken", "empty", "number", "absent", "plums", "apples")
        with shop.serve() as server:
            shop.name(*names)
            answers(server, {"/plums": {200}, "/apples": {200}, "/pears": {404}})
            answers(server, {f"/{name}": {503} for name in names[:5]})
            expected = {
                "hanging": "importing",
                "broken": "code_error",
                "empty": "blueprint_missing",
                "number": "registration_failed",
                "absent": "first_party_missing",
            }
            wait_until(lambda: {name: reason(server, name) for name in expected} == expected)
            shop.name("apples")
            answers(server, {f"/{name}": {404} for name in names[:6]})
            wait_until(lambda: server.get("/api/auto-fix/health").json()["errors_detected"] == [])

    def test_moved_while_it_is_isolated(self, shop: Shop) -> None:
        """A blueprint in quarantine answers 503 where it is by now."""
        shop.code("broken", "1 / 0\n")
        shop.name("apples", "broken")
        with shop.serve() as server:
            answers(server, {"/broken": {503}})
            shop.name("apples", "broken", broken='prefix = "/other"')
            answers(server, {"/broken": {404}, "/other": {503}, "/apples": {200}})
            shop.code("broken")
            answers(server, {"/other": {200}}, within=30)


class TestHarmed:
    """What happens to the file."""

    @pytest.mark.parametrize(
        ("harm", "cause"),
        [
            (lambda path: path.write_text(""), "configuration_entry_invalid"),
            (lambda path: path.write_bytes(b"\xff\xfe\x00"), "configuration_syntax"),
            (Path.unlink, "configuration_missing"),
            (lambda path: (path.unlink(), path.mkdir()), "configuration_unreadable"),
            (
                lambda path: path.write_text("[blueprint.apples]\nimport = 1\n"),
                "configuration_entry_invalid",
            ),
        ],
        ids=["emptied", "no text", "removed", "directory", "no blueprint"],
    )
    def test_what_was_served_goes_on(
        self, shop: Shop, harm: Callable[[Path], object], cause: str
    ) -> None:
        """Health shows the fault and its line, each worker logs it once; corrected, it is gone."""
        with shop.serve() as server:
            harm(shop.manifest)
            found = wait_until(lambda: failing(server), timeout=20)
            assert (found["critical"], found["reasons"]) == (False, {cause})
            assert "its last good version is served" in str(found["advice"])
            answers(server, {"/apples": {200}, "/pears": {200}, "/readyz": {200}})
            wait_until(lambda: server.log.read_text().count(LOGGED) == 2)
            if shop.manifest.is_dir():
                shop.manifest.rmdir()
            shop.name("apples", "plums")
            answers(server, {"/apples": {200}, "/pears": {404}, "/plums": {200}})
            wait_until(lambda: manifest_check(server)["ok"], timeout=20)
            assert server.log.read_text().count(LOGGED) == 2

    def test_a_wrong_table_costs_what_it_describes(self, shop: Shop) -> None:
        """It is served as it was, the others as they are, and each fault's line is told."""
        with shop.serve() as server:
            text = shop.text("apples", "pears", "plums", pears="prefix = 1")
            shop.manifest.write_text(f"{text}\n[nonsense]\n[blueprint.bad]\nimport = \n")
            answers(server, {"/apples": {200}, "/pears": {200}, "/plums": {200}})
            advice = str(wait_until(lambda: failing(server), timeout=20)["advice"])
            lines = shop.manifest.read_text().split("\n")
            for wrong in ("prefix = 1", "[nonsense]", "import = "):
                assert f"line {lines.index(wrong) + 1}: " in advice

    def test_the_core_cannot_be_taken(self, shop: Shop) -> None:
        """A table of its name is a fault, and the probes answer."""
        shop.manifest.write_text(
            f'{shop.text("apples")}[blueprint.health]\nimport = "shop.parts.plums:bp"\n'
        )
        with shop.serve() as server:
            answers(server, {"/apples": {200}, "/livez": {200}, "/readyz": {200}})
            advice = str(wait_until(lambda: failing(server), timeout=20)["advice"])
            assert "has the name of one of the service's own" in advice

    def test_no_manifest_at_the_start(self, shop: Shop) -> None:
        """The core is served, and the rest as soon as there is one."""
        shop.manifest.unlink()
        with shop.serve() as server:
            answers(server, {"/apples": {404}, "/livez": {200}})
            wait_until(lambda: failing(server), timeout=20)
            shop.name("apples")
            answers(server, {"/apples": {200}})


class TestNeeds:
    """Packages without which a blueprint is not imported."""

    NEEDY = 'prefix = "/plums"\npackages = ["seed"]'

    def test_a_missing_one_isolates_its_blueprint_alone(self, shop: Shop) -> None:
        """It is not imported, and the need is named; in a map that is edited it heals."""
        seen = shop.world.root / "imported"
        shop.code("plums", f"open({str(seen)!r}, 'w').close()\n{working('plums')}")
        shop.world.publish("seed")
        shop.name("apples", "plums", plums=self.NEEDY)
        with shop.serve() as server:
            answers(server, {"/apples": {200}, "/plums": {503}})
            state = status(server)["blueprints"]["plums"]
            assert state["reason"] == "missing_distribution"
            health = server.get("/api/auto-fix/health").json()
            assert health["checks"]["dependency_seed"]["ok"] is False
            assert "seed" in health["checks"]["blueprint_plums"]["advice"]
            assert not seen.exists()
            shop.name("apples", "plums", packages='seed = "seed>=1"', plums=self.NEEDY)
            answers(server, {"/apples": {200}, "/plums": {200}}, within=40)
            assert seen.exists()
            wait_until(lambda: server.get("/api/auto-fix/health").json()["errors_detected"] == [])

    def test_healed_at_the_boot(self, shop: Shop) -> None:
        """An approved package is there before the blueprint is imported."""
        shop.code("plums", f"import seed\n{working('plums')}")
        shop.world.publish("seed")
        shop.name("apples", "plums", packages='seed = "seed>=1"', plums=self.NEEDY)
        with shop.serve() as server:
            answers(server, {"/apples": {200}, "/plums": {200}}, within=40)
            (fix,) = server.get("/api/auto-fix/health").json()["fixes"]
            assert fix["subject"] == "seed"

    def test_a_need_that_is_taken_away(self, shop: Shop) -> None:
        """A blueprint that needs it no longer is imported and served."""
        shop.name("apples", "plums", plums=self.NEEDY)
        with shop.serve() as server:
            answers(server, {"/plums": {503}})
            shop.name("apples", "plums")
            answers(server, {"/plums": {200}})

    def test_two_of_one_module(self, world: World, monkeypatch: pytest.MonkeyPatch) -> None:
        """One that lacks its need is isolated, the other one of the same module is served."""
        from flask import Flask

        made = "".join(f"{name} = Blueprint({name!r}, __name__)\n" for name in "ab")
        (world.root / "two_of_one.py").write_text(f"from flask import Blueprint\n{made}")
        monkeypatch.syspath_prepend(str(world.root))
        fixer = world.fixer()
        needs = {"packages": ("absent_seed",)}
        pair = (
            Blueprint("a", "two_of_one", "a", "/a"),
            Blueprint("b", "two_of_one", "b", "/b", needs=needs),
        )
        fixer.watch(pair)
        marks = ImportMarks(world.settings.home)
        import_blueprints(pair, fixer, marks)
        addresses = LastAddresses(world.settings.home)
        app, (first, second) = register_blueprints(
            lambda: Flask("x"), pair, fixer, marks, addresses
        )
        assert set(app.blueprints) == {"a"}
        assert (first.active, second.active, second.unmet) == (True, False, "absent_seed")
        (fault,) = [each for each in fixer.faults() if each.subject == "absent_seed"]
        assert (fault.needed_by, fault.refusal) == (("two_of_one",), Outcome.NOT_APPROVED)
