"""The flows of an operator in a real browser, with scripts and without."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
from playwright.sync_api import ConsoleMessage, Page, Request, expect

from tests.isolation.shop import Shop
from tests.pages.conftest import sign_in
from tests.support.npm import installed
from tests.support.processes import ROOT, Server

PAGES = (
    "/",
    "/auto-fix/fault?kind=dependency&subject=healable",
    "/auto-fix/kinds/dependency",
    "/auto-fix/blueprints",
    "/auto-fix/workers",
    "/auto-fix/edge-functions",
    "/auto-fix/history",
    "/auto-fix/settings",
    "/auto-fix/layers",
    "/auto-fix/sign-in",
)
#: Bytes that a first visit may transfer.
FIRST_VISIT = 60_000


def _mend(shop: Shop) -> None:
    shop.world.index.faults.clear()


def test_a_fix_by_the_button(shop: Shop, server: Server, page: Page) -> None:
    """The sentence, the plan, the button, and the part is live."""
    sign_in(page, server.url)
    expect(page.get_by_role("heading", level=1)).to_contain_text("tools is down since")
    page.get_by_role("link", name="Show the fix").click()
    expect(page.get_by_text("healable==1.0")).to_be_visible()
    _mend(shop)
    page.get_by_role("button", name="Carry out this plan").click()
    expect(page.get_by_text("The fix has begun.")).to_be_visible()
    # Without scripts a person asks again.
    for _ in range(30):
        if page.get_by_text("nothing is wrong with it now").count():
            break
        page.wait_for_timeout(500)
        page.reload()
    expect(page.get_by_role("heading", level=1)).to_contain_text("nothing is wrong with it now")
    page.goto(f"{server.url}/?after")
    expect(page.get_by_text("requirements-flask.txt")).to_be_visible()


def test_a_page_follows_what_happens(shop: Shop, server: Server, scripted: Page) -> None:
    """Nobody reloads it: a heal is seen as it runs, and then that nothing is wrong."""
    sign_in(scripted, server.url)
    shop.world.index.hold()
    _mend(shop)
    scripted.goto(server.url + PAGES[1])
    expect(scripted.locator("[aria-current=step]")).to_have_text("stage")
    expect(scripted.get_by_text("healable==1.0")).to_be_visible()
    shop.world.index.release()
    expect(scripted.get_by_role("heading", level=1)).to_contain_text("nothing is wrong")


def test_check_again_and_ignore(server: Server, page: Page) -> None:
    """A fault stays open while its check fails; ignored, it stands apart with its reason."""
    sign_in(page, server.url)
    page.goto(server.url + PAGES[1])
    page.get_by_role("button", name="Check again").click()
    expect(page.get_by_text("it is still at fault")).to_be_visible()
    page.get_by_text("Ignore it for a while").click()
    page.get_by_label("Reason").fill("known since noon")
    page.get_by_label("Until").select_option("day")
    page.get_by_role("button", name="Ignore", exact=True).click()
    expect(page.get_by_text("It is ignored for now.")).to_be_visible()
    page.goto(f"{server.url}/?after")
    expect(page.get_by_text("known since noon")).to_be_visible()


def test_a_stopped_service(shop: Shop, scripted: Page) -> None:
    """An open tab says since when it hears nothing."""
    with shop.serve() as server:
        scripted.goto(server.url)
        expect(scripted.get_by_role("heading", level=1)).to_contain_text("Serving")
    expect(scripted.get_by_text("Nothing heard from the service since")).to_be_visible()


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_everybody_can_use_it(
    server: Server, scripted: Page, axe: Callable[[Page], list[str]], scheme: str
) -> None:
    """WCAG 2.2 AA on every page, in both schemes, and no page is wider than a phone."""
    sign_in(scripted, server.url)
    scripted.emulate_media(color_scheme=scheme)  # type: ignore[arg-type]
    scripted.set_viewport_size({"width": 360, "height": 800})
    for path in PAGES:
        scripted.goto(server.url + path)
        assert axe(scripted) == [], path
        assert scripted.evaluate("document.documentElement.scrollWidth") <= 360, path


def test_a_first_visit(server: Server, scripted: Page) -> None:
    """It asks this origin alone, breaks no rule of its own, and fits into 60 kB."""
    sizes: dict[str, int] = {}
    complaints: list[str] = []

    def finished(request: Request) -> None:
        found = request.sizes()
        sizes[request.url] = found["responseBodySize"] + found["responseHeadersSize"]

    def complained(message: ConsoleMessage) -> None:
        complaints.append(message.text)

    scripted.on("requestfinished", finished)
    scripted.on("console", complained)
    scripted.goto(server.url, wait_until="networkidle")
    assert all(url.startswith(server.url) for url in sizes)
    assert len(sizes) >= 4
    assert sum(sizes.values()) <= FIRST_VISIT, sizes
    assert complaints == []


def test_keyboard_alone(server: Server, scripted: Page) -> None:
    """The first stop leads to the content, and every stop can be seen."""
    scripted.goto(server.url)
    scripted.keyboard.press("Tab")
    expect(scripted.get_by_text("Skip to the content")).to_be_focused()
    scripted.keyboard.press("Enter")
    assert scripted.evaluate("document.activeElement.id") == "content"


def test_what_is_vendored() -> None:
    """The script of others is, byte for byte, the one that npm's lock names."""
    vendored = (ROOT / "app" / "static" / "htmx.min.js").read_bytes()
    assert vendored == Path(installed("htmx.org/dist/htmx.min.js")).read_bytes()
