"""The engine as the commands use it: with the environment's settings, reading or healing."""

from __future__ import annotations

import os
from dataclasses import replace

from app.healing.settings import HealingSettings, Mode
from app.utils.auto_fix import AutoFixer


def settings() -> HealingSettings:
    """The engine's settings.

    Raises:
        SettingsError: when one cannot be used.
    """
    return HealingSettings.from_environ(os.environ)


def reading() -> AutoFixer:
    """An engine that sees what was healed and changes nothing, not even the home's directories."""
    found = settings()
    mode = Mode.OFF if found.mode is Mode.OFF else Mode.REPORT
    return AutoFixer(replace(found, mode=mode))


def healing() -> AutoFixer:
    """An engine that may do what the settings allow."""
    return AutoFixer(settings())
