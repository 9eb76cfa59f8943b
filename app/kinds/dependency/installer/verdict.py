"""What an installer's output says: how the install ended, and what of it may be shown.

Neither tool's exit code tells tampering from an outage, so the lines that report an error are
read; tests hold that reading against the real tools and a real, faulty index.
"""

from __future__ import annotations

import re
import signal
from collections.abc import Iterable, Mapping, Sequence

from app.healing.kind import Outcome
from app.kinds.dependency.catalog import InstallOutcome as Install
from app.kinds.dependency.installer.configuration import configured_addresses
from app.settings.errors import without_credentials

#: How much of the output may go to the log.
DETAIL_CHARACTERS = 2000
#: An address; its host is all that may be shown: tokens in paths and queries may not, nor what
#: stands where a port should: that is the begin of a password with a ``/`` or a ``#`` in it.
ADDRESS = re.compile(
    r"(?:(?P<scheme>\b[a-z][a-z+]*://)(?:\.\.\.@)?|\.\.\.@)"
    r"(?P<host>(?:\[[\da-fA-F:.]*\]|[\w.-]*)(?::\d+\b)?)[^\s'\"`)]*"
)
#: What the clients print of an address without its host.
REST_OF_ADDRESS = re.compile(r"(?<=url: )/\S*")
#: What uv prints of its progress. One error of it is all that it reports.
UV_PROGRESS = re.compile(r"\s*(Using|Resolved|Prepared|Installed|Audited|Downloaded|\+|-) ")
#: The lines in which pip reports an error, and those in which it says why it passed a link or an
#: index over: it does so of other platforms' wheels and of every sdist, whatever happens.
PIP_ERRORS = re.compile(r"\s*(ERROR|error:|\xd7|Expected|Got |[\w.]+Error: )")
PIP_NOTES = re.compile(
    r"\s*(WARNING: (?!Retrying)|Could not fetch|Discarding |Skipping link: (none|No) )"
)
#: Without another reason it is the index that does not have it.
NOT_THERE = re.compile(
    r"(?i)no version of|no matching distribution|could not find a version"
    r"|not found in the (package registry|provided package locations)"
)
#: What one error says, most specific first. Read off uv 0.13 and pip 23 to 26 with each fault.
SIGNS: Sequence[tuple[str, str]] = (
    (Outcome.DISK_FULL, r"no space left on device|(os error|errno) 28\b|disk quota"),
    (Install.TOO_LARGE, r"file too large|(os error|errno) 27\b"),
    (Install.HASH_MISMATCH, r"hash mismatch|do not match the hashes"),
    (Outcome.PERMISSION, r"permission denied|read-only file system|(os error|errno) (13|30)\b"),
    (Install.INVALID_WHEEL, r"unsafe file name|outside the target|does not match filename"),
    (Install.INVALID_WHEEL, r"malformed|inconsistent \w+|failed to extract|invalid zip"),
    (Install.INVALID_WHEEL, r"wheel .{0,300}is invalid|\.dist-info|error decoding metadata"),
    (
        Install.NO_WHEEL,
        r"ha(s|ve) no (usable )?wheels|none of the wheel's tags|no sources permitted",
    ),
    (Install.NOT_FOUND, r"\b404\b"),
    (Install.NETWORK, r"(failed|could not|failure) (to )?(fetch|download)|request failed"),
    (Install.NETWORK, r"download failed|error sending request|http error|max retries"),
    (Install.NETWORK, r"connection|timed? ?out|content-type|not a trusted|certificate"),
    (Install.NETWORK, r"network connectivity is disabled"),
)
#: Of which distribution an error says that it is not there, or not as a wheel.
BLAMED = re.compile(
    r"(?P<first>[\w.-]+?)(?:==[^\s`]+)?`? (?:(?:has|have) no |was not found)"
    r"|(?:no version of|distribution found for) (?P<second>[\w.-]+?)=="
)
#: Of several errors or notes the first of these counts.
RANK: Sequence[str] = (
    *(Outcome.DISK_FULL, Install.TOO_LARGE, Install.HASH_MISMATCH, Outcome.PERMISSION),
    *(Install.INVALID_WHEEL, Install.NETWORK, Install.NO_WHEEL, Install.NOT_FOUND),
)


def outcome(tool: str, status: int | None, lines: Sequence[str], masked: Iterable[str]) -> str:
    """How an install ended, by its exit status and by what it printed.

    A clean exit is a success, but not when uv has left a file out of a wheel for its name. Without
    a status it is one when no line reports a failure; what was installed has to show it.
    ``masked`` are the names and paths that must not be taken for words of the tool.
    """
    if status == 0 and not any("unsafe file name" in line for line in lines):
        return Outcome.HEALED
    if status == -signal.SIGXFSZ:
        return Install.TOO_LARGE
    names = "|".join(re.escape(name).replace("\\-", "[-_.]") for name in masked)
    words = re.compile(rf"(?i)(?<![\w-])({names})(?![\w-])")
    plain = [words.sub("...", ADDRESS.sub("...", line)) for line in lines]
    errors = ["\n".join(line for line in plain if not UV_PROGRESS.match(line))]
    notes: list[str] = []
    if tool == "pip":
        errors, notes = list(filter(PIP_ERRORS.match, plain)), list(filter(PIP_NOTES.match, plain))
    for said in (errors, notes):
        found = {sign for text in said for sign in _signs(text)}
        if found:
            return min(found, key=RANK.index)
    if any(map(NOT_THERE.search, plain)):
        return Install.NOT_FOUND
    return Outcome.HEALED if status is None else Install.INSTALLER_FAILED


def _signs(text: str) -> list[str]:
    return [name for name, sign in SIGNS if re.search(sign, text, re.IGNORECASE)][:1]


def blamed(text: str) -> frozenset[str]:
    """The distributions that are not there, or not as wheels, as the tool writes their names."""
    return frozenset(match["first"] or match["second"] for match in BLAMED.finditer(text))


def messages(tool: str, lines: Iterable[str]) -> str:
    """What is worth showing of an output, not yet safe to show."""
    shown = [
        line for line in lines if tool != "pip" or PIP_ERRORS.match(line) or PIP_NOTES.match(line)
    ]
    return "\n".join(shown)


def redact(text: str, environ: Mapping[str, str] | None = None) -> str:
    """The begin and the end of an installer's output; of every address in it only the host.

    ``environ`` is what the installer ran in: clients that take a raw ``/`` in a password for the
    end of the host print pieces of it that look like nothing.
    """
    addresses = [] if environ is None else configured_addresses(environ)
    safe = ADDRESS.sub(r"\g<scheme>\g<host>/...", without_credentials(text, addresses))
    safe = REST_OF_ADDRESS.sub("/...", safe).strip()
    half = DETAIL_CHARACTERS // 2
    return safe if len(safe) <= 2 * half else f"{safe[:half]}\n...\n{safe[-half:]}"
