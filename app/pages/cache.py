"""Pages as they were last made: most readers of a page are tabs that ask again."""

from __future__ import annotations

import threading
import time
from collections import OrderedDict
from collections.abc import Callable, Hashable
from dataclasses import dataclass

from app.web.answers import tag_of

#: Seconds for which a page counts as up to date.
FRESH = 1.0
#: Bytes of pages that are kept: anybody can ask for any number of addresses. What was made longest
#: ago goes first.
MOST = 8 << 20


@dataclass(frozen=True, slots=True)
class Made:
    """The bytes of a page, and the tag that changes with them."""

    content: bytes
    tag: str
    at: float


class PageCache:
    """The pages of one process; safe to use from any thread.

    Args:
        clock: seconds that never go back.
    """

    def __init__(self, *, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._lock = threading.Lock()
        self._pages: OrderedDict[Hashable, Made] = OrderedDict()
        self._size = 0

    def get(self, key: Hashable, make: Callable[[], str]) -> Made:
        """A page that is at most a second old, made anew otherwise."""
        known = self._pages.get(key)
        if known is not None and self._clock() - known.at < FRESH:
            return known
        content = make().encode(errors="replace")
        made = Made(content, tag_of(content), self._clock())
        with self._lock:
            old = self._pages.pop(key, None)
            self._pages[key] = made
            self._size += len(content) - (len(old.content) if old else 0)
            while self._size > MOST and len(self._pages) > 1:
                self._size -= len(self._pages.popitem(last=False)[1].content)
        return made
