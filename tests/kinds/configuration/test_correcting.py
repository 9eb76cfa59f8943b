"""A file is corrected on request alone: shown, made for who approves it, and then confirmed."""

from __future__ import annotations

import json
import os
import signal
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result
from werkzeug.test import TestResponse

from app.cli.group import auto_fix
from app.healing.engine import PlanChanged
from app.healing.kind import Fault, NothingToConfirm, OtherCaller
from app.kinds.configuration.fixing import DIRECTORY, Ending
from app.kinds.configuration.kind import CORRECTABLE, UNCONFIRMED
from app.kinds.standard import standard_kinds
from app.settings.declarations import HealingSettings
from app.utils.auto_fix import AutoFixer
from tests.conftest import World
from tests.support.http import BEARER, TOKEN, Build, assert_problem
from tests.support.processes import http_request, serve, wait_until

MANIFEST = """\
[file.shop]
path = "shop.toml"
schema = "shop.schema.json"
entries = "/prices"
"""
SCHEMA = {
    "type": "object",
    "properties": {
        "currency": {"type": "string"},
        "prices": {"type": "object", "additionalProperties": {"type": "integer"}},
    },
    "additionalProperties": False,
}
GOOD = "# Ours.\ncurrency = 'EUR'\n[prices]\ntea = 3 # each\n"
SLIP = GOOD.replace("currency", "curency")
STEPS = (
    "@@ line 2 @@ curency is no known key",
    "-curency = ...",
    "+currency = ...",
)


class Shop:
    """A manifest with one file, and the processes of its host."""

    def __init__(self, world: World) -> None:
        self.world = world
        self.file = world.root / "shop.toml"
        self.manifest = world.root / "orchestrator.toml"
        self.manifest.write_text(MANIFEST)
        (world.root / "shop.schema.json").write_text(json.dumps(SCHEMA))
        self.file.write_text(SLIP)

    def settings(self, **changes: Any) -> HealingSettings:  # noqa: ANN401 - passed on
        """Those of its processes."""
        return self.world.fixer(manifest=self.manifest, **changes).settings

    def process(self, **changes: Any) -> AutoFixer:  # noqa: ANN401 - passed on
        """The engine of a process that begins now."""
        fixer = AutoFixer(self.settings(**changes))
        for kind in standard_kinds(fixer.settings, fixer.manifest, {}):
            fixer.add_kind(kind)
        fixer.prepare()
        return fixer

    def fault(self, fixer: AutoFixer, subject: str = "shop") -> Fault:
        """What is wrong with the file."""
        fixer.adopt()
        return fixer.fault("configuration", subject)


@pytest.fixture
def shop(world: World) -> Shop:
    """A file with a misspelt key."""
    return Shop(world)


def digest_of(fault: Fault) -> str:
    """The digest of what would be done."""
    assert fault.plan is not None
    return fault.plan.digest


