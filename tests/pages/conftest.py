"""A shop with one part that serves and one that lacks a package, and a real browser."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from typing import TYPE_CHECKING

import pytest
from playwright.sync_api import Browser, BrowserContext, Page, expect, sync_playwright

from tests.conftest import World
from tests.isolation.shop import Shop
from tests.serving.house import status
from tests.support.index import Fault
from tests.support.npm import installed
from tests.support.processes import Server, wait_until

if TYPE_CHECKING:
    from collections.abc import Callable

TOKEN = "a-token-of-the-operator"  # noqa: S105 - a made-up one
NEEDY = """\
import healable
from flask import Blueprint

bp = Blueprint("tools", __name__)


@bp.get("")
def index():
    return healable.version
"""
#: Milliseconds that a page may take under load to show what it waits for.
PATIENCE = 30_000
expect.set_options(timeout=PATIENCE)


@pytest.fixture
def shop(world: World) -> Shop:
    """Two parts, one of which needs a package that the index refuses."""
    world.publish("healable")
    world.index.faults["healable"] = Fault.SERVER_ERROR
    made = Shop(world)
    made.code("apples")
    made.code("tools", NEEDY)
    own = "\n".join(
        f'[blueprint.{name}]\nimport = "app.routes.{name}:{name}_bp"\n{where}\n'
        for name, where in (("main", 'paths = ["/"]'), ("pages", 'prefix = "/auto-fix"'))
    )
    text = made.text("apples", "tools", packages='healable = "healable>=1.0"')
    made.manifest.write_text(text + own)
    return made


@pytest.fixture
def server(shop: Shop) -> Iterator[Server]:
    """It serves, and has tried to heal in vain."""
    with shop.serve(AUTO_FIX_TOKEN=TOKEN) as served:
        wait_until(lambda: status(served)["fix_attempts"].get("healable", 0) > 0, timeout=60)
        yield served


@pytest.fixture(scope="session")
def chromium() -> Iterator[Browser]:
    """Debian's Chromium without a window."""
    program = shutil.which("chromium")
    if program is None:
        pytest.skip("chromium is not installed")
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=program, args=["--no-sandbox"])
        yield browser
        browser.close()


@pytest.fixture(params=[True, False], ids=["scripts", "no scripts"])
def page(chromium: Browser, request: pytest.FixtureRequest) -> Iterator[Page]:
    """A page with scripts, and one without."""
    yield from _page(chromium.new_context(java_script_enabled=request.param))


@pytest.fixture
def scripted(chromium: Browser) -> Iterator[Page]:
    """A page with scripts, into which a test may put its own."""
    yield from _page(chromium.new_context(bypass_csp=True))


def _page(context: BrowserContext) -> Iterator[Page]:
    context.set_default_timeout(PATIENCE)
    yield context.new_page()
    context.close()


@pytest.fixture(scope="session")
def axe() -> Callable[[Page], list[str]]:
    """What axe finds on a page that WCAG 2.2 AA does not allow."""
    source = installed("axe-core/axe.min.js").read_text()
    tags = ["wcag2a", "wcag2aa", "wcag21a", "wcag21aa", "wcag22aa"]

    def examine(page: Page) -> list[str]:
        page.evaluate(source)
        found = page.evaluate("tags => axe.run(document, {runOnly: tags})", tags)
        return [f"{one['id']}: {one['nodes'][0]['html']}" for one in found["violations"]]

    return examine


def sign_in(page: Page, url: str) -> None:
    """Begin a session by the form."""
    page.goto(f"{url}/auto-fix/sign-in")
    page.get_by_label("Token").fill(TOKEN)
    page.get_by_role("button", name="Sign in").click()
    expect(page.get_by_text("Signed in as")).to_be_visible()
