"""Pages that were made: kept within bounds, however many are asked for."""

from __future__ import annotations

import pytest

from app.pages import cache


def test_bounded_in_bytes(monkeypatch: pytest.MonkeyPatch) -> None:
    """Those that were made longest ago go first; the newest stays, however large."""
    monkeypatch.setattr(cache, "MOST", 250)
    pages = cache.PageCache()
    made: list[str] = []

    def make(key: str, size: int = 100) -> None:
        def page() -> str:
            made.append(key)
            return "x" * size

        pages.get(key, page)

    for key in ("a", "b", "c", "b", "c", "a", "c"):
        make(key)
    assert made == ["a", "b", "c", "a"]
    make("large", 1000)
    make("large", 1000)
    make("c")
    assert made == ["a", "b", "c", "a", "large", "c"]
