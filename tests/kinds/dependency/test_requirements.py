"""What may be called a module, and how distributions are spelt."""

from __future__ import annotations

import pytest
from packaging.utils import canonicalize_name

from app.kinds.dependency.requirements import (
    MAX_MODULE_NAME,
    check_module_name,
    normalize,
    requirement_name,
    top_level,
)
from app.settings.errors import InvalidModuleName


class TestNames:
    """Module names and distribution names."""

    @pytest.mark.parametrize("name", ["a", "_a", "a.b_2.C", "a" * MAX_MODULE_NAME])
    def test_valid(self, name: str) -> None:
        """A dotted name of identifiers is returned as it is."""
        assert check_module_name(name) == name

    @pytest.mark.parametrize(
        "name",
        [
            "",
            ".",
            ".a",
            "a.",
            "a..b",
            "a-b",
            "a b",
            "1a",
            "a\n",
            "a\0",
            "a/b",
            "--help",
            "class",
            "a.import",
            "a.__main__",
            "b\u00e4r",
            "\u0430iohttp",
            "a" * (MAX_MODULE_NAME + 1),
        ],
    )
    def test_invalid(self, name: str) -> None:
        """Anything else is refused in one bounded line."""
        with pytest.raises(InvalidModuleName) as caught:
            check_module_name(name)
        assert caught.value.name == name
        assert str(caught.value).isprintable()
        assert len(str(caught.value)) < 200

    @pytest.mark.parametrize("name", ["Some_Name", "some.name", "SOME--name", "some-name"])
    def test_normalize(self, name: str) -> None:
        """Spellings of one distribution are one name, as ``packaging`` has it."""
        assert normalize(name) == canonicalize_name(name) == "some-name"

    @pytest.mark.parametrize(
        "requirement", ["aiohttp>=3.8.0", " aiohttp [speedups] ~= 3.8", "AioHTTP", "aiohttp; x"]
    )
    def test_requirement_name(self, requirement: str) -> None:
        """The distribution of a requirement is its normalized name."""
        assert requirement_name(requirement) == "aiohttp"

    def test_no_requirement(self) -> None:
        """What is no requirement has no name."""
        assert requirement_name("") == requirement_name("-e .") == ""

    def test_top_level(self) -> None:
        """The allow-list speaks of the first part of a name."""
        assert top_level("a.b.c") == top_level("a") == "a"
