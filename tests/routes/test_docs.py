"""The page for people: complete, readable without scripts, and within a strict policy."""

from __future__ import annotations

import re
from collections import Counter
from dataclasses import replace
from html.parser import HTMLParser
from typing import Any

import pytest
from flask import Flask

from tests.routes.codes import described
from tests.support.blueprints import BLUEPRINTS
from tests.support.browser import CHROMIUM, Browser, browser
from tests.support.http import Build
from tests.support.processes import Server, serve, wait_until

POLICY = {"default-src": "'none'", "style-src": "'self'", "img-src": "'self'"}
needs_chromium = pytest.mark.skipif(CHROMIUM is None, reason="chromium is not installed")


class Reader(HTMLParser):
    """What of a page has to be looked at."""

    def __init__(self, page: str) -> None:
        super().__init__()
        self.tags: Counter[str] = Counter()
        self.ids: list[str] = []
        self.links: list[str] = []
        self.headings: list[int] = []
        self.attributes: set[str] = set()
        self.feed(page)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        """Take note of a tag."""
        given = dict(attrs)
        self.tags[tag] += 1
        self.attributes |= set(given)
        if "id" in given:
            self.ids.append(given["id"] or "")
        if "href" in given:
            self.links.append(given["href"] or "")
        if re.fullmatch("h[1-6]", tag):
            self.headings.append(int(tag[1]))


@pytest.fixture
def page(app: Flask) -> str:
    """The page as it is sent."""
    return app.test_client().get("/api/docs").text


@pytest.fixture
def reader(page: str) -> Reader:
    """The page, read."""
    return Reader(page)


class TestPage:
    """The page as text."""

    def test_nothing_runs_and_nothing_is_styled_in_place(self, reader: Reader) -> None:
        """There is no script, no style and no handler in the page."""
        assert not {"script", "style", "iframe", "form"} & set(reader.tags)
        assert not [a for a in reader.attributes if a == "style" or a.startswith("on")]

    def test_its_policy_allows_style_and_images_alone(self, app: Flask) -> None:
        """The policy that a browser gets refuses everything but its own style sheets and icon."""
        policy = app.test_client().get("/api/docs").headers["Content-Security-Policy"]
        rules = dict(rule.strip().split(" ", 1) for rule in policy.split(";"))
        assert POLICY.items() <= rules.items()
        assert "unsafe" not in policy

    def test_every_operation_is_told(self, page: str, document: dict[str, Any]) -> None:
        """Every described operation that says something of its own has its place."""
        named = [
            operation["operationId"]
            for item in document["paths"].values()
            for method, operation in item.items()
            if method not in {"head", "options"}
        ]
        assert [name for name in named if f'<article id="{name}"' not in page] == []

    def test_every_code_is_told(self, page: str, document: dict[str, Any]) -> None:
        """Every problem code of the document is on the page."""
        found = described(document)
        assert [code for code in found if f"<code>{code}</code>" not in page] == []

    def test_links_within_lead_somewhere(self, reader: Reader) -> None:
        """Every link to a place of the page has that place, and no place is there twice."""
        within = {link[1:] for link in reader.links if link.startswith("#")}
        assert within - set(reader.ids) == set()
        assert [name for name, times in Counter(reader.ids).items() if times > 1] == []

    def test_links_stay_here(self, reader: Reader) -> None:
        """Every other link is a path of this service."""
        assert all(re.match(r"[#/](?!/)", link) for link in reader.links)

    def test_it_can_be_read_aloud(self, reader: Reader) -> None:
        """One main part, named contents, and no heading that skips a level."""
        assert (reader.tags["main"], reader.tags["nav"], reader.headings.count(1)) == (1, 1, 1)
        steps = zip(reader.headings, reader.headings[1:], strict=False)
        assert [(a, b) for a, b in steps if b > a + 1] == []

    def test_examples_call_the_reader_s_own_address(self, app: Flask) -> None:
        """They are sent where the page came from; what is no plain address is not repeated."""
        client = app.test_client()
        own = client.get("/api/docs", base_url="https://shop.example.org:8443").text
        assert "curl -i &#39;https://shop.example.org:8443/livez&#39;" in own
        assert "orchestrator.invalid" not in own
        bad = client.get("/api/docs", headers={"Host": "x';rm -rf /;'<script>"}).text
        assert "rm -rf" not in bad
        assert "<script" not in bad

    def test_a_part_in_quarantine_is_marked(self, build: Build) -> None:
        """At the top, in the contents and at its heading; the others are not."""
        manifest = [
            replace(spec, module="app.routes.absent") if spec.name == "metrics" else spec
            for spec in BLUEPRINTS
        ]
        page = build(BLUEPRINTS=manifest).test_client().get("/api/docs").text
        assert page.count("first_party_missing</code>") >= 2
        contents = page[page.index("<nav") : page.index("</nav>")]
        assert contents.count("down") == 1
        assert contents.index(">Metrics<") < contents.index("down") < contents.index(">Landing")

    def test_who_has_it_gets_304(self, app: Flask) -> None:
        """Its ETag comes back as 304 without a body."""
        client = app.test_client()
        tag = client.get("/api/docs").headers["ETag"]
        again = client.get("/api/docs", headers={"If-None-Match": tag})
        assert (again.status_code, again.data) == (304, b"")