class TestEngine:
    """What the engine does with a plan that is on request."""

    def test_never_by_itself(self, shop: Shop) -> None:
        """The plan is shown; nothing is done by health checks, in the background or unasked."""
        fixer = shop.process()
        fault = shop.fault(fixer)
        assert fault.plan is not None
        assert (fault.plan.steps, fault.refusal, fault.fixable) == (STEPS, CORRECTABLE, False)
        assert fixer.heal_in_background(fault) is None
        assert fixer.heal(fault).outcome == CORRECTABLE
        assert fixer.fix_fault("configuration", "shop").outcome == CORRECTABLE
        fixer.check_and_fix_system_health()
        assert shop.file.read_text() == SLIP
        assert fixer.history() == ()

    def test_on_request(self, shop: Shop) -> None:
        """For who approves its digest it is made; it is served at once, and can be taken back."""
        fixer, other = shop.process(), shop.process()
        repair = fixer.fix_fault("configuration", "shop", digest_of(shop.fault(fixer)), "user 1")
        assert repair.healed
        assert "confirmed within 300 seconds" in repair.advice
        assert shop.file.read_text() == GOOD
        assert [fault.subject for fault in fixer.faults() if fault.kind == "configuration"] == []
        assert [row.outcome for row in fixer.history()] == ["healed"]
        with pytest.raises(OtherCaller):
            other.confirm("configuration", "shop", "user 2")
        assert other.confirm("configuration", "shop", "user 1", keep=False) == Ending.TAKEN_BACK
        assert shop.file.read_text() == SLIP
        with pytest.raises(NothingToConfirm):
            fixer.confirm("configuration", "shop", "user 1")
        with pytest.raises(NothingToConfirm):
            fixer.confirm("dependency", "shop", "user 1")

    def test_edited_since_it_was_shown(self, shop: Shop) -> None:
        """The plan is not carried out that nobody has seen."""
        fixer = shop.process()
        digest = digest_of(shop.fault(fixer))
        shop.file.write_text(SLIP.replace("EUR", "USD"))
        fixer.adopt()
        with pytest.raises(PlanChanged):
            fixer.fix_fault("configuration", "shop", digest, "user 1")
        # Nobody has looked at the file since it was edited.
        shop.file.write_text(SLIP.replace("EUR", "GBP"))
        with pytest.raises(PlanChanged):
            fixer.fix_fault("configuration", "shop", digest, "user 1")
        assert "GBP" in shop.file.read_text()

    def test_the_last_good_entry(self, shop: Shop) -> None:
        """An entry that cannot be mended otherwise is put back as it was when it was good."""
        shop.file.write_text(GOOD)
        fixer = shop.process()
        fixer.adopt()
        shop.file.write_text(GOOD.replace("tea = 3 # each", "tea = []\nrum = 9"))
        fault = shop.fault(fixer, "shop#tea")
        assert fault.plan is not None
        assert fault.plan.steps == ("@@ lines 4 to 4 @@ tea as it was when last good",)
        assert fixer.fix_fault(fault.kind, fault.subject, fault.plan.digest, "user 1").healed
        assert shop.file.read_text() == GOOD.replace("tea = 3 # each", "tea = 3\nrum = 9")

    def test_a_second_fault(self, shop: Shop) -> None:
        """The next correction waits for the confirmation of the last one."""
        shop.file.write_text(GOOD.replace("tea = 3", "tea = '3'\nrum = '9'"))
        fixer = shop.process()
        tea, rum = shop.fault(fixer, "shop#tea"), shop.fault(fixer, "shop#rum")
        assert fixer.fix_fault(tea.kind, tea.subject, digest_of(tea), "user 1").healed
        waiting = shop.fault(fixer, "shop#rum")
        assert (waiting.plan, waiting.refusal) == (None, UNCONFIRMED)
        with pytest.raises(PlanChanged):
            fixer.fix_fault(rum.kind, rum.subject, digest_of(rum), "user 1")
        assert fixer.confirm("configuration", "shop#tea", "user 1") == Ending.KEPT
        rum = shop.fault(fixer, "shop#rum")
        assert fixer.fix_fault(rum.kind, rum.subject, digest_of(rum), "user 1").healed
        assert shop.file.read_text() == GOOD.replace("tea = 3", "tea = 3\nrum = 9")

    def test_taken_back_by_another_process(self, shop: Shop) -> None:
        """The deadline is the file's, not the process's; what was wrong is wrong again then."""
        fixer = shop.process(confirm_seconds=0)
        assert fixer.fix_fault(
            "configuration", "shop", digest_of(shop.fault(fixer)), "user 1"
        ).healed
        restarted = shop.process()
        assert shop.file.read_text() == GOOD
        restarted.settle(healthy=None)
        assert shop.file.read_text() == SLIP
        assert shop.fault(restarted).refusal == CORRECTABLE

    @pytest.mark.parametrize(
        "content", [b"a\xff", b"\xff\xfe", b"a = 1\nb\0", b"a = " + b"[" * 5000]
    )
    def test_nothing_to_propose(self, shop: Shop, content: bytes) -> None:
        """A file that is no text at all is a fault like any other, without a plan."""
        shop.file.write_bytes(content)
        assert shop.fault(shop.process()).plan is None

    def test_revocable(self, shop: Shop) -> None:
        """Of a revocable file nothing old is put back."""
        shop.manifest.write_text(f"{MANIFEST}revocable = true\n")
        shop.file.write_text(GOOD)
        fixer = shop.process()
        fixer.adopt()
        shop.file.write_text(GOOD.replace("tea = 3", "tea = []"))
        assert shop.fault(fixer, "shop#tea").plan is None


class TestCommand:
    """``auto-fix fix``."""

    @pytest.fixture
    def run(self, shop: Shop, monkeypatch: pytest.MonkeyPatch) -> Callable[..., Result]:
        """Run it for the shop."""
        monkeypatch.setenv("ENV_FILE", os.devnull)
        monkeypatch.setenv("AUTO_FIX_HOME", str(shop.world.settings.home))
        monkeypatch.setenv("AUTO_FIX_LOCK", str(shop.world.settings.lock))
        monkeypatch.setenv("AUTO_FIX_MANIFEST", str(shop.manifest))

        def command(*options: str) -> Result:
            return CliRunner().invoke(auto_fix, ["fix", "configuration:shop", *options])

        return command

    def test_shown_made_and_taken_back(self, shop: Shop, run: Callable[..., Result]) -> None:
        """It is shown first, made with --yes, and ended with --confirm or --undo."""
        shown = run()
        assert shown.exit_code == 1, shown.output
        assert "\n".join(STEPS) in shown.stdout
        assert shop.file.read_text() == SLIP
        made = run("--yes", "--json")
        body = json.loads(made.stdout)
        assert (made.exit_code, body["healed"], body["steps"]) == (0, True, list(STEPS))
        assert shop.file.read_text() == GOOD
        assert json.loads(run("--undo", "--json").stdout)["outcome"] == "taken_back"
        assert shop.file.read_text() == SLIP
        assert run("--yes").exit_code == 0
        assert "kept" in run("--confirm").stdout
        assert shop.file.read_text() == GOOD
        ended = run("--confirm", "--json")
        assert ended.exit_code == 2
        assert json.loads(ended.stdout)["error"]["code"] == "nothing_to_confirm"


