"""Which package index an installer is told to use: by its environment, or by its own files.

Only what a host is configured with is read. A project's own files count for whoever works in it,
and installers are run elsewhere.
"""

from __future__ import annotations

import configparser
import os
import sys
import tomllib
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from app.settings.variable import YES


def named_index(tool: str, environ: Mapping[str, str]) -> str | None:
    """The address that ``uv`` or ``pip`` is told to install from, None when it is told none.

    It may hold credentials. A file that cannot be read, or is none of the tool's, counts as absent:
    what the tool makes of it the tool says when it is run.
    """
    found = _uv(environ) if tool == "uv" else _pip(environ)
    return next((text.strip() for text in found if text and text.strip()), None)


def _uv(environ: Mapping[str, str]) -> Iterator[str | None]:
    yield environ.get("UV_DEFAULT_INDEX")
    yield environ.get("UV_INDEX_URL")
    if environ.get("UV_NO_CONFIG", "").lower() in YES:
        return
    given = environ.get("UV_CONFIG_FILE")
    places = [Path(given)] if given else [_config(environ) / "uv/uv.toml", Path("/etc/uv/uv.toml")]
    for place in places:
        yield from _of_uv_file(place)


def _of_uv_file(file: Path) -> Iterator[str | None]:
    try:
        content = tomllib.loads(file.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return
    indexes = content.get("index")
    for index in indexes if isinstance(indexes, list) else ():
        if isinstance(index, dict) and index.get("default") is True:
            yield _text(index.get("url"))
    section = content.get("pip")
    yield _text(section.get("index-url") if isinstance(section, dict) else None)
    yield _text(content.get("index-url"))


def _pip(environ: Mapping[str, str]) -> Iterator[str | None]:
    yield environ.get("PIP_INDEX_URL")
    given = environ.get("PIP_CONFIG_FILE")
    if given == os.devnull:
        return
    # Least telling first: a later file's word replaces that of one before.
    places = [Path("/etc/pip.conf"), Path(environ.get("HOME", "/")) / ".pip/pip.conf"]
    places += [_config(environ) / "pip/pip.conf", Path(sys.prefix) / "pip.conf"]
    parser = configparser.RawConfigParser()
    for place in [*places, *([Path(given)] if given else [])]:
        try:
            parser.read(place, encoding="utf-8")
        except (configparser.Error, OSError, ValueError):
            continue
    for section in ("install", "global"):
        yield parser.get(section, "index-url", fallback=None)


def _config(environ: Mapping[str, str]) -> Path:
    return Path(environ.get("XDG_CONFIG_HOME") or Path(environ.get("HOME", "/")) / ".config")


def _text(value: Any) -> str | None:  # noqa: ANN401 - whatever a file holds
    return value if isinstance(value, str) else None
