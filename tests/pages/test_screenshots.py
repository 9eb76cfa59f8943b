"""The pictures of the documentation, made of the real pages (``make screenshots``)."""

from __future__ import annotations

import os
from pathlib import Path

from playwright.sync_api import Page, expect

from tests.isolation.shop import Shop
from tests.pages.conftest import sign_in
from tests.support.processes import Server

FAULT = "/auto-fix/fault?kind=dependency&subject=healable"


def test_pictures(shop: Shop, server: Server, scripted: Page, tmp_path: Path) -> None:
    """Each shows the state that it is named after."""
    directory = Path(os.environ.get("RECORD_SCREENSHOTS") or tmp_path)
    heading = scripted.get_by_role("heading", level=1)

    def picture(name: str) -> None:
        scripted.screenshot(path=directory / f"{name}.png", animations="disabled")

    scripted.set_viewport_size({"width": 1000, "height": 640})
    scripted.emulate_media(color_scheme="light")
    sign_in(scripted, server.url)
    expect(heading).to_contain_text("tools is down since")
    picture("degraded")
    scripted.emulate_media(color_scheme="dark")
    picture("dark")
    scripted.set_viewport_size({"width": 360, "height": 720})
    picture("phone")
    scripted.set_viewport_size({"width": 1000, "height": 640})
    scripted.emulate_media(color_scheme="light")
    shop.world.index.hold()
    shop.world.index.faults.clear()
    scripted.goto(server.url + FAULT)
    expect(scripted.locator("[aria-current=step]")).to_be_visible()
    picture("healing")
    shop.world.index.release()
    expect(heading).to_contain_text("nothing is wrong with it now")
    scripted.goto(server.url)
    expect(heading).to_contain_text("Nothing is wrong")
    picture("healthy")
    assert {path.stem for path in directory.glob("*.png")} >= {"degraded", "dark", "phone"}