class TestHttp:
    """``POST /api/auto-fix/fix``."""

    def test_made_and_confirmed(self, shop: Shop, build: Build) -> None:
        """With the plan's digest, by the bearer of a token; the same one ends it."""
        tokens = (("alice", "alices-token"), ("bob", "bobs-token"))
        app = build(tokens=tokens, AUTO_FIXER=AutoFixer(shop.settings()))
        client = app.test_client()

        def post(who: str, **body: object) -> TestResponse:
            named = {"kind": "configuration", "subject": "shop", **body}
            headers = {"Authorization": f"Bearer {who}s-token"} if who else {}
            return client.post("/api/auto-fix/fix", json=named, headers=headers)

        app.extensions["auto_fixer"].prepare()
        authorized = {"Authorization": "Bearer alices-token"}
        faults = client.get("/api/auto-fix/status", headers=authorized).get_json()["faults"]
        (fault,) = [fault for fault in faults if fault["kind"] == "configuration"]
        digest = fault["plan"]["digest"]
        assert fault["plan"]["steps"] == list(STEPS)
        assert_problem(post("alice"), 409, CORRECTABLE)
        assert_problem(post("alice", plan="another"), 409, "plan_changed")
        assert_problem(post("", plan=digest), 401, "token_required")
        assert_problem(post("alice", confirm="yes"), 400, "fault_required")
        assert_problem(post("alice", confirm=True), 404, "nothing_to_confirm")
        assert shop.file.read_text() == SLIP
        made = post("alice", plan=digest)
        assert (made.status_code, made.get_json()["outcome"]) == (200, "healed")
        assert shop.file.read_text() == GOOD
        assert_problem(post("", confirm=True), 401, "token_required")
        assert_problem(post("bob", confirm=False), 403, "other_caller")
        ended = post("alice", confirm=False).get_json()
        assert ended == {"kind": "configuration", "subject": "shop", "outcome": "taken_back"}
        assert shop.file.read_text() == SLIP

    def test_an_edge_function(self, world: World, build: Build) -> None:
        """An entry of a file of the service's own is put back in the same way."""
        path = world.root / "functions.toml"
        orders = '[[function]]\nname = "orders"\nurl = "https://orders.example.com"\n'
        stock = '\n# Theirs.\n[[function]]\nname = "stock"\nurl = "https://stock.example.com"\n'
        orders += '[function.headers]\nX-Shop = "1"\n'
        path.write_text(orders + stock)
        app = build(token=TOKEN, edge_file=path)
        fixer = app.extensions["auto_fixer"]
        fixer.prepare()
        path.write_text(orders.replace("https", "gopher") + stock)
        wait_until(fixer.adopt)
        (fault,) = [fault for fault in fixer.faults() if fault.kind == "configuration"]
        body = {"kind": fault.kind, "subject": fault.subject, "plan": digest_of(fault)}
        made = app.test_client().post("/api/auto-fix/fix", json=body, headers=BEARER)
        assert (made.status_code, path.read_text()) == (200, orders + stock)


class TestServed:
    """A service, killed and started again."""

    def test_the_deadline_survives_kill_9(self, shop: Shop, tmp_path: Path) -> None:
        """Who is killed after a correction has it taken back by the next process."""
        home = shop.world.settings.home
        environ = {
            "AUTO_FIX_HOME": str(home),
            "AUTO_FIX_MANIFEST": str(shop.manifest),
            "AUTO_FIX_TOKEN": TOKEN,
            "AUTO_FIX_CONFIRM_SECONDS": "3600",
        }
        json_body = {**BEARER, "Content-Type": "application/json"}
        with serve(tmp_path / "first.log", environ) as server:
            found = http_request(f"{server.url}/api/auto-fix/status", headers=BEARER).text
            (fault,) = (f for f in json.loads(found)["faults"] if f["kind"] == "configuration")
            body = {"kind": fault["kind"], "subject": "shop", "plan": fault["plan"]["digest"]}
            made = http_request(
                f"{server.url}/api/auto-fix/fix",
                method="POST",
                headers=json_body,
                body=json.dumps(body).encode(),
            )
            assert (made.status, shop.file.read_text()) == (200, GOOD)
            os.killpg(server.process.pid, signal.SIGKILL)
        # As if the hour had passed since.
        path = home / DIRECTORY / "shop"
        line, _, before = path.read_bytes().partition(b"\n")
        record = json.loads(line)
        record = {**record, **{name: record[name] - 3600 for name in ("at", "until", "healthy_at")}}
        path.write_bytes(json.dumps(record).encode() + b"\n" + before)
        with serve(tmp_path / "second.log", environ):
            wait_until(lambda: shop.file.read_text() == SLIP, timeout=60)
