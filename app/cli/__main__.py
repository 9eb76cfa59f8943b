"""``python -m app.cli``: the commands where Flask, or even click, may be missing."""

from __future__ import annotations

import os
import sys
from importlib.util import find_spec

from app.settings.declarations import load
from app.settings.errors import SettingsError
from app.utils.auto_fix import safe_import

EX_UNAVAILABLE, EX_CONFIG = 69, 78


def main() -> None:
    """Run the commands, healing what they cannot do without where the settings allow it."""
    for name in ("click", "packaging"):
        # The engine makes its home when it is asked to import, so it is asked only when it must.
        if find_spec(name) is None and not _heal(name):
            sys.stderr.write(
                f"auto-fix: {name} is missing and could not be healed: install"
                " requirements-flask.txt into this environment\n"
            )
            sys.exit(EX_UNAVAILABLE)
    from app.cli.group import auto_fix

    auto_fix(prog_name="python -m app.cli")


def _heal(name: str) -> bool:
    """Heal with the settings that the commands have; wrong ones end the process."""
    try:
        load(os.environ)
    except SettingsError as error:
        sys.stderr.write(f"auto-fix: {error}\n")
        sys.exit(EX_CONFIG)
    return safe_import(name)[0]


if __name__ == "__main__":
    main()
