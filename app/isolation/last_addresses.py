"""The addresses at which blueprints were served last, for when they cannot be imported any more.

A blueprint may compute its prefix or its rules while it is imported, so that its source does not
say them. ``addresses.json`` under the home does, by the names of the blueprints.
"""

from __future__ import annotations

import json
import logging
import uuid
from collections.abc import Iterable, Mapping
from contextlib import suppress
from pathlib import Path

from app.healing.home import make_directory
from app.manifest import ADDRESS
from app.settings.files import read_bounded

logger = logging.getLogger(__name__)

#: Bytes of the file, and addresses of one blueprint in it. One with more rules has a prefix.
LARGEST, MOST_ADDRESSES = 1 << 20, 64


class LastAddresses:
    """What is known under one home. Creating it touches nothing."""

    def __init__(self, home: Path) -> None:
        self._file = home / "addresses.json"

    def of(self, name: str) -> tuple[str, ...]:
        """The addresses of a blueprint, each with all below it, when it was served last."""
        return self._read().get(name, ())

    def remember(self, served: Mapping[str, tuple[str, ...]], names: Iterable[str]) -> None:
        """Replace the addresses of those that are ``served``, and forget all but ``names``.

        A home that cannot be written costs this knowledge alone.
        """
        before = self._read()
        wanted = {name: before[name] for name in names if name in before}
        wanted |= {name: found[:MOST_ADDRESSES] for name, found in served.items()}
        text = json.dumps(wanted)
        if wanted == before or len(text) > LARGEST:
            return
        fresh = self._file.with_name(f".{self._file.name}.{uuid.uuid4().hex}")
        try:
            make_directory(self._file.parent)
            fresh.write_text(text, encoding="utf-8")
            fresh.replace(self._file)
        except OSError as error:
            logger.debug("addresses cannot be kept", extra={"fields": {"error": str(error)}})
            with suppress(OSError):
                fresh.unlink(missing_ok=True)

    def _read(self) -> dict[str, tuple[str, ...]]:
        """What the file says; what it should not is left out, whoever has written it."""
        try:
            found = json.loads(read_bounded(self._file, LARGEST))
        except (OSError, ValueError, RecursionError):
            return {}
        return {
            key: tuple(one for one in addresses if isinstance(one, str) and ADDRESS.fullmatch(one))
            for key, addresses in (found.items() if isinstance(found, dict) else ())
            if isinstance(addresses, list)
        }
