"""Debian's Chromium without a window, driven through the DevTools protocol over a pipe."""

from __future__ import annotations

import base64
import contextlib
import itertools
import json
import os
import shutil
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

CHROMIUM = shutil.which("chromium")
#: A browser for one page on loopback: it starts nothing else, and finds nobody else.
SWITCHES = (
    "--headless",
    "--no-sandbox",
    "--disable-gpu",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-dev-shm-usage",
    "--no-first-run",
    "--host-resolver-rules=MAP * ~NOTFOUND, EXCLUDE 127.0.0.1",
    "--remote-debugging-pipe",
)


class BrowserError(Exception):
    """The browser refused a command, or ended."""


@dataclass
class Browser:
    """One page.

    ``requests`` are the URLs that the page now open asked for, to the status of the answer, None
    while there is none. A page that is left may never hear of what it asked for last, its icon for
    one. ``complaints`` is what the console says, refusals by policy included.
    """

    commands: int
    answers: int
    requests: dict[str, int | None] = field(default_factory=dict)
    complaints: list[str] = field(default_factory=list)
    _session: str | None = None
    _rest: bytes = b""
    _ids: Iterator[int] = field(default_factory=itertools.count)
    _loaded: bool = False
    _page: str = ""

    def attach(self) -> None:
        """Open the page and begin to watch it."""
        target = self.call("Target.createTarget", url="about:blank")["targetId"]
        attached = self.call("Target.attachToTarget", targetId=target, flatten=True)
        self._session = attached["sessionId"]
        for domain in ("Page", "Network", "Log", "Runtime"):
            self.call(f"{domain}.enable")
        self.call("Network.setCacheDisabled", cacheDisabled=True)

    def open(self, url: str) -> None:
        """Load a page whole, with all that it asks for."""
        self._loaded = False
        self.call("Page.navigate", url=url)
        while not self._loaded:
            self._take()

    def evaluate(self, expression: str) -> Any:  # noqa: ANN401 - a JSON document
        """What an expression of JavaScript gives; the tools may run some where the page may not."""
        given = self.call("Runtime.evaluate", expression=expression, returnByValue=True)
        if "exceptionDetails" in given:
            raise BrowserError(str(given["exceptionDetails"]))
        return given["result"].get("value")

    def resize(self, width: int, height: int) -> None:
        """Give the page a window of so many CSS pixels."""
        self.call(
            "Emulation.setDeviceMetricsOverride",
            width=width, height=height, deviceScaleFactor=1, mobile=width < height,
        )  # fmt: skip

    def prefer(self, scheme: str) -> None:
        """Prefer ``light`` or ``dark``."""
        features = [{"name": "prefers-color-scheme", "value": scheme}]
        self.call("Emulation.setEmulatedMedia", features=features)

    def picture(self, path: Path) -> None:
        """Write what is to be seen as PNG."""
        path.write_bytes(base64.b64decode(self.call("Page.captureScreenshot")["data"]))

    def call(self, method: str, **parameters: object) -> dict[str, Any]:
        """Send a command and take its answer.

        Raises:
            BrowserError: when it is refused.
        """
        number = next(self._ids)
        session = {"sessionId": self._session} if self._session else {}
        message = {"id": number, "method": method, "params": parameters, **session}
        os.write(self.commands, json.dumps(message).encode() + b"\0")
        while (answer := self._take()).get("id") != number:
            pass
        if "error" in answer:
            raise BrowserError(f"{method}: {answer['error']}")
        result: dict[str, Any] = answer["result"]
        return result

    def _take(self) -> dict[str, Any]:
        while b"\0" not in self._rest:
            chunk = os.read(self.answers, 65536)
            if not chunk:
                raise BrowserError("it ended")
            self._rest += chunk
        line, _, self._rest = self._rest.partition(b"\0")
        message: dict[str, Any] = json.loads(line)
        self._note(message.get("method", ""), message.get("params", {}))
        return message

    def _note(self, event: str, told: dict[str, Any]) -> None:
        if event == "Network.requestWillBeSent":
            if told["requestId"] == told["loaderId"]:
                # The document itself: a new page.
                self._page = told["loaderId"]
                self.requests.clear()
            if told["loaderId"] == self._page:
                self.requests.setdefault(told["request"]["url"], None)
        elif event == "Network.responseReceived" and told["loaderId"] == self._page:
            self.requests[told["response"]["url"]] = told["response"]["status"]
        elif event == "Log.entryAdded":
            self.complaints.append(told["entry"]["text"])
        elif event == "Runtime.consoleAPICalled":
            self.complaints.append(str(told["args"]))
        elif event == "Page.loadEventFired":
            self._loaded = True


@contextlib.contextmanager
def browser(directory: Path) -> Iterator[Browser]:
    """A browser with a profile of its own below ``directory``, closed at the end."""
    commands_out, commands = os.pipe()
    answers, answers_in = os.pipe()
    # The browser reads from descriptor 3 and writes to 4.
    launcher = 'exec 3<&"$0" 4>&"$1"; shift; exec "$@"'
    program = [str(CHROMIUM), *SWITCHES, f"--user-data-dir={directory / 'profile'}", "about:blank"]
    ends = [str(commands_out), str(answers_in)]
    process = subprocess.Popen(
        ["/bin/bash", "-c", launcher, *ends, *program],
        pass_fds=[commands_out, answers_in],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        env={**os.environ, "HOME": str(directory)},
    )
    for end in (commands_out, answers_in):
        os.close(end)
    try:
        page = Browser(commands, answers)
        page.attach()
        yield page
        with contextlib.suppress(BrowserError, OSError):
            page._session = None
            page.call("Browser.close")
    finally:
        for end in (commands, answers):
            os.close(end)
        process.terminate()
        process.wait(20)
