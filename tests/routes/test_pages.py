"""The pages beside the first screen: read by anybody, changed by a session alone."""

from __future__ import annotations

import re
from dataclasses import replace
from html import unescape
from typing import TYPE_CHECKING

import pytest

from app.access.permissions import caller_name
from app.healing.engine import LONG_AGO
from app.healing.locks import exclusive
from app.routes.main import LISTED
from tests.kinds.configuration.test_correcting import GOOD, SLIP, STEPS, Shop
from tests.routes.test_main import heading
from tests.support.blueprints import BLUEPRINTS
from tests.support.http import BEARER, TOKEN, assert_problem
from tests.support.index import Fault
from tests.support.processes import wait_until

if TYPE_CHECKING:
    from flask.testing import FlaskClient
    from werkzeug.test import TestResponse

    from app.utils.auto_fix import AutoFixer
    from tests.conftest import World
    from tests.support.http import Build

LISTS = ("blueprints", "workers", "edge-functions", "history", "settings", "layers")
FAULT = "/auto-fix/fault?kind=dependency&subject="


@pytest.fixture
def fixer(world: World) -> AutoFixer:
    """An engine that could heal a package, and has not."""
    world.publish("healable")
    return world.fixer(required=("healable",))


@pytest.fixture
def operator(build: Build, fixer: AutoFixer) -> FlaskClient:
    """A browser with a session."""
    client = build(AUTO_FIXER=fixer, token=TOKEN).test_client()
    assert sign_in(client, TOKEN).status_code == 303
    return client


def sign_in(client: FlaskClient, token: str) -> TestResponse:
    """Send the form that begins a session."""
    return client.post("/auto-fix/sign-in", data={"token": token})


def forms(text: str) -> dict[str, str]:
    """The hidden members of a page's forms."""
    found = re.findall(r'<input type="hidden" name="(\w+)" value="([^"]*)"', text)
    return {name: unescape(value) for name, value in found}


def act(client: FlaskClient, action: str, **changed: str) -> TestResponse:
    """Send a form of the fault's page."""
    page = client.get(f"{FAULT}healable").text
    return client.post("/auto-fix/fault", data={**forms(page), "action": action, **changed})


