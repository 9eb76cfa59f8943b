"""The project's own blueprints, as its manifest names them."""

from __future__ import annotations

from app.manifest import CORE, read
from app.settings.declarations import DEFAULT_MANIFEST

BLUEPRINTS = (*CORE, *read(DEFAULT_MANIFEST).blueprints)
