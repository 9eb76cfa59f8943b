"""The engine as the commands use it: with the environment's settings, reading or healing."""

from __future__ import annotations

import os
from dataclasses import replace

import click

from app.settings.declarations import adopt
from app.settings.engine import HealingSettings, Mode
from app.settings.environment import Environment
from app.utils.auto_fix import AutoFixer

KEY = "app.cli.environment"


def environment() -> Environment:
    """The process's environment with the ``.env`` file behind it, which a command reads once."""
    meta = click.get_current_context().meta
    if KEY not in meta:
        meta[KEY] = adopt(os.environ)
    found: Environment = meta[KEY]
    return found


def settings() -> HealingSettings:
    """The engine's settings.

    Raises:
        SettingsError: when one cannot be used.
    """
    return HealingSettings.from_environ(environment())


def reading() -> AutoFixer:
    """An engine that sees what was healed and changes nothing, not even the home's directories."""
    found = settings()
    mode = Mode.OFF if found.mode is Mode.OFF else Mode.REPORT
    return AutoFixer(replace(found, mode=mode))


def healing() -> AutoFixer:
    """An engine that may do what the settings allow."""
    return AutoFixer(settings())