class TestReading:
    """Anybody may look."""

    @pytest.mark.parametrize("name", LISTS)
    def test_each_is_there(self, client: FlaskClient, name: str) -> None:
        """It has a heading, and marks itself in the navigation."""
        response = client.get(f"/auto-fix/{name}")
        assert response.status_code == 200
        assert heading(response.text)
        assert f'href="/auto-fix/{name}" aria-current="page"' in response.text

    def test_every_kind_has_one(self, operator: FlaskClient, fixer: AutoFixer) -> None:
        """It is made of what the kind tells, whatever the kind is."""
        for name in fixer.kinds:
            assert operator.get(f"/auto-fix/kinds/{name}").status_code == 200
        assert operator.get("/auto-fix/kinds/none").status_code == 404

    def test_no_values(self, build: Build, monkeypatch: pytest.MonkeyPatch) -> None:
        """The page of settings names them and where they come from, and shows no value."""
        monkeypatch.setenv("LOG_LEVEL", "INFO")
        text = build().test_client().get("/auto-fix/settings").text
        row = next(row for row in text.split("<tr>") if ">LOG_LEVEL<" in row)
        assert "environment" in row
        assert "<bdi>INFO</bdi>" not in row.replace("<code><bdi>INFO</bdi></code>", "", 1)

    def test_what_workers_run(self, build: Build) -> None:
        """Each worker is shown with the requests that it has under way."""
        app = build()
        app.extensions["services"].workers.write({"mode": "heal", "requests": 317})
        assert "<bdi>317</bdi>" in app.test_client().get("/auto-fix/workers").text

    def test_history(self, operator: FlaskClient, fixer: AutoFixer) -> None:
        """It lists attempts, those that were asked for, and draws them."""
        assert fixer.safe_import("healable")[0]
        text = operator.get("/auto-fix/history?outcome=healed").text
        assert "<svg" in text
        assert "1 healed, 0 not" in text
        assert "None was made." in operator.get("/auto-fix/history?outcome=network").text

    def test_a_closed_fault(self, operator: FlaskClient) -> None:
        """An old tab's address says that nothing is wrong any more."""
        assert "nothing is wrong with it now" in heading(operator.get(f"{FAULT}other").text)
        assert operator.get("/auto-fix/fault?kind=no&subject=x").status_code == 404
        assert operator.get(FAULT).status_code == 404
        marked = operator.get(f"{FAULT}%E2%80%AEx%1B[1m").text
        assert "\u202e" not in marked
        assert "\x1b" not in marked

    def test_below_a_prefix(self, client: FlaskClient) -> None:
        """Where a server serves the application below one, a page refreshes itself."""
        text = client.get("/auto-fix/history", base_url="http://localhost/below").text
        assert 'hx-get="/below/auto-fix/history"' in text
        assert 'href="/below/auto-fix/history" aria-current="page"' in text

    def test_strange_codes(
        self, build: Build, fixer: AutoFixer, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """What a kind says is text on every page, its codes too."""
        odd = '"><img src=x onerror=alert(1)>\u202e\x1b[31m'
        found = replace(fixer.fault("dependency", "healable"), cause=odd, advice=odd)
        monkeypatch.setattr(fixer.kinds["dependency"], "faults", lambda: [found])
        monkeypatch.setattr(fixer, "_recent", LONG_AGO)
        client = build(AUTO_FIXER=fixer).test_client()
        for address in ("/", f"{FAULT}healable", "/auto-fix/kinds/dependency"):
            text = client.get(address).text
            assert "onerror" in text
            for mark in ("<img", "\u202e", "\x1b"):
                assert mark not in text


class TestSession:
    """A form takes a token once."""

    def test_cookie(self, build: Build) -> None:
        """No script reads it, no other site sends it."""
        client = build(token=TOKEN).test_client()
        cookie = sign_in(client, TOKEN).headers["Set-Cookie"]
        assert {"HttpOnly", "SameSite=Strict", "Path=/"} <= set(cookie.split("; "))
        assert TOKEN not in cookie

    def test_a_wrong_token(self, build: Build) -> None:
        """It begins nothing, and whoever guesses is slowed down."""
        client = build(token=TOKEN).test_client()
        for _ in range(6):
            refused = sign_in(client, "wrong")
            assert (refused.status_code, "Set-Cookie" in refused.headers) == (403, False)
        assert "Too many wrong tokens" in sign_in(client, TOKEN).text

    def test_another_site_begins_none(self, build: Build) -> None:
        """Nobody is signed in by a form of another origin, with a token of its own."""
        client = build(token=TOKEN).test_client()
        headers = {"Origin": "https://evil.example.com"}
        refused = client.post("/auto-fix/sign-in", data={"token": TOKEN}, headers=headers)
        assert refused.headers["Location"].startswith("/auto-fix/sign-in")
        assert "Set-Cookie" not in refused.headers

    def test_without_the_first_screen(self, build: Build) -> None:
        """Whoever signs in is led to a page that there is."""
        others = [spec for spec in BLUEPRINTS if spec.name != "main"]
        client = build(token=TOKEN, BLUEPRINTS=others).test_client()
        where = sign_in(client, TOKEN).headers["Location"]
        assert "Signed in as" in client.get(where).text

    def test_without_a_token_all_is_read_only(self, build: Build, fixer: AutoFixer) -> None:
        """There is no form that changes anything, and none is taken."""
        client = build(AUTO_FIXER=fixer).test_client()
        text = client.get(f"{FAULT}healable").text
        assert "Read-only: no token is set." in text
        assert 'method="post"' not in text
        assert act(client, "fix").headers["Location"].startswith("/auto-fix/sign-in")
        assert fixer.fix_attempts == {}

    def test_it_ends(self, operator: FlaskClient) -> None:
        """Whoever signs out reads as anybody does, and so does who has a copy of the cookie."""
        page, cookie = operator.get("/").text, operator.get_cookie("auto_fix_session")
        assert cookie is not None
        assert "Signed in as" in page
        operator.post("/auto-fix/sign-out", data=forms(page))
        assert "Signed in as" not in operator.get("/").text
        operator.set_cookie("auto_fix_session", cookie.value)
        assert "Signed in as" not in operator.get("/").text


class TestChanging:
    """A session's own forms alone change something."""

    def test_the_plan_is_carried_out(self, operator: FlaskClient, fixer: AutoFixer) -> None:
        """The button heals what the page has shown, once, however often it is pressed."""
        page = operator.get(f"{FAULT}healable").text
        data = {**forms(page), "action": "fix"}
        done = [operator.post("/auto-fix/fault", data=data) for _ in range(3)]
        wait_until(lambda: fixer.fix_attempts == {"healable": 1}, timeout=30)
        wait_until(lambda: not fixer.under_way(), timeout=30)
        assert fixer.fix_attempts == {"healable": 1}
        assert "nothing is wrong with it now" in heading(
            operator.get(done[0].headers["Location"]).text
        )

    def test_who_asks_has_a_whole_budget(
        self, operator: FlaskClient, fixer: AutoFixer, world: World
    ) -> None:
        """What was tried in vain before does not stop a person."""
        world.index.faults["healable"] = Fault.SERVER_ERROR
        while fixer.budget("healable").allows:
            assert not fixer.safe_import("healable")[0]
        world.index.faults.clear()
        act(operator, "fix")
        wait_until(lambda: fixer.safe_import("healable")[0], timeout=30)

    def test_another_plan(self, operator: FlaskClient, fixer: AutoFixer) -> None:
        """Nothing is done when the plan has changed since the page was made."""
        assert "done=changed" in act(operator, "fix", plan="0" * 64).headers["Location"]
        assert fixer.fix_attempts == {}

    @pytest.mark.parametrize("token", ["", "0" * 64, "é"])
    def test_a_form_of_another_site(
        self, operator: FlaskClient, fixer: AutoFixer, token: str
    ) -> None:
        """It cannot know the session's form token."""
        refused = act(operator, "fix", form_token=token)
        assert refused.headers["Location"].startswith("/auto-fix/sign-in")
        assert fixer.fix_attempts == {}

    def test_another_origin(self, operator: FlaskClient) -> None:
        """A browser that says where the form is from has to name this origin."""
        page = operator.get(f"{FAULT}healable").text
        data = {**forms(page), "action": "check"}
        for origin in ("https://evil.example.com", "null"):
            refused = operator.post("/auto-fix/fault", data=data, headers={"Origin": origin})
            assert refused.headers["Location"].startswith("/auto-fix/sign-in")
        own = operator.post("/auto-fix/fault", data=data, headers={"Origin": "http://localhost"})
        assert "done=open" in own.headers["Location"]

    def test_a_host_with_an_international_name(self, operator: FlaskClient) -> None:
        """Its own origin is spelt as browsers spell it."""
        cookie = operator.get_cookie("auto_fix_session")
        assert cookie is not None
        data = {**forms(operator.get(f"{FAULT}healable").text), "action": "check"}
        own = "https://xn--bcher-kva.example.com"
        headers = {"Origin": own, "Cookie": f"auto_fix_session={cookie.value}"}
        bare = operator.application.test_client(use_cookies=False)
        done = bare.post("/auto-fix/fault", data=data, base_url=own, headers=headers)
        assert "done=open" in done.headers["Location"]

    def test_check_again(self, operator: FlaskClient, fixer: AutoFixer) -> None:
        """A fault is closed only when its check passes."""
        assert "done=open" in act(operator, "check").headers["Location"]
        fixer.safe_import("healable")
        assert (
            "done=closed"
            in act(operator, "check", kind="dependency", subject="healable").headers["Location"]
        )

    def test_ignoring(self, operator: FlaskClient) -> None:
        """An ignored fault stands apart, with whose choice it is and why, until it ends."""
        act(operator, "ignore", reason="known & planned", ends="day")
        text = operator.get("/?ignored").text
        assert 'class="fault"' not in text
        assert "by <bdi>default</bdi>: <bdi>known &amp; planned</bdi>" in text
        act(operator, "unignore")
        assert 'class="fault"' in operator.get("/?again").text

    @pytest.mark.parametrize(
        ("reason", "ends"), [("", "day"), ("  ", "day"), ("x", ""), ("x", "forever"), ("x", "-1")]
    )
    def test_ignoring_wants_a_reason_and_an_end(
        self, operator: FlaskClient, fixer: AutoFixer, reason: str, ends: str
    ) -> None:
        """Without one of them it is a bad request, and nothing is ignored."""
        assert act(operator, "ignore", reason=reason, ends=ends).status_code == 400
        assert fixer.ignored.current() == {}

    def test_an_action_that_there_is_not(self, operator: FlaskClient) -> None:
        """It is a bad request."""
        assert act(operator, "explode").status_code == 400


class TestConfirming:
    """A fix of an operator's file lasts only if it is confirmed."""

    @pytest.mark.parametrize(("action", "text"), [("keep", GOOD), ("undo", SLIP)])
    def test_on_a_page(self, world: World, build: Build, action: str, text: str) -> None:
        """The page shows the difference, makes it, and asks."""
        shop = Shop(world)
        fixer = shop.process()
        client = build(AUTO_FIXER=fixer, token=TOKEN, BLUEPRINTS=BLUEPRINTS).test_client()
        sign_in(client, TOKEN)
        address = "/auto-fix/fault?kind=configuration&subject=shop"
        page = client.get(address).text
        for step in STEPS:
            assert step in unescape(page)
        # What it does to the file outlives the home.
        assert "unless it is confirmed here" in page
        assert "AUTO_FIX_HOME" not in page
        client.post("/auto-fix/fault", data={**forms(page), "action": "fix"})
        wait_until(lambda: shop.file.read_text() == GOOD, timeout=30)
        wait_until(lambda: "Keep it" in client.get(f"{address}&after").text, timeout=10)
        asked = client.get(f"{address}&after").text
        client.post("/auto-fix/fault", data={**forms(asked), "action": action})
        assert shop.file.read_text() == text
        assert "Keep it" not in client.get(f"{address}&ended").text

    def test_while_another_process_ends_it(self, world: World, build: Build) -> None:
        """It can be asked for again."""
        shop = Shop(world)
        fixer = shop.process()
        client = build(AUTO_FIXER=fixer, token=TOKEN, BLUEPRINTS=BLUEPRINTS).test_client()
        plan = fixer.fault("configuration", "shop").plan
        assert plan is not None
        assert fixer.fix_fault("configuration", "shop", plan.digest, caller_name("default")).healed
        asked = {"kind": "configuration", "subject": "shop", "confirm": True}
        (lock,) = world.settings.home.glob("corrections/.*")
        with exclusive(lock):
            busy = client.post("/api/auto-fix/fix", json=asked, headers=BEARER)
        assert_problem(busy, 503, "busy")
        assert client.post("/api/auto-fix/fix", json=asked, headers=BEARER).status_code == 200


class TestHalfBroken:
    """A page says what is missing of it, and stays useful."""

    def test_without_the_other_pages(self, build: Build, fixer: AutoFixer) -> None:
        """The first screen serves while the pages' own blueprint is in quarantine."""
        absent = [
            replace(spec, module="app.routes.absent") if spec.name == "pages" else spec
            for spec in BLUEPRINTS
        ]
        text = build(AUTO_FIXER=fixer, BLUEPRINTS=absent).test_client().get("/").text
        assert "pages is down since" in heading(text)
        assert 'href="/auto-fix' not in text

    def test_without_the_journal(self, operator: FlaskClient, world: World) -> None:
        """What was tried is not known; what is wrong is."""
        (world.settings.home / "journal.sqlite3").unlink(missing_ok=True)
        (world.settings.home / "journal.sqlite3").mkdir()
        assert "healable" in heading(operator.get("/?without").text)
        for name in LISTS:
            assert operator.get(f"/auto-fix/{name}?without").status_code == 200

    def test_with_a_kind_that_makes_mistakes(
        self, build: Build, fixer: AutoFixer, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """The first screen and the pages of other kinds serve, and say nothing of the mistake."""
        client = build(AUTO_FIXER=fixer).test_client()

        def fail() -> None:
            raise RuntimeError("a mistake")

        monkeypatch.setattr(fixer.kinds["environment"], "faults", fail)
        monkeypatch.setattr(fixer, "_recent", LONG_AGO)
        for address in ("/", f"{FAULT}healable", "/auto-fix/kinds/dependency"):
            response = client.get(address)
            assert response.status_code == 200
            assert "a mistake" not in response.text

    def test_with_thousands_of_faults(
        self, build: Build, fixer: AutoFixer, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """The first screen lists the worst, and says how many more there are."""
        client = build(AUTO_FIXER=fixer).test_client()
        one = replace(fixer.fault("dependency", "healable"), needed_by=())
        many = [replace(one, subject=f"s{number}") for number in range(2000)]
        monkeypatch.setattr(fixer.kinds["dependency"], "faults", lambda: many)
        monkeypatch.setattr(fixer, "_recent", LONG_AGO)
        text = client.get("/").text
        assert text.count('class="fault"') == LISTED
        assert f"{2000 - LISTED} more are on the pages of their kinds." in text

    def test_without_kinds(self, build: Build, fixer: AutoFixer) -> None:
        """A kind that is not there has no page, and no other page misses it."""
        client = build(AUTO_FIXER=fixer).test_client()
        for name in [name for name in fixer.kinds if name != "dependency"]:
            del fixer.kinds[name]
            assert client.get(f"/auto-fix/kinds/{name}").status_code == 404
        assert client.get("/?fewer").status_code == 200
        assert client.get("/auto-fix/blueprints").status_code == 200
