"""Environment markers: whether an entry of the lock is for this Python."""

from __future__ import annotations

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from packaging.markers import InvalidMarker, Marker, UndefinedComparison
from packaging.specifiers import SpecifierSet

from app.kinds.dependency.markers import MarkerError, environment, holds, version_key

VERSIONED = ("python_version", "python_full_version", "implementation_version")
WORDS = ("os_name", "sys_platform", "platform_machine", "platform_system", "implementation_name")
VERSION = st.lists(st.integers(0, 15), min_size=1, max_size=4).map(lambda n: ".".join(map(str, n)))
NEAR_VERSION = st.sampled_from(
    ["3", "3.1", "3.11", "3.12", "3.13", "3.11.0", "3.12.*", "3.*", "3.10.1"]
)
TEXT = st.sampled_from(
    ["linux", "posix", "win32", "Linux", "x86_64", "cpython", "lin", "", "linux posix", "3.11"]
)
ORDER = st.sampled_from(["==", "!=", "<", "<=", ">", ">=", "~=", "===", "in", "not in"])


def _pair(name: str, sign: str, value: str, *, swapped: bool) -> str:
    return f'"{value}" {sign} {name}' if swapped else f'{name} {sign} "{value}"'


VARIABLES = st.sampled_from(VERSIONED)
COMPARISONS = (
    st.builds(_pair, VARIABLES, ORDER, VERSION | NEAR_VERSION, swapped=st.just(value=False))
    | st.builds(_pair, VARIABLES, ORDER, VERSION, swapped=st.just(value=True))
    | st.builds(_pair, VARIABLES, ORDER, st.sampled_from(["banana", "", "3.11,3.12"]),
                swapped=st.just(value=False))
    | st.builds(_pair, st.sampled_from([*WORDS, "extra"]), ORDER, TEXT, swapped=st.booleans())
)  # fmt: skip
MARKERS = st.recursive(
    COMPARISONS,
    lambda parts: st.builds(
        lambda left, word, right, grouped: f"({left} {word} {right})" if grouped
        else f"{left} {word} {right}",
        parts,
        st.sampled_from(["and", "or"]),
        parts,
        st.booleans(),
    ),
    max_leaves=6,
)  # fmt: skip


class TestMarkers:
    """Environment markers, against the reference implementation."""

    @settings(max_examples=250, deadline=None)
    @given(MARKERS)
    @example('python_full_version >= "3.11" and platform_python_implementation != "PyPy"')
    @example("os_name == 'posix' or os_name == 'nt' and sys_platform == 'never'")
    @example('python_version in "3.10, 3.11"')
    @example('python_version not in "3.10"')
    @example('"linux" in sys_platform')
    @example('python_version ~= "3.8"')
    @example('python_version == "3.*"')
    @example('python_full_version == "3.11.0.0.*"')
    @example('extra == "speedups"')
    def test_against_packaging(self, marker: str) -> None:
        """A marker holds here exactly when ``packaging`` says so, or both refuse it."""
        assert _ours(marker) == _reference(marker)

    @pytest.mark.parametrize(
        ("full", "marker", "expected"),
        [
            ("3.9.18", 'python_full_version < "3.10"', True),
            ("3.10.0", 'python_full_version < "3.10"', False),
            ("3.10.1", 'python_full_version <= "3.10"', False),
            ("3.10.1", 'python_version <= "3.10"', True),
            ("3.13.0", 'python_version >= "3.9" and python_version < "3.13"', False),
        ],
    )
    def test_other_pythons(self, full: str, marker: str, expected: bool) -> None:  # noqa: FBT001
        """Versions are ordered by their numbers, not as texts."""
        short = full.rpartition(".")[0]
        variables = {**environment(), "python_full_version": full, "python_version": short}
        assert holds(marker, variables) is expected
        assert Marker(marker).evaluate(dict(variables)) is expected

    @pytest.mark.parametrize(
        "marker",
        [
            "",
            "and",
            "os_name",
            "os_name ==",
            "== 'a'",
            "os_name == posix",
            "os_name = 'posix'",
            "os_name == 'posix",
            "os_name == 'posix' and",
            "os_name == 'posix' os_name == 'posix'",
            "(os_name == 'posix'",
            "os_name == 'posix')",
            "not os_name == 'posix'",
            "os_name not 'posix'",
            "nothing == 'posix'",
            "os_name ~= 'posix'",
            "python_version ~= '3'",
            "__import__('os')",
            "(" * 100_000,
        ],
    )
    def test_no_marker(self, marker: str) -> None:
        """What is no marker is refused in one bounded line."""
        with pytest.raises(MarkerError) as caught:
            holds(marker)
        assert str(caught.value).isprintable()
        assert len(str(caught.value)) < 200

    @settings(max_examples=200, deadline=None)
    @given(VERSION, VERSION)
    def test_order(self, left: str, right: str) -> None:
        """Release numbers are ordered as ``packaging`` orders them."""
        assert (version_key(left) < version_key(right)) is (left in SpecifierSet(f"<{right}"))

    @settings(max_examples=200, deadline=None)
    @given(st.text(alphabet="()'\" andorpython_version=<>~!.*3\\\n\0\u00e4", max_size=40))
    @example("python_version >= '" + "9" * 5000 + "'")
    @example("'" + "9" * 5000 + "' <= python_version")
    def test_junk(self, text: str) -> None:
        """Any text holds, does not hold or is refused; it never raises anything else."""
        assert _ours(text) in {True, False, None}


def _ours(marker: str) -> bool | None:
    try:
        return holds(marker)
    except MarkerError:
        return None


def _reference(marker: str) -> bool | None:
    try:
        return Marker(marker).evaluate({"extra": ""})
    except (InvalidMarker, UndefinedComparison):
        return None
