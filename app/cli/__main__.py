"""``python -m app.cli``: the commands where Flask, or even click, may be missing."""

from __future__ import annotations

import os
import sys
from importlib.util import find_spec

from app.settings.declarations import load
from app.settings.errors import SettingsError
from app.utils.auto_fix import safe_import


def main() -> None:
    """Run the commands, healing what they cannot do without where the settings allow it."""
    missing = [name for name in ("click", "packaging") if find_spec(name) is None]
    if missing:
        try:
            load(os.environ)
        except SettingsError as error:
            sys.stderr.write(f"auto-fix: {error}\n")
            sys.exit(os.EX_CONFIG)
    # The engine makes its home when it is asked to import, so it is asked only when it must.
    for name in missing:
        if not safe_import(name)[0]:
            sys.stderr.write(
                f"auto-fix: {name} is missing and could not be healed: install"
                " requirements-flask.txt into this environment\n"
            )
            sys.exit(os.EX_UNAVAILABLE)
    from app.cli.group import auto_fix

    auto_fix(prog_name="python -m app.cli")


if __name__ == "__main__":
    main()
