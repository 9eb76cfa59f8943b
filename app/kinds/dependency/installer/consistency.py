"""Whether a stage fits what is installed: ``pip check``'s question, asked before the commit.

Only metadata is read. Versions and specifiers are those of PEP 440; what cannot be read is no
objection.
"""

from __future__ import annotations

import operator
import re
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from importlib import metadata
from math import inf
from pathlib import Path
from typing import Any

from app.kinds.dependency.markers import MarkerError, holds
from app.kinds.dependency.requirements import normalize

VERSION = re.compile(
    r"v?(?:(?P<epoch>\d+)!)?(?P<release>\d+(?:\.\d+)*)"
    r"(?:[-_.]?(?P<pre>alpha|a|beta|b|preview|pre|c|rc)[-_.]?(?P<pre_number>\d*))?"
    r"(?P<post>-(?P<post_short>\d+)|[-_.]?(?:post|rev|r)[-_.]?(?P<post_number>\d*))?"
    r"(?P<dev>[-_.]?dev[-_.]?(?P<dev_number>\d*))?(?:\+(?P<local>[a-z0-9]+(?:[-_.][a-z0-9]+)*))?",
    re.ASCII | re.IGNORECASE,
)
SPECIFIER = re.compile(r"(===|~=|[<>=!]=|[<>])\s*([^\s,]+)")
REQUIREMENT = re.compile(
    r"(?P<name>[\w.-]+)\s*(?:\[[^\]]*\])?\s*(?P<specifiers>[^;@]*)(?:@[^;]*)?(?:;(?P<marker>.*))?",
    re.ASCII | re.DOTALL,
)
FIELD = re.compile(r"(?mi)^(Name|Version|Requires-Dist):[ \t]*(\S.*?)[ \t\r]*$")
#: How pre-releases of one release follow each other; the release itself comes after them.
PRE = {"a": 0, "b": 1, "c": 2, "r": 2, "p": 2}
ORDER: Mapping[str, Callable[[Any, Any], bool]] = {
    "==": operator.eq,
    "!=": operator.ne,
    "<=": operator.le,
    ">=": operator.ge,
    "<": operator.lt,
    ">": operator.gt,
}


@dataclass(frozen=True, order=True, slots=True)
class Version:
    """A version in PEP 440's order, without its local part."""

    epoch: int
    release: tuple[int, ...]
    pre: tuple[int, int]
    post: float
    dev: float

    @classmethod
    def parse(cls, text: str) -> Version | None:
        """The version, None when the text is none."""
        match = VERSION.fullmatch(text.strip())
        if match is None:
            return None
        release = [int(part) for part in match["release"].split(".")]
        while len(release) > 1 and not release[-1]:
            release.pop()
        pre = (3, 0)
        if match["pre"]:
            pre = (PRE[match["pre"][0].lower()], int(match["pre_number"] or 0))
        elif match["dev"] and not match["post"]:
            # A development release of the release itself comes before its pre-releases.
            pre = (-1, 0)
        post = int(match["post_short"] or match["post_number"] or 0) if match["post"] else -1
        dev = int(match["dev_number"] or 0) if match["dev"] else inf
        return cls(int(match["epoch"] or 0), tuple(release), pre, post, dev)

    @property
    def base(self) -> tuple[int, tuple[int, ...]]:
        """What its pre-, post- and development releases have in common with it."""
        return self.epoch, self.release

    @property
    def is_early(self) -> bool:
        """Whether it is a pre- or a development release."""
        return self.pre < (3, 0) or self.dev < inf

    def begins(self, series: tuple[int, ...], epoch: int) -> bool:
        """Whether it belongs to a series such as ``1.4.*``."""
        release = (*self.release, *([0] * len(series)))
        return self.epoch == epoch and release[: len(series)] == series


def satisfies(version: str, specifiers: str) -> bool:
    """Whether a version is one that all specifiers allow, pre-releases included."""
    return all(_allows(version, *match.groups()) for match in SPECIFIER.finditer(specifiers))


def _allows(text: str, sign: str, wanted: str) -> bool:
    wanted = wanted.rstrip(")")
    version, other = Version.parse(text), Version.parse(wanted.removesuffix(".*"))
    if sign == "===" or version is None or other is None:
        return sign != "===" or text.lower() == wanted.lower()
    match = VERSION.match(wanted)
    series = tuple(map(int, match["release"].split("."))) if match else ()
    if wanted.endswith(".*"):
        return version.begins(series, other.epoch) is (sign == "==")
    if sign == "~=":
        return version >= other and version.begins(series[:-1], other.epoch)
    # ``<2`` wants no 2rc1, ``>1`` no 1.post1.
    barred = (sign == "<" and version.post == other.post) or (sign == ">" and other.post < 0)
    if barred and version.base == other.base and not other.is_early:
        return False
    # A local part counts only where one is asked for.
    if sign in {"==", "!="} and "+" in wanted and version == other:
        return (text.lower() == wanted.lower()) is (sign == "==")
    return ORDER[sign](version, other)


def unmet_requirement(site: Path) -> str | None:
    """Which requirement would not be met with a stage in place; None when all would be.

    Those of what the stage brings count, and those on it of what is installed, layers included.
    """
    staged = _described(metadata.distributions(path=[str(site)]))
    there = _described(metadata.distributions()) | staged
    for name, (version, requirements) in there.items():
        for text in requirements:
            match = REQUIREMENT.fullmatch(text)
            wanted = normalize(match["name"]) if match else ""
            if match is None or not (name in staged or wanted in staged) or not _applies(match):
                continue
            found = there.get(wanted, ("", ()))[0]
            if not found:
                return f"{name} {version} needs {text}, which is not installed"
            if not satisfies(found, match["specifiers"]):
                return f"{name} {version} needs {text}, and {wanted} would be {found}"
    return None


def _applies(requirement: re.Match[str]) -> bool:
    try:
        return not requirement["marker"] or holds(requirement["marker"].strip())
    except MarkerError:
        return False


def _described(
    distributions: Iterable[metadata.Distribution],
) -> dict[str, tuple[str, tuple[str, ...]]]:
    """The version and the requirements of distributions by name, of each the one found first."""
    found: dict[str, tuple[str, tuple[str, ...]]] = {}
    for distribution in distributions:
        try:
            text = distribution.read_text("METADATA") or distribution.read_text("PKG-INFO") or ""
        except (OSError, UnicodeDecodeError):
            continue
        # Not parsed as the message that it is: descriptions are long.
        fields = FIELD.findall(re.split(r"\r?\n\r?\n", text, maxsplit=1)[0])
        named = {name.lower(): value for name, value in fields}
        if {"name", "version"} <= named.keys():
            requirements = (value for name, value in fields if name.lower() == "requires-dist")
            found.setdefault(normalize(named["name"]), (named["version"], tuple(requirements)))
    return found