@pytest.fixture(scope="module")
def served(tmp_path_factory: pytest.TempPathFactory) -> Any:  # noqa: ANN401
    """A real server."""
    directory = tmp_path_factory.mktemp("served")
    settings = {"AUTO_FIX_HOME": str(directory / "home"), "AUTO_FIX_MODE": "report"}
    with serve(directory / "log", {**settings, "WEB_CONCURRENCY": "1"}) as server:
        yield server


@pytest.fixture(scope="module")
def chromium(tmp_path_factory: pytest.TempPathFactory) -> Any:  # noqa: ANN401
    """A real browser."""
    with browser(tmp_path_factory.mktemp("browser")) as running:
        yield running


def _opened(chromium: Browser, url: str) -> dict[str, int | None]:
    """Open a page; what it asked for, each with its status once all have one."""
    chromium.complaints.clear()
    chromium.open(url)

    def complete() -> bool:
        chromium.evaluate("1")
        return None not in chromium.requests.values()

    wait_until(complete)
    return dict(chromium.requests)


@needs_chromium
class TestBrowser:
    """The pages in a real browser."""

    @pytest.mark.parametrize("path", ["/api/docs", "/"])
    def test_all_that_it_loads_is_ours(self, served: Server, chromium: Browser, path: str) -> None:
        """Every request goes to the same origin and is answered 200, and none is refused."""
        asked = _opened(chromium, served.url + path)
        assert {url for url in asked if not url.startswith(f"{served.url}/")} == set()
        assert set(asked.values()) == {200}
        assert f"{served.url}/static/style.css" in asked
        assert chromium.complaints == []

    def test_the_policy_is_in_force(self, served: Server, chromium: Browser) -> None:
        """What the page does not have itself cannot be put into it: the browser refuses it."""
        _opened(chromium, f"{served.url}/api/docs")
        chromium.evaluate(
            "document.body.append(Object.assign(document.createElement('script'),"
            " {textContent: 'window.ran = true'}))"
        )
        assert chromium.evaluate("window.ran") is None
        assert any("Content Security Policy" in said for said in chromium.complaints)

    @pytest.mark.parametrize("name", ["fix", "schema-HealthReport", "problems"])
    def test_anchors_lead_there(self, served: Server, chromium: Browser, name: str) -> None:
        """An address with an anchor shows that part of the page at the top of the window."""
        chromium.resize(1280, 800)
        _opened(chromium, f"{served.url}/api/docs")
        chromium.evaluate(f"document.querySelector('a[href=\"#{name}\"]').click()")
        place = f"document.getElementById('{name}').getBoundingClientRect().top"
        assert 0 <= wait_until(lambda: chromium.evaluate(place)) < 100

    @pytest.mark.parametrize("pixels", [320, 360, 390])
    @pytest.mark.parametrize("path", ["/api/docs", "/"])
    def test_it_fits_a_phone(
        self, served: Server, chromium: Browser, path: str, pixels: int
    ) -> None:
        """On a phone nothing has to be scrolled sideways, with every detail opened."""
        chromium.resize(pixels, 844)
        _opened(chromium, served.url + path)
        chromium.evaluate("document.querySelectorAll('details').forEach(d => d.open = true)")
        width = chromium.evaluate("document.documentElement.scrollWidth")
        assert width == chromium.evaluate("innerWidth") == pixels

    def test_light_and_dark(self, served: Server, chromium: Browser) -> None:
        """The page follows what the reader prefers, readable in both (WCAG 2.2, 4.5 to 1)."""
        _opened(chromium, f"{served.url}/api/docs")
        for scheme in ("light", "dark"):
            chromium.prefer(scheme)
            assert chromium.evaluate(LOWEST_CONTRAST) >= 4.5


#: The lowest contrast of any text of the page against what is behind it, by WCAG's formula.
LOWEST_CONTRAST = """(() => {
  const numbers = colour => colour.match(/[\\d.]+/g).map(Number);
  const light = colour => numbers(colour).slice(0, 3).map(c => c / 255)
    .map(c => c <= 0.04045 ? c / 12.92 : ((c + 0.055) / 1.055) ** 2.4)
    .reduce((sum, c, i) => sum + c * [0.2126, 0.7152, 0.0722][i], 0);
  const behind = element => {
    for (; element; element = element.parentElement) {
      const colour = getComputedStyle(element).backgroundColor;
      if (numbers(colour)[3] !== 0) return colour;
    }
    return 'rgb(255, 255, 255)';
  };
  const texts = [...document.querySelectorAll('body *')].filter(element =>
    [...element.childNodes].some(node => node.nodeType === 3 && node.data.trim()));
  return Math.min(...texts.map(element => {
    const [a, b] = [light(getComputedStyle(element).color), light(behind(element))];
    return (Math.max(a, b) + 0.05) / (Math.min(a, b) + 0.05);
  }));
})()"""
